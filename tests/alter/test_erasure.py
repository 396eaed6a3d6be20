"""Changes that leave the definition and take what is in the column or table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.alter.test_lint_offline import run
from tests.alter.test_rules import col, table

from slackwater.facts.alter_diff import Change, Kind
from slackwater.facts.alter_script import split
from slackwater.outside.server_programs import installed
from slackwater.rules.alter.erasure import again, erased, marks, may_erase

DUMP = """
CREATE TABLE t (id INT NOT NULL PRIMARY KEY, a INT DEFAULT 1, b INT DEFAULT 1, s VARCHAR(20) NOT
  NULL, e ENUM('x','y') DEFAULT NULL, d DECIMAL(10,2) UNSIGNED, at DATETIME, f BINARY(8),
  bits BIT(3), j JSON, g INT AS (a + 1) VIRTUAL, z INT DEFAULT 1, CONSTRAINT big CHECK (a > 1000),
  UNIQUE (s, a), FOREIGN KEY (b) REFERENCES u (id));
CREATE TABLE u (id INT NOT NULL PRIMARY KEY, z INT DEFAULT NULL);
CREATE TABLE v (id INT NOT NULL PRIMARY KEY, z INT DEFAULT NULL)
  PARTITION BY RANGE (id) (PARTITION p VALUES LESS THAN (0));
