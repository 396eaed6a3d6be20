"""Under writes: no false alarm, and true differences are found all the same."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pymysql
import pytest
from tests.compare.scene import ROWS, Writer, compared, connection, spoil
from tests.servers.command import slackwater
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE
from tests.sweep.pair import environment, python

from slackwater.facts.flavour import Flavour
from slackwater.lab.facts import LabFacts
from slackwater.outside.mysql.dialect import dialect

pytestmark = pytest.mark.servers
# Rows that are toggled all the time, rows everywhere, and rows that come and go at the end.
WRITES = (
    "UPDATE shop.many SET flag = 1 - flag WHERE id = 5",
    "UPDATE shop.many SET flag = 1 - flag, v = CONCAT('row', {n} % 7) WHERE id = {n} * 37 % 8000",
    "REPLACE INTO shop.many VALUES (100000 + {n} % 3, {n}, 'comes')",
    "DELETE FROM shop.many WHERE id = 100000 + ({n} + 1) % 3",
)


def test_no_false_alarm_and_true_differences_under_load(two: LabFacts) -> None:
    with Writer(two, *WRITES) as writer:
        for _ in range(3):
            found = compared(two, "shop.many")
            assert found.equal is not False, [r.as_json() for r in found.results]
            assert not found.stopped
            # A row may be told as changing, but nothing else is left open.
            assert len(found.results[0].undecided) <= 4
        # The chunk of the row that is toggled all the time, again and again.
        spoil(two, "UPDATE shop.many SET v = 'wrong' WHERE id = 8100",
              "DELETE FROM shop.many WHERE id = 8101",
              "INSERT INTO shop.many VALUES (99000, 1, 'extra')")
        found = compared(two, "shop.many")
    assert not writer.errors
    told = {(d.key, str(d.how), d.columns) for d in found.results[0].shown}
    assert told == {("id=8100", "differs", ("v",)), ("id=8101", "missing", ()),
                    ("id=99000", "extra", ())}
    spoil(two, "UPDATE shop.many SET v = 'row' WHERE id = 8100",
          "INSERT INTO shop.many VALUES (8101, 0, 'row')",
          "DELETE FROM shop.many WHERE id = 99000")
    assert compared(two, "shop.many").equal


def test_a_toggled_row_in_a_table_of_its_own(two: LabFacts) -> None:
    """Equal at each position, never at two moments: the worst for whoever only reads twice."""
    for statement in ("CREATE TABLE shop.toggled (id INT PRIMARY KEY, flag INT)",
                      "INSERT INTO shop.toggled VALUES (1, 0)",
                      "CREATE TABLE shop.toggled_no_key (flag INT)",
                      "INSERT INTO shop.toggled_no_key VALUES (0)"):
        sql(two.servers["a"]["socket"], statement)
    with Writer(two, "UPDATE shop.toggled SET flag = 1 - flag",
                "UPDATE shop.toggled_no_key SET flag = 1 - flag", rate=400.0) as writer:
        rounds = [compared(two, "shop.toggled*") for _ in range(5)]
    assert not writer.errors
    assert [f.equal for f in rounds if f.equal is False] == []
    assert compared(two, "shop.toggled*").equal  # now that it stands still
    for each in ("toggled", "toggled_no_key"):
        sql(two.servers["a"]["socket"], f"DROP TABLE shop.{each}")


def test_replication_that_stands_is_told_at_once_and_one_that_lags_is_waited_for(
    two: LabFacts,
) -> None:
    passive = str(two.servers["b"]["socket"])
    stop, start = _replication(two, "STOP"), _replication(two, "START")
    sql(passive, stop)
    try:
        sql(two.servers["a"]["socket"], "UPDATE shop.many SET flag = 3 WHERE id = 1")
        found = compared(two, "shop.many")
        assert found.equal is None and "replication does not run" in found.stopped
    finally:
        sql(passive, start)
    assert compared(two, "shop.many").equal


def _replication(lab: LabFacts, word: str) -> str:
    new = lab.program.startswith("mysql-9")
    return f"{word} {'REPLICA' if new else 'SLAVE'} SQL_THREAD"


def test_an_interrupted_comparison_goes_on_where_it_ended(two: LabFacts) -> None:
    stop, seen = asyncio.Event(), []

    def tell(event: dict[str, Any]) -> None:
        seen.append(event)
        if event["event"] == "table" and event["table"] == "shop.myisam":
            stop.set()

    found = compared(two, "shop.*", stop=stop, tell=tell)
    assert found.stopped == "interrupted" and found.equal is None
    first = {r.table for r in found.results if r.done}
    assert first and "shop.types" not in first
    seen.clear()
    again = compared(two, "shop.*", resume=True, tell=seen.append)
    assert again.equal and {r.table for r in again.results} > first
    assert any("going on" in str(e.get("text")) for e in seen)
    assert sum(r.rows for r in again.results) >= ROWS


def test_after_a_switchover_it_goes_on_with_the_other_reference(one: LabFacts) -> None:
    """Roles that change in the middle end it; what was finished is not compared again."""
    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "table" and event["table"] == "shop.myisam":
            said = slackwater(one, "switchover", "--to", "b")
            assert said.code == 0, said

    try:
        found = compared(one, "shop.*", tell=tell)
        assert found.equal is None and "switched over meanwhile" in found.stopped
        again = compared(one, "shop.*", resume=True)
        assert again.equal and (again.reference, again.others) == ("b", ["a"])
        assert {r.server for r in again.results} == {"a", "b"}
    finally:
        back = slackwater(one, "switchover", "--to", "a")
    assert back.code == 0, back


def test_lost_connections_are_made_again(two: LabFacts) -> None:
    """All of its sessions on both servers are killed in the middle: it goes on, and counts once."""
    spoil(two, "UPDATE shop.many SET v = 'wrong' WHERE id = 5000")
    killed: list[int] = []

    def tell(event: dict[str, Any]) -> None:
        if event["event"] != "progress" or killed:
            return
        for server in two.servers.values():
            ours = sql(server["socket"], "SELECT ID FROM information_schema.PROCESSLIST"
                       " WHERE USER = 'slackwater' AND COMMAND = 'Sleep'")
            for session in ours:
                with contextlib.suppress(pymysql.err.MySQLError):
                    sql(server["socket"], f"KILL {session['ID']}")
                    killed.append(session["ID"])

    found = compared(two, "shop.many", tell=tell)
    spoil(two, "UPDATE shop.many SET v = 'row' WHERE id = 5000")
    (table,) = found.results
    assert killed and not found.stopped
    (has,) = sql(two.servers["a"]["socket"], "SELECT COUNT(*) AS n FROM shop.many")
    assert (table.rows, table.differing, table.done) == (has["n"], 1, True)


def test_the_command_its_exit_codes_and_ctrl_c(one: LabFacts) -> None:
    said = slackwater(one, "pair", "compare", "--tables", "shop.many,shop.pk2", "--rest", "0")
    assert (said.code, said.report["equal"], said.report["outcome"]) == (0, True, "done")
    assert {t["table"] for t in said.report["tables"]} == {"shop.many", "shop.pk2"}
    spoil(one, "UPDATE shop.pk2 SET v = 77 WHERE b = 1")
    try:
        said = slackwater(one, "pair", "compare", "--tables", "shop.pk2", "--servers", "b,a")
    finally:
        spoil(one, "UPDATE shop.pk2 SET v = 1 WHERE b = 1")
    assert (said.code, said.report["equal"], said.report["reference"]) == (1, False, "a")
    (row,) = said.report["tables"][0]["differences"]
    assert row == {"key": "a='a', b=1", "how": "differs", "columns": ["v"], "count": 1,
                   "proof": "row locked"}
    assert slackwater(one, "pair", "compare", "--servers", "a").code == 64
    assert slackwater(one, "pair", "compare", "--tables", "shop.nothing").code == 64
    command = python("slackwater", "pair", "compare", "--rest", "0.99", "--json", "--config",
                     str(one.config))
    running = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert running.stderr is not None
    for line in running.stderr:  # it has begun, and rests most of the time
        if '"table"' in line:
            break
    running.send_signal(signal.SIGINT)
    out, errors = running.communicate(timeout=30 * PATIENCE)
    report = json.loads(out)
    assert running.returncode == 3 and "Traceback" not in errors
    assert (report["stopped"], report["outcome"]) == ("interrupted", "unknown")


def test_an_account_that_sees_not_all_is_refused_and_the_documented_one_is_enough(
    two: LabFacts, tmp_path: Path
) -> None:
    """With the grants of docs/howto/prepare-a-pair.md and SELECT, rows are proven under a lock."""
    mariadb = two.program.startswith("mariadb")
    needs = dialect(Flavour.parse("10.11.6-MariaDB" if mariadb else "9.7.0")).needs
    for server in two.servers.values():
        statements = ["SET sql_log_bin = 0", "SET GLOBAL read_only = 0",
                      "DROP USER IF EXISTS few@localhost",
                      "CREATE USER few@localhost IDENTIFIED BY 'few'",
                      f"GRANT {', '.join(needs)} ON *.* TO few@localhost",
                      "GRANT CREATE, SELECT, INSERT, DELETE, LOCK TABLES ON slackwater.*"
                      " TO few@localhost"]
        with connection(str(server["socket"])) as cursor:
            for statement in statements:
                cursor.execute(statement)
    sql(two.servers["b"]["socket"], "SET GLOBAL read_only = 1")
    (tmp_path / "few").write_text("few")
    (tmp_path / "few").chmod(0o600)
    text = re.sub(r'password_file = ".*slackwater.password"',
                  f'user = "few"\npassword_file = "{tmp_path / "few"}"',
                  Path(two.config).read_text().replace('user = "slackwater"', ""))
    (tmp_path / "slackwater.toml").write_text(text)
    lab = dataclasses.replace(two, directory=tmp_path)
    said = slackwater(lab, "pair", "compare", "--tables", "shop.pk2")
    assert said.code == 3 and "GRANT SELECT" in said.errors
    for server in two.servers.values():
        with connection(str(server["socket"])) as cursor:
            cursor.execute("SET sql_log_bin = 0")
            cursor.execute("GRANT SELECT ON *.* TO few@localhost")
    spoil(two, "UPDATE shop.pk2 SET v = 77 WHERE b = 1")
    said = slackwater(lab, "pair", "compare", "--tables", "shop.pk2")
    spoil(two, "UPDATE shop.pk2 SET v = 1 WHERE b = 1")
    assert said.code == 1, said.errors
    assert said.report["tables"][0]["differences"][0]["proof"] == "row locked"
