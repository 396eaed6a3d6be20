"""Where a rehearsal said that all is well, and it was not: each of it on real servers."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pymysql
import pytest
from pymysql.constants import CLIENT
from tests.alter.test_rehearse import FLAVOURS, offline, program_named
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually
from tests.sweep.pair import environment, python

from slackwater.cli import rehearse_scene
from slackwater.facts import statement_log
from slackwater.facts.alter_link import PairSettings, Settings
from slackwater.facts.rehearsal import Way
from slackwater.facts.server import ServerAddress
from slackwater.facts.statement_log import read
from slackwater.lab.instance import Instance
from slackwater.lab.throwaway import throwaway_pair
from slackwater.operations.alter import rehearse
from slackwater.operations.alter.lint import read as read_change
from slackwater.outside.mysql import rehearse as mysql_rehearse
from slackwater.outside.mysql.dialect import alter_traits
from slackwater.outside.mysql.rehearse import Schema
from slackwater.outside.mysql.schema_copy import Made
from slackwater.outside.mysql.session import Session

pytestmark = pytest.mark.servers
MARIADB = FLAVOURS[0]
TABLE = "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(10), b INT DEFAULT 5);"
FUNCTION = """
DELIMITER //
CREATE FUNCTION f(x INT) RETURNS INT MODIFIES SQL DATA
BEGIN INSERT INTO t (id, a, b) VALUES (x, 'abc', 1); RETURN x; END//
"""


@pytest.mark.parametrize("name", FLAVOURS)
def test_a_read_that_writes(name: str, tmp_path: Path) -> None:
    """What a function writes is waited for as what a statement writes."""
    program_named(name)
    code, said = offline(tmp_path, "ALTER TABLE t ADD c VARCHAR(9) AFTER id, ADD KEY (b)", name,
                         schema=TABLE.replace("a VARCHAR(10)", "a INT") + FUNCTION.replace(
                             "'abc'", "7"), application="SELECT f(1);")
    got = {(p["harm"], p["way"], *p["statements"]) for p in said["problems"]}
    assert (code, got) == (1, {("stops replication", "old to new", 1),
                               ("stops replication", "new to old", 1)}), said


@pytest.mark.parametrize("name", FLAVOURS)
def test_what_a_session_had_set(name: str, tmp_path: Path) -> None:
    """Under its own sql_mode, and with its own variables, a statement does what it does there."""
    program_named(name)
    application = ("SET SESSION sql_mode = '', @v = 5; SELECT @v + 1 INTO @w;"
                   "INSERT INTO t (id, a) VALUES (@w, 'xxxxxxxxxxxxxxx');"
                   "SELECT a FROM t ORDER BY a")
    code, said = offline(tmp_path, "ALTER TABLE t ALTER b SET DEFAULT 7", name, schema=TABLE,
                         application=application)
    assert (code, said["unjudged"], said["left_out"]) == (0, [], {}), said
    assert any("row id=6: b is 7 on the new schema, 5 on the old one" in n for n in said["notes"])
    assert said["statements"][1]["under"] == ["SET SESSION sql_mode = ''", "SET @v = 5"]


INTERLEAVED = """
    8 Connect	app@localhost on dump using Socket
    9 Connect	app@localhost on dump using Socket
    8 Query	INSERT INTO t (a) VALUES ('x')
    8 Query	SELECT 1 INTO @v
    9 Query	INSERT INTO t (a) VALUES ('y'), ('z')
    9 Query	SELECT 2 INTO @v
    7 Query	SET SESSION sql_mode = ''
    7 Query	INSERT INTO t (a) VALUES ('too long for a column')
    8 Query	UPDATE t SET b = 9 WHERE id = LAST_INSERT_ID() AND a = 'x'
    9 Query	UPDATE t SET b = 8 WHERE id = @v AND a = 'y'
    8 Query	DELETE FROM t WHERE id = @v AND a = 'x'
""".lstrip("\n")


@pytest.mark.parametrize("name", FLAVOURS)
def test_sessions_are_kept_apart(name: str, tmp_path: Path) -> None:
    """What a statement leaves in its session is there for the next one of that session alone; and
    of one that began before the log, it is said where its statements are run."""
    code, said = offline(tmp_path, "ALTER TABLE t ADD KEY (a)", name, application=INTERLEAVED,
                         schema=TABLE.replace("INT PRIMARY", "INT AUTO_INCREMENT PRIMARY"))
    assert (code, said["unjudged"], said["problems"]) == (0, [], []), said
    assert said["changed_nothing"] == [], said
    assert len([n for n in said["notes"] if "in which database 1 of its statements" in n]) == 1


def test_stored_values_that_are_generated(tmp_path: Path) -> None:
    """MariaDB's replica keeps what the source has generated."""
    program_named(MARIADB)
    schema = "CREATE TABLE t (id INT PRIMARY KEY, a INT, g INT AS (a + 1) STORED);"
    code, said = offline(tmp_path, "ALTER TABLE t MODIFY g INT AS (a + 100) STORED", MARIADB,
                         schema=schema, application="INSERT INTO t (id, a) VALUES (1, 5)")
    assert [(p["harm"], p["way"]) for p in said["problems"]] == [("differs", "old to new")], said
    assert code == 1


