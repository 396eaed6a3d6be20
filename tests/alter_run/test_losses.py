"""What only the new schema can hold: asked of real rows, on a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pymysql.cursors import DictCursor

from slackwater.lab.instance import Instance
from slackwater.outside.server_programs import installed
from slackwater.rules.alter_run import losses, way_back

pytestmark = pytest.mark.servers
Link = "pymysql.Connection[DictCursor]"
# The old column (none: it is new), the new one, values that both hold, values that only it holds.
CASES = (
    ("c SET('a','b')", "c SET('a','b','c')", ("''", "'a,b'", "NULL"), ("'c'", "'a,c'")),
    ("c BIT(3)", "c BIT(9)", ("0", "7"), ("8", "511")),
    ("c DECIMAL(5,2) UNSIGNED", "c DECIMAL(7,2)", ("0", "999.99"), ("-0.01", "1000")),
    ("c DATETIME", "c DATETIME(6)", ("'2001-01-01 1:2:3'",), ("'2001-01-01 1:2:3.000001'",)),
    ("c DATE", "c DATETIME", ("'2001-01-01'",), ("'2001-01-01 00:00:01'",)),
    ("c LONGTEXT", "c MEDIUMTEXT", ("'x'", "REPEAT('x', 70000)"), ()),
    ("c TINYINT", "c DECIMAL(6,1)", ("-128", "127"), ("128", "0.5")),
    ("", "c VARCHAR(20) COLLATE utf8mb4_general_ci DEFAULT 'new'", ("'new'",),
     ("'NEW'", "'new '", "NULL", "'néw'")),
    ("", "c ENUM('p','q') NOT NULL", ("'p'",), ("'q'",)),
    ("", "c SET('p','q') DEFAULT 'p'", ("'p'",), ("'q'", "''")),
    ("", "c INT DEFAULT 3", ("3",), ("4", "NULL")),
    ("", "c DATETIME(3) DEFAULT NULL", ("NULL",), ("'2001-01-01'",)),
    ("c CHAR(3)", "c VARCHAR(3)", ("'abc'", "'a'", "''", "NULL"), ("'a '", "' '")),
    ("c CHAR(3)", "c TEXT", ("'abc'", "' a'"), ("'a '", "'abcd'")),
    ("c BINARY(3)", "c VARBINARY(5)", ("'abc'", "NULL"), ("'ab'", "'abcd'", "''")),
    ("c VARCHAR(3)", "c VARCHAR(5)", ("'abc'", "'äöü'"), ("'abcd'",)),
    ("c ENUM('a','b')", "c ENUM('a','b','c')", ("'a'", "NULL"), ("'c'",)),
    ("c TEXT CHARACTER SET latin1", "c MEDIUMTEXT CHARACTER SET utf8mb4",
     ("REPEAT('é', 60000)", "NULL", "''"), ("REPEAT('é', 70000)", "'Ω'", "'😀'")),
    ("c TEXT CHARACTER SET utf8mb4", "c TEXT CHARACTER SET latin1", ("REPEAT('é', 30000)",),
     ("REPEAT('é', 60000)",)),
    ("c TINYTEXT CHARACTER SET utf8mb3", "c TEXT CHARACTER SET utf8mb4", ("'é'", "'€'"),
     ("REPEAT('€', 100)", "'😀'")),
    ("c VARCHAR(9) CHARACTER SET utf8mb3", "c VARCHAR(9) CHARACTER SET utf8mb4", ("'é'", "NULL"),
     ("'😀'",)),
)


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
def test_each_value_is_counted_on_the_right_side(name: str, place: Path) -> None:
    with server(name, place) as link:
        run(link, "CREATE DATABASE d CHARACTER SET utf8mb4")
        run(link, "USE d")
        for number, (old, new, both, only) in enumerate(CASES):
            texts = [made(link, f"{when}{number}", column) for when, column in
                     (("old", old), ("new", new))]
            values = ",".join(f"({value})" for value in (*both, *only))
            run(link, f"INSERT INTO new{number} (c) VALUES {values}")
            found, unknown = losses({"t": texts[0]}, {"t": texts[1]})
            assert not unknown, (old, new)
            ids = [row["id"] for loss in found for row in run(
                link, f"SELECT id FROM new{number} WHERE {loss.condition} ORDER BY id")]
            wanted = list(range(len(both) + 1, len(both) + len(only) + 1))
            assert ids == wanted, (old, new, [loss.condition for loss in found])


TABLE = (
    "CREATE TABLE t (id INT PRIMARY KEY, c VARCHAR(40), x VARCHAR(9) CHARACTER SET ascii DEFAULT"
    " 'q', b VARCHAR(9) COLLATE {charset}_bin, e ENUM('a','o'), m TEXT, n INT, s SET('a'), i"
    " VARCHAR(9) GENERATED ALWAYS AS (CONCAT(c, 'z')) VIRTUAL, KEY (c)) DEFAULT CHARSET {charset}")


@pytest.mark.parametrize("name", ["mariadb-10.11", "mariadb-11.8", "mysql-9.7"])
def test_the_way_back_of_character_sets(name: str, place: Path) -> None:
    """Also of columns whose definition does not name theirs, and reads the same before and after.
    """
    with server(name, place) as link:
        run(link, "CREATE DATABASE d")
        run(link, "USE d")
        for charset, change in (
            ("utf8mb3", "CONVERT TO CHARACTER SET utf8mb4"),
            ("utf8mb3", "DEFAULT CHARACTER SET utf8mb4"),
            ("utf8mb3", "MODIFY m TEXT CHARACTER SET utf8mb4"),
            ("latin1", "CONVERT TO CHARACTER SET utf8mb4"),
            ("utf8mb4", "CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"),
            ("utf8mb4", "DEFAULT COLLATE utf8mb4_unicode_ci"),
        ):
            run(link, TABLE.format(charset=charset))
            was = run(link, "SHOW CREATE TABLE t")[0]["Create Table"]
            run(link, f"ALTER TABLE t {change}")
            now = run(link, "SHOW CREATE TABLE t")[0]["Create Table"]
            assert was != now
            for statement in way_back({"t": was}, {"t": now}).statements:
                run(link, statement)
            assert run(link, "SHOW CREATE TABLE t")[0]["Create Table"] == was, (charset, change)
            run(link, "DROP TABLE t")


KEYS = (
    "CREATE TABLE t (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, a INT, b INT, c VARCHAR(20),"
    " UNIQUE KEY u (a, b), KEY k1 (a), KEY k2 (b), KEY k3 (c), CONSTRAINT c1 CHECK (a > 0),"
    " CONSTRAINT c2 CHECK (b > 0), CONSTRAINT f FOREIGN KEY (a) REFERENCES p (id))"
    " COMMENT 'it''s MAX_ROWS=7'")
OTHERWISE = (
    "DROP INDEX k1", "DROP INDEX k1, ADD INDEX k1 (a, c)", "RENAME INDEX k2 TO k9", "DROP INDEX u",
    "DROP INDEX k1, ADD INDEX k9 (c), DROP INDEX k3", "DROP CONSTRAINT c1", "COMMENT='other'",
    "ROW_FORMAT=COMPRESSED", "STATS_PERSISTENT=1, MAX_ROWS=9", "AVG_ROW_LENGTH=20, CHECKSUM=1",
)  # fmt: skip
HIDE = {"mariadb-10.11": ("ALTER INDEX k1 IGNORED", "PAGE_COMPRESSED=1"),
        "mysql-9.7": ("ALTER INDEX k1 INVISIBLE", "COMPRESSION='zlib'")}


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
def test_the_way_back_leaves_the_order_and_the_options_as_they_were(name: str, place: Path) -> None:
    """Else the table is not as before, and what was to be undone, or reverted, is stuck."""
    with server(name, place) as link:
        run(link, "CREATE DATABASE d")
        run(link, "USE d")
        run(link, "CREATE TABLE p (id INT PRIMARY KEY)")
        for text, change in [
            *((KEYS, c) for c in (*OTHERWISE, *HIDE[name])),
            (KEYS.partition(" COMMENT ")[0], "COMMENT='new'"),
            (KEYS.replace("KEY k2 (b)", f"KEY k2 (b) {HIDE[name][0].split()[-1]}"),
             "DROP INDEX k1"),
        ]:
            run(link, text)
            was = run(link, "SHOW CREATE TABLE t")[0]["Create Table"]
            run(link, f"ALTER TABLE t {change}")
            now = run(link, "SHOW CREATE TABLE t")[0]["Create Table"]
            assert was != now, change
            for statement in way_back({"t": was}, {"t": now}).statements:
                run(link, statement)
            assert run(link, "SHOW CREATE TABLE t")[0]["Create Table"] == was, change
            run(link, "DROP TABLE t")


EXPRESSIONS = (
    ("c JSON NOT NULL DEFAULT (JSON_ARRAY())", "'[]'", "'[1]'"),
    ("c INT DEFAULT (LENGTH('(a') + 1) COMMENT ' DEFAULT (8)'", "3", "4"),
    ("c TEXT NOT NULL DEFAULT ('it''s)')", "'it''s)'", "''"),
)


def test_a_default_that_is_an_expression(place: Path) -> None:
    """MySQL's DEFAULT() takes none, and without an answer there is neither a way on nor back."""
    with server("mysql-9.7", place) as link:
        run(link, "CREATE DATABASE d")
        run(link, "USE d")
        was = made(link, "old", "")
        for number, (new, has, only) in enumerate(EXPRESSIONS):
            now = made(link, f"new{number}", new)
            run(link, f"INSERT INTO new{number} (c) VALUES ({has}), ({only})")
            found, _ = losses({"t": was}, {"t": now})
            assert run(link, f"SELECT id FROM new{number} WHERE {found[0].condition}") == [
                {"id": 2}], new


def made(link: Link, table: str, column: str) -> str:
    comma = f", {column}" if column else ""
    run(link, f"CREATE TABLE {table} (id INT AUTO_INCREMENT PRIMARY KEY{comma})")
    return str(run(link, f"SHOW CREATE TABLE {table}")[0]["Create Table"])


def run(link: Link, statement: str) -> list[dict[str, Any]]:
    with link.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


@contextmanager
def server(name: str, place: Path) -> Iterator[Link]:
    """One that is thrown away, and root's connection to it."""
    found = [p for p in installed() if p.name == name]
    if not found:
        pytest.skip(f"{name} is not installed")
    one = Instance.create(found[0], place / "s", server_id=1, mark=place)
    try:
        one.start(120)
        with pymysql.connect(unix_socket=str(one.socket), user="root", charset="utf8mb4",
                             autocommit=True, cursorclass=DictCursor) as link:
            yield link
    finally:
        one.remove()
