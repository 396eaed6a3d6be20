"""No password in what is told of a statement, wherever its text comes from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asyncmy import errors as driver_errors

from slackwater.cli import alter_page
from slackwater.errors import OutsideError
from slackwater.facts import alter_script, statement_text
from slackwater.facts.alter_script import What
from slackwater.facts.doctor import error_log
from slackwater.facts.flavour import Flavour
from slackwater.facts.replication import ReplicaStatus
from slackwater.facts.server import ServerAddress
from slackwater.operations.alter import rehearse
from slackwater.operations.alter.lint import Linted
from slackwater.outside.mysql import backup_lock, clients, clone, setup
from slackwater.outside.mysql.abilities import Abilities
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.rules.alter import statements

SECRET = "oYd8mE4hDUdPk2mbb3"
FLAVOURS = {n: Flavour.parse(n) for n in ("9.7.0", "5.7.44", "10.11.9-MariaDB")}


class Wire:
    """A driver's connection to a server that answers all statements with one error."""

    def __init__(self, version: str, fails: BaseException) -> None:
        self._version, self._fails, self._transport = version, fails, None

    def get_server_info(self) -> str:
        return self._version

    def thread_id(self) -> int:
        return 7

    def escape(self, value: object) -> str:
        return f"'{value}'" if isinstance(value, str) else str(value)

    async def query(self, sql: str, **_: Any) -> None:
        if " FROM " in sql or sql.startswith(("CREATE", "ALTER", "CLONE", "CHANGE")):
            raise self._fails
        self._result = type("Result", (), {"description": None, "affected_rows": 0,
                                           "has_next": False})

    def close(self) -> None:
        pass


class Fails(Wire):
    async def query(self, sql: str, **_: Any) -> None:
        raise self._fails


@contextmanager
def told(version: str, fails: BaseException) -> Iterator[Session]:
    """A session with such a server; what it raises must not tell the secret."""
    with pytest.raises(OutsideError) as raised:
        yield Session(ServerAddress("s", "root", ""), Wire(version, fails))
    for length in range(4, len(SECRET) + 1):
        assert SECRET[:length] not in str(raised.value), raised.value
        assert SECRET[-length:] not in str(raised.value), raised.value
    assert any(word in str(raised.value) for word in ("USER", "CHANGE", "CLONE", "SELECT %s"))


FAILS = [
    driver_errors.OperationalError(1290, "The server is running with --super-read-only"),
    driver_errors.ProgrammingError(
        1064, f"You have an error in your SQL syntax near '{SECRET}' REQUIRE SSL' at line 1"),
    driver_errors.OperationalError(2013, "Lost connection"),
    driver_errors.InterfaceError("closed"),
    TimeoutError(),
    OSError("broken pipe"),
]


@pytest.mark.parametrize("version", FLAVOURS)
@pytest.mark.parametrize("fails", FAILS, ids=lambda e: f"{type(e).__name__}-{e.args[:1]}")
def test_accounts_and_replication(version: str, fails: BaseException) -> None:
    with told(version, fails) as session:
        asyncio.run(setup.make_account(session, "repl", "127.0.0.1", SECRET, []))
    with told(version, fails) as session:
        asyncio.run(session.run(f"ALTER USER 'a'@'b' IDENTIFIED BY '{SECRET}'"))
    with told(version, fails) as session:
        sql = dialect(session.flavour).change_source()
        asyncio.run(session.run(sql, "h", 3306, "u", SECRET))
    with told("9.7.0", fails) as session:
        asyncio.run(session.run("CREATE TABLE told AS SELECT %s", SECRET))


def test_a_clone() -> None:
    with told("9.7.0", FAILS[0]) as session:
        asyncio.run(clone.fetch(session, "h", 3306, "u", SECRET, tls=True, bytes_a_second=0,
                                limit_s=1))


