"""`slackwater alter lint` on a real pair, and what it leaves behind: nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.command import Said, slackwater
from tests.servers.fixtures import arrives, end, root_of, sql
from tests.servers.patience import eventually
from tests.sweep.pair import environment, python

from slackwater.lab.facts import LabFacts
from slackwater.lab.up import up
from slackwater.outside.server_programs import Program

pytestmark = pytest.mark.servers
TABLES = (
    "CREATE DATABASE shop CHARACTER SET utf8mb4",
    "CREATE TABLE shop.people (id INT PRIMARY KEY, name VARCHAR(40))",
    "CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, person INT, total DECIMAL(10,2),"
    " note VARCHAR(20), FOREIGN KEY (person) REFERENCES people (id))",
    "CREATE TRIGGER shop.seen BEFORE INSERT ON shop.orders FOR EACH ROW SET NEW.note = 'x'",
    "CREATE TABLE shop.last (done INT)",
)


def server(lab: LabFacts, name: str) -> str:
    return lab.servers[name]["socket"]


def left(socket: str) -> list[dict[str, Any]]:
    return sql(socket, r"SHOW DATABASES LIKE 'slackwater\_lint\_%'")


# The others are asked by `make matrixalter`.
FLAVOURS = ("mariadb-10.11", "mysql-9.7")


def few(program: Program) -> None:
    """Skip the other servers, unless all are wanted."""
    if program.name not in FLAVOURS:
        every_server()


def every_server() -> None:
    """Skip, unless all servers are wanted."""
    if not os.environ.get("SLACKWATER_TEST_EVERY_SERVER"):
        pytest.skip("only in `make matrixalter`")


@pytest.fixture
def shop(program: Program, place: Path) -> Iterator[LabFacts]:
    few(program)
    try:
        yield make_shop(up(server=root_of(program), directory=place / "lab"))
    finally:
        end(place / "lab")


def make_shop(lab: LabFacts) -> LabFacts:
    for statement in TABLES:
        sql(server(lab, "a"), statement)
    arrives(server(lab, "b"), "SELECT 1 FROM information_schema.TABLES WHERE TABLE_NAME = 'last'")
    return lab


def lint(lab: LabFacts, text: str, *words: str) -> Said:
    return slackwater(lab, "alter", "lint", "--sql", text, "--database", "shop", *words)


def position(socket: str) -> Any:
    return sql(socket, "SELECT @@GLOBAL.gtid_executed AS g" if not sql(
        socket, "SHOW VARIABLES LIKE 'gtid_binlog_pos'") else "SELECT @@gtid_binlog_pos AS g")


def still_read_only(socket: str) -> None:
    rows = sql(socket, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only',"
               " 'super_read_only')")
    assert {row["Value"] for row in rows} == {"ON"}


def test_verdicts(shop: LabFacts) -> None:
    """One file with one statement of each kind; afterwards both servers are as before."""
    passive = server(shop, "b")
    before = position(passive), sql(passive, "SHOW CREATE TABLE shop.orders")
    said = lint(shop, ";".join((
        "ALTER TABLE orders ADD COLUMN x INT, ADD INDEX (note)",
        "ALTER TABLE shop.orders MODIFY note VARCHAR(60)",
        "ALTER TABLE orders ADD COLUMN y INT AFTER id",
        "ALTER TABLE nobody ADD COLUMN y INT",
        "ALTER TABLE orders ADD COLUMN",
        "ALTER TABLE orders ADD UNIQUE (total)",
        "USE other",
        "CREATE TEMPORARY TABLE q (a INT)",
        "UPDATE orders SET note = SYSDATE()",
        "DROP TRIGGER seen",
        "UPDATE orders SET nothing = 1",
        "ALTER TABLE slackwater_lab.load_rows ADD x INT",
    )))
    assert said.code == 1, said.errors
    assert said.report["outcome"] == "refused"
    got = [(s["verdict"], *sorted({f["rule"] for f in s["findings"]}))
           for s in said.report["statements"]]
    assert got == [
        ("safe", "add-column-last", "index"), ("setting", "column-type"),
        ("refused", "column-not-last"), ("refused", "server-refuses"),
        ("refused", "server-refuses"),
        ("application", "add-unique"), ("refused", "other-database"),
        ("refused", "temporary-table"),
        ("refused", "data-before-ddl", "statement-differs"),
        ("safe", "trigger"), ("refused", "data-before-ddl", "server-refuses"),
        ("refused", said.report["statements"][-1]["findings"][0]["rule"]),
    ]
    assert said.report["statements"][-1]["findings"][0]["rule"] in ("other-database",
                                                                    "server-refuses")
    setting = said.report["statements"][1]["findings"][0]
    assert setting["old_to_new"]["modes"] == ["ALL_NON_LOSSY"]
    assert setting["new_to_old"]["modes"] == ["ALL_LOSSY", "ALL_NON_LOSSY"]
    assert (position(passive), sql(passive, "SHOW CREATE TABLE shop.orders")) == before
    assert left(passive) == []
    assert left(server(shop, "a")) == []
    still_read_only(passive)


def test_a_default_that_is_no_text(shop: LabFacts) -> None:
    """MariaDB shows it as bytes, which may be no text at all; MySQL as hexadecimal digits."""
    sql(server(shop, "a"), "CREATE TABLE shop.raw (id INT PRIMARY KEY,"
        " b VARBINARY(4) DEFAULT X'00FF')")
    arrives(server(shop, "b"), "SELECT 1 FROM information_schema.TABLES WHERE TABLE_NAME = 'raw'")
    said = lint(shop, "ALTER TABLE raw ADD COLUMN x INT")
    if sql(server(shop, "a"), "SHOW VARIABLES LIKE 'gtid_binlog_pos'"):
        assert said.code and "is no text in UTF-8" in said.errors, said
        assert "Traceback" not in said.errors
    else:
        assert said.code == 0, said.errors
    assert left(server(shop, "b")) == []
    sql(server(shop, "a"), "DROP TABLE shop.raw")


@pytest.mark.one_flavour
def test_safe_and_refused_files(shop: LabFacts, tmp_path: Path) -> None:
    assert lint(shop, "ALTER TABLE orders ADD COLUMN x INT").code == 0
    for text, word in (("", "no statement"), ("-- nothing", "no statement"),
                       ("ALTER TABLE 'x", "never closed")):
        said = lint(shop, text)
        assert said.code == 1
        assert word in said.report["reasons"][0]
    big = tmp_path / "big.sql"
    big.write_text("INSERT INTO orders VALUES (1);\n" * 160_000)
    said = slackwater(shop, "alter", "lint", str(big), "--database", "shop")
    assert (said.code, said.report["outcome"]) == (1, "refused")
    sql(server(shop, "a"), "CREATE DATABASE empty")
    arrives(server(shop, "b"), "SHOW DATABASES LIKE 'empty'")
    said = lint(shop, "CREATE TABLE empty.x (a INT)")
    assert said.report["statements"][0]["findings"][0]["rule"] == "other-database"
    assert sql(server(shop, "b"), "SHOW TABLES FROM empty") == []
    said = slackwater(shop, "alter", "lint", "--sql", "DROP TABLE x", "--database", "nobody")
    assert "no database 'nobody'" in said.report["reasons"][0]
    assert slackwater(shop, "alter", "lint", "--database", "shop").code == 64


@pytest.mark.one_flavour
def test_the_ends_of_a_foreign_key(shop: LabFacts) -> None:
    one = lint(shop, "ALTER TABLE people MODIFY id BIGINT")
    assert one.code == 1
    assert "foreign-key-column" in {f["rule"] for f in one.report["statements"][0]["findings"]}
    both = lint(shop, "ALTER TABLE orders DROP FOREIGN KEY orders_ibfk_1;"
                "ALTER TABLE people MODIFY id BIGINT;"
                "ALTER TABLE orders MODIFY person BIGINT,"
                " ADD CONSTRAINT orders_ibfk_1 FOREIGN KEY (person) REFERENCES people (id)")
    assert (both.code, both.report["verdict"]) == (0, "setting"), both.report


def test_stored_code_that_names_a_column(shop: LabFacts) -> None:
    """A trigger, a view and a routine that use a dropped column are named; others are not."""
    active = server(shop, "a")
    for statement in (
        "CREATE VIEW shop.notes AS SELECT note FROM shop.orders",
        "CREATE VIEW shop.totals AS SELECT total FROM shop.orders",
        "CREATE PROCEDURE shop.clear () UPDATE orders SET note = NULL",
        "CREATE TRIGGER shop.other BEFORE INSERT ON shop.people FOR EACH ROW SET NEW.name = 'note'",
    ):
        sql(active, statement)
    arrives(server(shop, "b"), "SELECT 1 FROM information_schema.TRIGGERS WHERE"
            " TRIGGER_NAME = 'other'")
    def named(text: str) -> set[str]:
        said = lint(shop, text).report
        return {f["change"] for s in said["statements"] for f in s["findings"]
                if f["rule"] == "stored-code"}

    assert named("ALTER TABLE orders DROP COLUMN note") == {
        "VIEW notes", "TRIGGER seen", "PROCEDURE clear"}
    assert named("DROP TRIGGER seen; ALTER TABLE orders DROP COLUMN note") == {
        "VIEW notes", "PROCEDURE clear"}
    assert named("ALTER TABLE orders ADD COLUMN other INT") == set()


def test_stored_code_of_another_database(shop: LabFacts) -> None:
    """It may use the table too, if it names the database; what is not shown is said."""
    active = server(shop, "a")
    for statement in (
        "CREATE DATABASE far", "CREATE TABLE far.orders (id INT PRIMARY KEY, note INT)",
        "CREATE VIEW far.notes AS SELECT note FROM shop.orders",
        "CREATE VIEW far.own AS SELECT note FROM far.orders",
        "CREATE PROCEDURE far.clear () UPDATE shop.orders SET note = NULL",
    ):
        sql(active, statement)
    arrives(server(shop, "b"), "SELECT 1 FROM information_schema.ROUTINES WHERE"
            " ROUTINE_SCHEMA = 'far' AND ROUTINE_NAME = 'clear'")
    said = lint(shop, "ALTER TABLE orders DROP COLUMN note").report
    found = {f["change"] for f in said["statements"][0]["findings"] if f["rule"] == "stored-code"}
    assert found == {"VIEW far.notes", "PROCEDURE far.clear", "TRIGGER seen"}


@pytest.mark.one_flavour
def test_sarif_and_github(shop: LabFacts) -> None:
    words = ("alter", "lint", "--sql", "ALTER TABLE orders\nADD y INT FIRST", "--database", "shop",
             "--config", str(shop.config))
    sarif = json.loads(_run(*words, "--sarif"))
    result = sarif["runs"][0]["results"][0]
    assert (sarif["version"], result["ruleId"], result["level"]) == (
        "2.1.0", "column-not-last", "error")
    assert _run(*words, "--github").startswith(
        "::error file=--sql,line=1,title=column-not-last::ADD COLUMN y")


def _run(*words: str) -> str:
    done = subprocess.run(python("slackwater", *words), env=environment(), capture_output=True,
                          text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    return done.stdout


def test_killed(program: Program, place: Path, tmp_path: Path) -> None:
    """kill -9 half way: `status` tells, and `recover` removes the scratch schema and puts MySQL's
    super_read_only on again."""
    if not program.name.startswith("mysql"):  # which has super_read_only to put back
        every_server()
    few(program)
    shop = up(server=root_of(program), directory=place / "lab")
    try:
        _kill_half_way(make_shop(shop), tmp_path)
    finally:
        end(shop.directory)


def _kill_half_way(shop: LabFacts, tmp_path: Path) -> None:
    passive = server(shop, "b")
    many = tmp_path / "many.sql"
    many.write_text(";\n".join(f"ALTER TABLE orders ADD c{n} INT" for n in range(150)))
    running = subprocess.Popen(
        python("slackwater", "alter", "lint", str(many), "--database", "shop", "--config",
               str(shop.config)), env=environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        eventually(lambda: left(passive), "the scratch schema")
        eventually(lambda: sql(passive, "SELECT 1 FROM information_schema.COLUMNS WHERE"
                               " COLUMN_NAME = 'c5'"), "the sixth column")
    finally:
        os.kill(running.pid, signal.SIGKILL)
        running.wait(30)
    assert left(passive), "it was not killed in time"
    assert sql(passive, "SELECT @@GLOBAL.read_only AS r") == [{"r": 1}]
    eventually(lambda: slackwater(shop, "status").report["left"], "status telling", limit_s=90)
    said = slackwater(shop, "recover")
    assert said.code == 0 and "killed `alter lint` left" in said.report["put_back"][0], said
    assert left(passive) == []
    still_read_only(passive)
    assert slackwater(shop, "status").report["left"] == []
    assert slackwater(shop, "recover").report["put_back"] == []
    assert lint(shop, "ALTER TABLE orders ADD z INT").code == 0
    still_read_only(passive)
    assert sql(server(shop, "b"), "SHOW COLUMNS FROM shop.orders LIKE 'c%'") == []


def test_what_only_the_database_knows(shop: LabFacts) -> None:
    """Its default character set, and which table a trigger is on."""
    said = lint(shop, "DROP TRIGGER IF EXISTS seen")
    assert [f["change"] for s in said.report["statements"] for f in s["findings"]] == [
        "DROP TRIGGER seen"], said.errors
    assert said.report["statements"][0]["tables"] == ["orders"]
    sql(server(shop, "a"), "ALTER DATABASE shop CHARACTER SET latin1")
    arrives(server(shop, "b"), "SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME ="
            " 'shop' AND DEFAULT_CHARACTER_SET_NAME = 'latin1'")
    said = lint(shop, "ALTER TABLE people CONVERT TO CHARACTER SET DEFAULT")
    assert said.code == 1
    assert "column-charset" in json.dumps(said.report)
    sql(server(shop, "b"), "STOP REPLICA")
    sql(server(shop, "a"), "ALTER DATABASE shop CHARACTER SET utf8mb4")
    said = lint(shop, "CREATE TABLE later (name VARCHAR(10))")
    assert said.code == 1
    assert "the database shop has latin1" in json.dumps(said.report)
    assert lint(shop, "CREATE INDEX n ON people (name)").code == 0


def test_names_that_the_database_has_already(shop: LabFacts) -> None:
    """A view, a sequence and a constraint of a table that the file does not name: the copies of
    tables must not hide them."""
    active = server(shop, "a")
    maria = not sql(active, "SELECT VERSION() AS v")[0]["v"].startswith(("5.", "8.", "9."))
    sql(active, "CREATE VIEW shop.seen_people AS SELECT id FROM shop.people")
    if maria:
        sql(active, "CREATE SEQUENCE shop.numbers")
    sql(active, "CREATE TABLE shop.holder (id INT PRIMARY KEY, p INT NOT NULL,"
                " CONSTRAINT taken FOREIGN KEY (p) REFERENCES shop.people (id))")
    arrives(server(shop, "b"),
            "SELECT 1 FROM information_schema.TABLES WHERE TABLE_NAME = 'holder'")
    for text in ("CREATE TABLE seen_people (id INT PRIMARY KEY)",
                 "CREATE TABLE IF NOT EXISTS shop.seen_people (id INT PRIMARY KEY)",
                 *(["CREATE OR REPLACE TABLE numbers (id INT PRIMARY KEY)"] if maria else [])):
        said = lint(shop, text)
        (finding,) = [f for f in said.report["statements"][0]["findings"]
                      if f["verdict"] == "refused"]
        assert (said.code, finding["rule"]) == (1, "name-taken"), said.report
        assert "there is a " in json.dumps(finding)
    said = lint(shop, "CREATE TABLE child (id INT PRIMARY KEY, p INT NOT NULL,"
                " CONSTRAINT taken FOREIGN KEY (p) REFERENCES people (id))")
    assert (said.code, "server-refuses" in json.dumps(said.report)) == (1, True), said.report
    assert lint(shop, "CREATE TABLE fresh (id INT PRIMARY KEY)").code == 0
