"""Data statements taken apart: which table's rows, a chunk's condition, what is refused."""

from __future__ import annotations

import pytest

from slackwater.facts.alter_data import Shape, ShapeError, shape
from slackwater.facts.alter_diff import Change, Kind
from slackwater.facts.alter_script import split
from slackwater.facts.tables import Column, Table
from slackwater.rules.alter.backfill import judged, unfit
from slackwater.rules.alter.pace import GOAL_S, MOST_ROWS, fewer_rows, next_rows
from slackwater.rules.alter.values import not_kept, of_the_moment

ID, TEXT = Column("id", "int", "int(11)", False), Column("note", "varchar", "varchar(9)", True)
WHEN = Column("at", "timestamp", "timestamp", False)
TABLES = {
    "a": Table("shop", "a", "InnoDB", 10, (ID, TEXT), "PRIMARY", ("id",)),
    "b": Table("shop", "b", "InnoDB", 10, (ID, TEXT), "PRIMARY", ("id",)),
    "bare": Table("shop", "bare", "InnoDB", 10, (TEXT,)),
    "old": Table("shop", "old", "MyISAM", 10, (ID,), "PRIMARY", ("id",)),
    "log": Table("shop", "log", "InnoDB", 10, (WHEN,), "PRIMARY", ("at",)),
}


@pytest.mark.parametrize(("text", "kind", "walked", "within"), [
    ("UPDATE a SET note = 'x'", Shape.UPDATE, "a", "UPDATE a SET note = 'x' WHERE K"),
    ("UPDATE shop.a AS t SET t.note = LEFT(t.b, 2), c = (d = 1) WHERE note IS NULL OR c = 2",
     Shape.UPDATE, "a", "UPDATE shop.a AS t SET t.note = LEFT(t.b, 2), c = (d = 1) WHERE"
     " ( note IS NULL OR c = 2\n) AND (K)"),
    ("UPDATE `a` SET note = (SELECT x FROM b WHERE b.id = a.id LIMIT 1)", Shape.UPDATE, "a",
     "UPDATE `a` SET note = (SELECT x FROM b WHERE b.id = a.id LIMIT 1) WHERE K"),
    ("DELETE FROM a WHERE id < 5 -- all\n AND 1", Shape.DELETE, "a",
     "DELETE FROM a WHERE ( id < 5 -- all\n AND 1\n) AND (K)"),
    ("INSERT IGNORE INTO b (id, note) SELECT id, note FROM a t WHERE t.id > 1", Shape.COPY, "a",
     "INSERT IGNORE INTO b (id, note) SELECT id, note FROM a t WHERE ( t.id > 1\n) AND (K)"),
    ("INSERT INTO b (id) SELECT id FROM a", Shape.COPY, "a",
     "INSERT INTO b (id) SELECT id FROM a WHERE K"),
])  # fmt: skip
def test_where_a_chunk_goes(text: str, kind: Shape, walked: str, within: str) -> None:
    found = shape(split(text)[0], "shop")
    assert (found.shape, found.walked, found.within("K")) == (kind, walked, within)


def test_what_it_writes_and_whether_a_second_look_means_something() -> None:
    one = shape(split("UPDATE a t SET t.x = y = 1, `z` = f(q = 1, 2) WHERE Z IS NULL")[0], "shop")
    assert one.assigned == ("x", "z") and one.settles and one.condition == " Z IS NULL"
    assert not shape(split("UPDATE a SET x = 1 WHERE y = 2")[0], "shop").settles
    assert not shape(split("UPDATE a SET x = 1")[0], "shop").settles
    assert shape(split("DELETE FROM a WHERE y = 2")[0], "shop").settles
    rows = shape(split("INSERT INTO b (id, note) VALUES (1, 'SELECT'), (2, UUID())")[0], "shop")
    assert (rows.shape, rows.walked, rows.assigned) == (Shape.ROWS, "", ("id", "note"))