CREATE TABLE x (id INT NOT NULL PRIMARY KEY, a INT DEFAULT 1, b INT DEFAULT 1);
CREATE TABLE r (id INT NOT NULL PRIMARY KEY, z INT DEFAULT NULL);
CREATE TABLE w (id INT NOT NULL PRIMARY KEY, p GEOMETRY);
"""
# Statement: whether it takes values away.
STATEMENTS = {
    "ALTER TABLE t DROP COLUMN z, ADD COLUMN z INT DEFAULT 1": True,
    "ALTER TABLE t DROP z, ADD z BIGINT DEFAULT 1": True,
    "ALTER TABLE t CHANGE z z INT DEFAULT 1": False,
    "ALTER TABLE x CHANGE a b INT DEFAULT 1, CHANGE b a INT DEFAULT 1": True,
    "ALTER TABLE t CHANGE s s VARCHAR(10) NOT NULL, CHANGE e e ENUM('y','x'),"
    " CHANGE d d DECIMAL(12,4), CHANGE at at DATETIME(3), CHANGE f f BINARY(16),"
    " CHANGE bits bits BIT(9), CHANGE j j LONGTEXT": False,
    "ALTER TABLE t DROP CONSTRAINT big, ADD CONSTRAINT big CHECK (a > 2000)": False,
    "ALTER TABLE t DROP INDEX s, ADD COLUMN y INT": False,
    "ALTER TABLE t DROP COLUMN y, ADD COLUMN x INT": False,
    "ALTER TABLE t DROP COLUMN z": False,
    "ALTER TABLE t ADD COLUMN z INT": True,  # the statement before has dropped it
    "ALTER TABLE v DROP COLUMN z, ADD COLUMN z INT": True,
    "ALTER TABLE w CHANGE id id BIGINT NOT NULL": False,
    "ALTER TABLE w CHANGE p p GEOMETRY NULL": True,  # nothing is known of its type
    "DROP TABLE w": False, "CREATE TABLE w (id INT)": True,
}


@pytest.mark.servers
@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
def test_what_takes_values_away_is_refused(name: str, tmp_path: Path) -> None:
    if name not in {p.name for p in installed()}:
        pytest.skip(f"{name} is not installed")
    wanted = dict(STATEMENTS)
    if name.startswith("mariadb"):
        same = "CREATE OR REPLACE TABLE r (id INT NOT NULL PRIMARY KEY, z INT DEFAULT NULL"
        wanted |= {f"{same})": True, f"{same}, y INT)": True, "CREATE OR REPLACE TABLE n (i INT)":
                   False}
    (tmp_path / "schema.sql").write_text("SET foreign_key_checks = 0;" + DUMP)
    (tmp_path / "change.sql").write_text(";\n".join(wanted))
    _, text = run("slackwater", "alter", "lint", "change.sql", "--schema", "schema.sql",
                  "--server", name, "--json", cwd=tmp_path)
    said = json.loads(text)["statements"]
    rules = [{f["rule"]: f["old_to_new"]["why"] for f in s["findings"]} for s in said]
    got = dict(zip(wanted, (("values-erased" in r) for r in rules), strict=True))
    assert got == wanted, rules
    assert all(s["verdict"] == "refused" for s, no in zip(said, got.values(), strict=True) if no)
    assert not any("server-refuses" in r for r in rules), rules


@pytest.mark.parametrize(("text", "may"), [
    ("ALTER TABLE t MODIFY a BIGINT", False), ("ALTER TABLE t ADD a INT, ADD b INT", False),
    ("ALTER TABLE t DROP a", False), ("ALTER TABLE t DROP a, ADD a INT", True),
    ("ALTER TABLE t DROP `index`, ADD b INT", True), ("CREATE OR REPLACE TABLE t (a INT)", True),
    ("ALTER TABLE t DROP INDEX a, ADD INDEX a (b)", False),
    ("ALTER TABLE t RENAME COLUMN a TO b, RENAME COLUMN b TO a", True),
    ("ALTER TABLE t RENAME INDEX a TO b", False), ("CREATE TABLE t (a INT)", False),
    ("ALTER TABLE t ALTER a DROP DEFAULT, ADD b INT", False),
    ("alter table t change a a int", True),
])
def test_words_that_may_take_values_away(text: str, may: bool) -> None:
    assert may_erase(split(text)[0]) == may


def test_marks_differ_and_fit_both_types() -> None:
    old = table(col("a"), col("b", "varchar(1)"), col("c", "enum('x','y','z')"),
                col("d", "decimal(2,2)"), col("e", "bit(1)"), col("f", "geometry"))
    new = table(col("a", "tinyint"), col("b", "varchar(5)"), col("c", "enum('y','z')"))
    found = marks(old, new)
    assert list(found) == ["a", "b", "c", "e"]  # of the others nothing is known
    assert set(found["c"]) == {"'y'", "'z'"} and set(found["e"]) == {"0", "1"}
    assert all(len(set(v)) == 2 for v in found.values())
    many = table(*(col(f"c{n}", "tinyint") for n in range(200)))
    assert all(0 < int(v) < 128 for values in marks(many, many).values() for v in values)


@pytest.mark.parametrize(("before", "after", "gone"), [
    ([{"a": 1}, {"a": 2}], [{"a": 2}, {"a": 1}], []),
    ([{"a": 1}, {"a": 2}], [{"A": "2.00"}, {"A": "1.00"}], []),
    ([{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 1}], ["the values of a"]),
    ([{"a": 1}, {"a": 2}], [{"a": None}, {"a": None}], ["the values of a"]),
    ([{"a": 1}, {"a": 2}], [{"b": 7}, {"b": 7}], []),
    ([{"a": "2001-01-02"}], [{"a": "2001-01-02 00:00:00"}], []),
    ([{"a": b"1\0"}], [{"a": b"1"}], []), ([{"a": 1}], [], ["1 of 1 rows"]),
    ([{"a": 1, "b": 3}], [{"a": 3, "b": 1}], ["the values of a", "the values of b"]),
])
def test_what_is_gone_is_named(
    before: list[dict[str, object]], after: list[dict[str, object]], gone: list[str]
) -> None:
    assert erased(before, after) == gone


def test_what_an_earlier_statement_has_dropped() -> None:
    gone, new = Change(Kind.COLUMN_DROPPED, "t", col("c")), Change(
        Kind.COLUMN_ADDED, "T", None, col("C"))
    assert again([[gone], [new]]) == [(1, "T", "the values of C")]
    assert again([[new], [gone]]) == [] == again([[new, gone]])
    table_gone, table_new = Change(Kind.TABLE_DROPPED, "t"), Change(Kind.TABLE_CREATED, "t")
    assert again([[table_gone], [], [table_new]]) == [(2, "t", "all rows")]