def test_a_table_with_history(tmp_path: Path) -> None:
    program_named(MARIADB)
    for file, text in (("schema.sql", TABLE.replace(";", " WITH SYSTEM VERSIONING;")),
                       ("app.sql", "INSERT INTO t (id, a, b) VALUES (1, 'x', 6)"),
                       ("c.sql", "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET NEW.b = 9")):
        (tmp_path / file).write_text(text)
    done = _run("c.sql", "--schema", "schema.sql", "--statements", "app.sql", "--server", MARIADB,
                "--format", "STATEMENT", cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "b is 6 on the source and 9 on the replica" in done.stdout


def _run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(python("slackwater", "alter", "rehearse", *words), env=environment(),
                          cwd=cwd, capture_output=True, text=True, timeout=180 * PATIENCE,
                          check=False)


def test_what_rehearses_nothing(tmp_path: Path) -> None:
    """No statement that runs, no DDL, or a part of the change that would be left out."""
    program_named(MARIADB)
    change = "ALTER TABLE t ADD c INT"
    code, said = offline(tmp_path, change, MARIADB, schema=TABLE, application="DELETE FROM u")
    assert (code, said["outcome"]) == (1, "refused")
    assert "every statement fails without the change too" in said["reasons"][0]
    for text in (f"{change}; CREATE VIEW v AS SELECT 1", "UPDATE t SET a = 1"):
        code, said = offline(tmp_path, text, MARIADB, schema=TABLE, application="DELETE FROM t")
        assert (code, said["outcome"]) == (1, "refused"), said
    done = _run("--sql", change, "--schema", "schema.sql", "--statements", "app.sql", "--server",
                MARIADB, "--sample", "5", cwd=tmp_path)
    assert (done.returncode, "--sample" in done.stderr) == (64, True)
    (tmp_path / "app.sql").write_text("DELETE FROM t; DELETE FROM u; LOAD DATA INFILE 'x' INTO t")
    done = _run("--sql", change, "--schema", "schema.sql", "--statements", "app.sql", "--server",
                MARIADB, cwd=tmp_path)
    assert ("Nothing breaks, stops or differs, of 1 statements; 1 could not be judged and 1 were "
            "left out.") in done.stdout, done.stdout


async def rehearsed(
    pair: tuple[Instance, Instance], change: str, schema: Schema, heard: statement_log.Heard,
    wanted: dict[str, str],
) -> rehearse.Rehearsed:
    """A rehearsal of a change on database d, on servers with the settings `wanted`."""
    source, replica = (
        ServerAddress(s.directory.name, "root", socket=str(s.socket)) for s in pair)
    async with await Session.open(source) as session:
        own = Settings.read({}, alter_traits(session.flavour))
    asked = rehearse.Asked(read_change(change, "c"), "d", schema, heard.statements,
                           PairSettings(own, own), wanted)
    return await rehearse.rehearse(asked, source, replica, pair[0].port, "x" * 20)


@pytest.mark.parametrize("name", FLAVOURS)
def test_the_settings_of_the_pair(name: str) -> None:
    """They hold for the change itself too, and init_connect for the application."""
    program = program_named(name)
    wanted = {"explicit_defaults_for_timestamp": "OFF", "sql_mode": "", "character_set_server":
              "latin1", "init_connect": "SET @of_all = 3; SET @two = 2"}
    schema = Schema({"d": "CREATE DATABASE d"}, [Made("d", "t", TABLE.rstrip(";"))])
    heard = read("INSERT INTO t (id, b) VALUES (1, @of_all);"
                 "INSERT INTO t (id, b) VALUES (@two, 1)", "d")

    with throwaway_pair(program) as pair:
        done = asyncio.run(rehearsed(pair, "ALTER TABLE t ADD at TIMESTAMP", schema, heard, wanted))
        shown = sql(pair[0].socket, "SHOW CREATE TABLE d.t")[0]["Create Table"]
    assert "`at` timestamp NOT NULL DEFAULT" in shown, shown
    assert [(r.rows, r.error) for r in done.seen[Way.SOURCE].ran] == [(1, None)] * 2
    assert done.seen[Way.SOURCE].left["d.t"]["id=1"]["b"] == "3"


def test_statements_that_the_server_has_forgotten(place: Path) -> None:
    made = Instance.create(program_named(FLAVOURS[1]), place / "s", server_id=1, mark=place,
                           extra=("--performance-schema-digests-size=5",))

    async def lost() -> int:
        async with await Session.open(ServerAddress("s", "root", socket=str(made.socket))) as one:
            for columns in range(1, 12):
                await one.run(f"SELECT {', '.join(['NOW()'] * columns)}")
            return await mysql_rehearse.forgotten(one)

    try:
        made.start(60 * PATIENCE)
        assert asyncio.run(lost()) > 0
    finally:
        made.remove()


def test_a_file_of_which_only_the_beginning_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement_log, "LONGEST", 30)
    (tmp_path / "a.sql").write_text("INSERT INTO t VALUES (1);\n" * 9)
    heard = rehearse_scene._heard(tmp_path / "a.sql", "d", print)
    assert heard.notes == [f"only the first 30 characters of {tmp_path / 'a.sql'} were read"]