@pytest.mark.parametrize(("text", "why"), [
    ("UPDATE a, b SET a.x = b.x WHERE a.id = b.id", "of one table"),
    ("UPDATE a JOIN b USING (id) SET a.x = b.x", "of one table"),
    ("UPDATE IGNORE a SET x = 1", "without modifiers"),
    ("UPDATE a SET x = 1 ORDER BY id", "ORDER BY"), ("DELETE FROM a LIMIT 5", "LIMIT"),
    ("UPDATE other.a SET x = 1", "another database"),
    ("UPDATE a SET x = (SELECT MAX(x) FROM a)", "a subquery reads a"),
    ("DELETE FROM a WHERE id IN (SELECT id FROM shop.a)", "a subquery reads a"),
    ("DELETE FROM a WHERE id IN (SELECT 1 FROM b, a)", "a subquery reads a"),
    ("DELETE a FROM a JOIN b USING (id)", "only UPDATE table"),
    ("DELETE FROM a RETURNING id", "RETURNING"), ("DELETE FROM a, b", "[WHERE"),
    ("REPLACE INTO a (id) VALUES (1)", "only UPDATE"),
    ("WITH x AS (SELECT 1) UPDATE a SET y = 1", "only UPDATE"),
    ("INSERT INTO a SELECT * FROM b", "name its columns"),
    ("INSERT INTO a (id) SELECT id FROM b GROUP BY id", "GROUP BY"),
    ("INSERT INTO a (id) SELECT DISTINCT id FROM b", "DISTINCT"),
    ("INSERT INTO a (id) SELECT id FROM b UNION SELECT 1", "UNION"),
    ("INSERT INTO a (id) SELECT id FROM b, c", "from one table"),
    ("INSERT INTO a (id) SELECT b.id FROM b LEFT JOIN c USING (id)", "a join"),
    ("INSERT INTO a (id) SELECT ROW_NUMBER() OVER (ORDER BY id) FROM b", "window function"),
    ("INSERT INTO a (id) SELECT id + 1 FROM a", "reads the table that it writes"),
    ("INSERT INTO a (id) SELECT 1", "without a table"),
    ("INSERT INTO a (id) VALUES ((SELECT 1))", "a SELECT among the VALUES"),
    ("INSERT INTO a (id) VALUES (1) ON DUPLICATE KEY UPDATE id = 2", "ON DUPLICATE KEY"),
    ("INSERT INTO a SET id = 1", "name its columns"), ("UPDATE a SET x = 1 WHERE", "condition"),
])  # fmt: skip
def test_what_would_not_be_the_same_in_chunks(text: str, why: str) -> None:
    with pytest.raises(ShapeError, match=why.replace("[", r"\[")):
        shape(split(text)[0], "shop")


@pytest.mark.parametrize(("text", "why"), [
    ("UPDATE a SET note = 'x'", ""), ("INSERT INTO bare (note) VALUES (1)", ""),
    ("UPDATE bare SET note = 'x'", "no primary key"), ("DELETE FROM old", "MyISAM"),
    ("UPDATE a SET ID = id + 1", "by which the rows"), ("DELETE FROM log", "TIMESTAMP"),
    ("DELETE FROM nowhere", "no table"), ("INSERT INTO a (id) SELECT id FROM bare", "no primary"),
])  # fmt: skip
def test_tables_that_cannot_be_gone_through(text: str, why: str) -> None:
    found = unfit(shape(split(text)[0], "shop"), TABLES)
    assert why in found and bool(why) == bool(found)


@pytest.mark.parametrize(("text", "for_good"), [
    ("UPDATE a SET note = 'x' WHERE note IS NULL", ""), ("DELETE FROM a", "removed"),
    ("UPDATE a SET note = 'x', other = 1", "a.other is overwritten"),
    ("INSERT INTO b (id) SELECT id FROM a", ""), ("INSERT INTO a (id) SELECT id FROM b", "added"),
])  # fmt: skip
def test_what_nothing_brings_back_takes_a_word(text: str, for_good: str) -> None:
    statement = split(text)[0]
    made = [Change(Kind.COLUMN_ADDED, "a", None, TEXT), Change(Kind.TABLE_CREATED, "b")]
    found = judged(statement, shape(statement, "shop"), TABLES, made)
    assert [f.rule.id for f in found][1:] == (["data-for-good"] if for_good else [])
    assert for_good in found[-1].forward.why


def test_values_are_drawn_once_or_refused() -> None:
    assert not_kept("UPDATE a SET x = UUID(), y = NOW(), z = RAND()") == []
    assert not_kept("UPDATE a SET x = SYSDATE(), y = @a") == ["SYSDATE", "@a"]
    assert of_the_moment("x = CURRENT_DATE") and not of_the_moment("x = UUID()")


def test_chunks_take_about_as_long_as_they_may() -> None:
    rows = 200
    for _ in range(20):
        rows = next_rows(rows, took_s=rows / 10_000)  # 10,000 rows a second
    assert rows == 10_000 * GOAL_S
    assert next_rows(rows, 0.0001) == 2 * rows and next_rows(rows, 10) == rows // 2
    assert next_rows(MOST_ROWS, 0.0) == MOST_ROWS and next_rows(1, 10) == 1
    assert fewer_rows(3) == 1