@pytest.mark.parametrize("text", [
    f"CREATE USER 'a'@'b' IDENTIFIED BY '{SECRET}'",
    f"create user a identified\nwith x as '{SECRET}'",
    f"SET PASSWORD FOR a = '{SECRET}'",
    f"SET PASSWORD = PASSWORD('{SECRET}')",
    f"CHANGE MASTER TO MASTER_USER='u', MASTER_PASSWORD='{SECRET}'",
    f"START SLAVE USER='u' PASSWORD='{SECRET}'",
    f"CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (USER 'u', PASSWORD '{SECRET}')",
])
def test_wherever_a_server_quotes_a_statement(text: str) -> None:
    """What clients run, replication's errors, and a server's log."""
    said = [statement_text.statement(text), statement_text.head(text)]
    row = dict.fromkeys(("USER", "HOST", "DB", "STATE", "LAST_COMMAND"), "x") | {
        "ID": 1, "COMMAND": "Query", "IDLE_MS": None, "RUNNING_S": 9, "INFO": text,
        "RUNNING_MS": 9000}
    said.append(clients._session(row).info)
    error = f"Error 'Unknown' on query. Default database: ''. Query: '{text}'"
    status = ReplicaStatus.parse({"Last_SQL_Errno": 1396, "Last_SQL_Error": error})
    assert status.errors[0].startswith("1396: Error 'Unknown' on query. Default database: ''")
    said += [*status.errors, statement_text.words(error)]
    line = f"2026-11-21 10:00:00 a[a] @ h [] ERROR 1156: Got packets out of order : {text}"
    said += [each.text for each in error_log.parse(" ".join(line.split()))]
    assert len(said) == 6
    (refused,) = alter_script.split(text, longest=1000, most=1)
    said.append(statements.head(refused))
    said.append(json.dumps(alter_page._statement_json(
        Linted(refused, What.REFUSED))))
    assert SECRET[:5] not in json.dumps(said)

    class Answers:
        flavour = FLAVOURS["9.7.0"]

        async def rows(self, *_: object, **__: object) -> list[dict[str, Any]]:
            return [row]

    async def shown() -> list[backup_lock.Statement]:
        session: Any = Answers()
        session.abilities = Abilities()
        return await backup_lock.statements(session)

    assert SECRET[:5] not in str(asyncio.run(shown()))


@pytest.mark.parametrize("text", [
    "Access denied for user 'repl'@'127.0.0.1' (using password: YES)",
    "Plugin 'mysql_native_password' is not loaded",
    "Your password does not satisfy the current policy requirements",
    "Authentication plugin 'caching_sha2_password' reported error",
    "Duplicate entry 'near' for key 'PRIMARY'",
])
def test_words_that_quote_none_stay_whole(text: str) -> None:
    assert statement_text.words(text) == text
    assert statement_text.answer(text, "SELECT 1", filled=False) == text
    assert statement_text.answer(text, "CREATE USER a IDENTIFIED BY 'x'", filled=True) == text


def test_a_statement_without_a_password() -> None:
    assert statement_text.head("SELECT  1\n FROM t") == "SELECT 1 FROM t"
    assert statement_text.head(b"INSERT INTO t (a) VALUES (1)") == "INSERT INTO t (a)"
    assert len(statement_text.head("x" * 200)) == statement_text.LONGEST


def test_columns_that_are_called_so_do_not_hide_a_schema_change() -> None:
    text = "ALTER TABLE users ADD password_hash VARCHAR(90), DROP password"
    (change,) = alter_script.split(text, longest=1000, most=1)
    assert statements.head(change) == text


@pytest.mark.parametrize("text", ["SET PASSWORD = 'x'", "SELECT 1 FROM nothing"])
def test_the_words_of_a_rehearsal_are_the_server_s_alone(text: str) -> None:
    fails = driver_errors.OperationalError(1146, "there is none")
    with pytest.raises(MysqlError) as raised:
        asyncio.run(Session(ServerAddress("s", "root", ""), Fails("9.7.0", fails)).run(text))
    assert rehearse._error(raised.value, text).text == "there is none"