GENERAL = "\t\t 8 Init DB\tshop\n" + "\t\t 8 Query\tSELECT 1\n" * 99
SLOW = "# User@Host: a[a] @ h []  Id: 8\nuse shop;\nSET timestamp=1;\nSELECT 1;\n" * 99


@pytest.mark.parametrize("log", (GENERAL, SLOW), ids=("general", "slow"))
def test_how_far_a_log_is_read(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearse_scene, "TELL_S", 0)
    (tmp_path / "a.log").write_text(log)
    told: list[str] = []
    heard = rehearse_scene._heard(tmp_path / "a.log", "d", told.append)
    assert len(heard.statements) == statement_log.ALIKE
    assert len(told) > 90
    assert told[0].startswith(f"reading {tmp_path / 'a.log'}: 1%, ")
    assert told[-1].endswith("%, 0 s left")


@pytest.mark.parametrize("name", (*FLAVOURS, "mysql-5.7"))
def test_what_logs_have_between_the_statements(name: str, place: Path) -> None:
    """Of real servers: programs with bodies, a USE behind a comment and in a packet of several,
    values with lines of any kind, other bytes than UTF-8, and a log that is opened again."""
    made = Instance.create(program_named(name), place / "s", server_id=1, mark=place, extra=(
        "--general-log=ON", f"--general-log-file={place}/s/general", "--slow-query-log=ON",
        f"--slow-query-log-file={place}/s/slow", "--long-query-time=0", "--log-output=FILE"))
    value = "INSERT INTO t VALUES (1, '# a\n# b\r\nc\u2028d\x0be')"
    raw = b"INSERT INTO t VALUES (2, _binary'\xff\xfe')"
    try:
        made.start(60 * PATIENCE)
        with pymysql.connect(unix_socket=str(made.socket), user="root", autocommit=True,
                             client_flag=CLIENT.MULTI_STATEMENTS) as link, link.cursor() as run:
            for text in ("CREATE DATABASE one", "CREATE DATABASE other",
                         "CREATE TABLE one.t (a INT, b VARBINARY(40))",
                         "CREATE TABLE other.t LIKE one.t", "USE one",
                         "CREATE PROCEDURE p() BEGIN DELETE FROM t; UPDATE t SET a = 5; END",
                         "/* of the app */ USE other", "CALL one.p()", value):
                run.execute(text)
            link.query(raw)
            run.execute("DELETE FROM t WHERE a = 3; USE one; DELETE FROM t WHERE a = 4")
            while run.nextset():
                pass
            run.execute("DELETE FROM t WHERE a = 6")
            link._execute_command(0x0D, b"")  # "Debug"
            link._read_packet()
            run.execute("FLUSH LOGS")
            run.execute("UPDATE t SET a = 7")
        wanted = [("other", "CALL one.p()"), ("other", value),
                  ("other", raw.decode(errors="surrogateescape")),
                  ("other", "DELETE FROM t WHERE a = 3"), ("one", "DELETE FROM t WHERE a = 4"),
                  ("one", "DELETE FROM t WHERE a = 6"), ("one", "UPDATE t SET a = 7")]
        for file in ("general", "slow"):
            path = made.directory / file
            eventually(lambda path=path: b"a = 7" in path.read_bytes(), f"the {file} log")
            heard = rehearse_scene._heard(path, "none", print)
            assert [(s.database, s.text) for s in heard.statements] == wanted, file
    finally:
        made.remove()


@pytest.mark.parametrize("name", FLAVOURS)
def test_bytes_that_are_no_utf8(name: str, tmp_path: Path) -> None:
    """In rows, and in statements: they are compared and sent as they are."""
    program_named(name)
    (tmp_path / "s.sql").write_text(
        "CREATE TABLE t (id INT PRIMARY KEY, u BINARY(4), b VARCHAR(4) CHARACTER SET latin1)")
    (tmp_path / "a.sql").write_bytes(
        b"INSERT INTO t (id, u) VALUES (1, _binary'\xff\xfe\xfd\x01'); SET NAMES latin1;"
        b"INSERT INTO t (id, b) VALUES (2, 'caf\xe9'); SELECT b FROM t WHERE b = 'caf\xe9'")
    for form in ((), ("--json",)):
        done = _run("--sql", "ALTER TABLE t ADD x INT", "--schema", "s.sql", "--statements",
                    "a.sql", "--server", name, *form, cwd=tmp_path)
        assert done.returncode == 0, (done.stdout, done.stderr)
    said = json.loads(done.stdout)
    assert (said["problems"], said["unjudged"], said["notes"]) == ([], [], [])
    assert said["statements"][1]["sql"] == r"INSERT INTO t (id, b) VALUES (2, 'caf\xe9')"


OLD = """CREATE TABLE k (id INT, a INT, KEY (a))
 ROW_FORMAT=DYNAMIC KEY_BLOCK_SIZE=8"""
CHILD = "CREATE TABLE c (id INT PRIMARY KEY, a INT, FOREIGN KEY (a) REFERENCES k (a))"
ELSEWHERE = """CREATE TABLE e (id INT PRIMARY KEY
) ENGINE=FEDERATED CONNECTION='mysql://u@192.0.2.1/d/e'"""


@pytest.mark.parametrize("name", FLAVOURS)
def test_tables_that_are_older_than_the_settings(name: str) -> None:
    """What could not be made today is made as it is; what this server cannot be is told."""
    program = program_named(name)
    wanted = {"innodb_strict_mode": "ON", "lower_case_table_names": "1"}
    if not program.is_mariadb:
        wanted |= {"sql_require_primary_key": "ON", "sql_generate_invisible_primary_key": "ON",
                   "restrict_fk_on_non_standard_key": "ON"}
    schema = Schema({"d": "CREATE DATABASE d"},
                    [Made("d", n, t) for n, t in (("k", OLD), ("c", CHILD), ("e", ELSEWHERE))])
    heard = read("INSERT INTO k VALUES (1, 2); INSERT INTO c VALUES (1, 2)", "d")

    with throwaway_pair(program) as pair:
        done = asyncio.run(
            rehearsed(pair, "CREATE TABLE x (a INT PRIMARY KEY)", schema, heard, wanted))
        shown = sql(pair[0].socket, "SHOW CREATE TABLE d.k")[0]["Create Table"]
    assert "my_row_id" not in shown
    assert (done.judgement.problems, done.judgement.unjudged) == ([], [])
    assert done.notes == ["the throwaway servers do not take lower_case_table_names = 1",
                          "d.e is InnoDB here: the throwaway servers have no FEDERATED"]


def test_a_role_that_defines() -> None:
    for definer in ("`r1`", "`a`@`%`", "'a'@'localhost'", "a@localhost", "r1"):
        assert mysql_rehearse.anonymous(f"CREATE DEFINER={definer} PROCEDURE p()").split() == [
            "CREATE", "PROCEDURE", "p()"]


@pytest.mark.parametrize("name", FLAVOURS)
def test_a_procedure_that_writes_a_file(name: str, place: Path, tmp_path: Path) -> None:
    """It writes none here."""
    program_named(name)
    place.chmod(0o777)
    schema = TABLE + f"""
DELIMITER //
CREATE PROCEDURE p() BEGIN SELECT 1 INTO OUTFILE '{place}/x'; END//
"""
    code, said = offline(tmp_path, "ALTER TABLE t ADD c INT", name, schema=schema,
                         application="CALL p(); DELETE FROM t")
    assert (code, said["problems"], [u["statement"] for u in said["unjudged"]]) == (0, [], [1])
    assert not list(place.iterdir())


def test_each_statement_is_applied_at_once() -> None:
    """Not told to be so 300 ms later, a thousand times three."""
    with throwaway_pair(program_named(FLAVOURS[1])) as pair:
        said = sql(pair[1].socket, "SELECT @@GLOBAL.replica_checkpoint_period AS ms")
    assert said == [{"ms": 1}]


@pytest.mark.parametrize("name", FLAVOURS)
def test_a_view_of_a_table_that_is_gone(name: str, tmp_path: Path) -> None:
    """The pair has it too: it is told, and the rest is rehearsed."""
    program_named(name)
    schema = TABLE + "CREATE VIEW v AS SELECT * FROM gone; CREATE VIEW w AS SELECT * FROM t;"
    code, said = offline(tmp_path, "ALTER TABLE t ADD c INT", name, schema=schema,
                         application="DELETE FROM t; SELECT * FROM w")
    assert (code, said["problems"], said["unjudged"]) == (0, [], [])
    assert [n.partition(":")[0] for n in said["notes"]][:1] == ["dump.v is not here"], said
