"""Statements that are right one by one, and wrong in one file. No server."""

from __future__ import annotations

import dataclasses
import itertools

from tests.alter.test_rules import col, table

from slackwater.facts.alter_diff import Change, Kind, table_changes
from slackwater.facts.alter_table import TableDef, Trigger
from slackwater.rules.alter.together import together


def changes(*states: TableDef) -> list[list[Change]]:
    return [table_changes(a, b) for a, b in itertools.pairwise(states)]


def with_trigger(of: TableDef, body: str) -> TableDef:
    return dataclasses.replace(of, triggers=(Trigger("z", "BEFORE INSERT", body),))


def found(*states: TableDef) -> list[tuple[int, str]]:
    return [(at, rule.id) for at, rule, _ in together(changes(*states))]


def test_a_trigger_fills_a_column_of_the_same_file() -> None:
    before, after = table(col("a")), table(col("a"), col("x"))
    fills = with_trigger(after, "SET NEW.x = NEW.a")
    assert found(before, after, fills) == [(1, "trigger-uses-new")]
    # Whichever is made first; and not one that leaves it alone.
    assert found(before, with_trigger(before, "SET NEW.X = 1"), fills)[0][1] == "trigger-uses-new"
    assert found(before, after, with_trigger(after, "SET NEW.a = 1")) == []
    generated = col("x", EXTRA="VIRTUAL GENERATED", GENERATION_EXPRESSION="`a` + 1")
    with_it = table(col("a"), generated)
    assert found(before, with_it, with_trigger(with_it, "SET @x = NEW.x")) == []


def test_a_trigger_writes_to_a_table_of_the_same_file() -> None:
    old = table(col("a"))
    new = dataclasses.replace(old, name="Audit")
    made = [Change(Kind.TABLE_CREATED, "Audit", None, new, None, new)]
    writes = table_changes(old, with_trigger(old, "INSERT INTO audit VALUES (NEW.a)"))
    assert [(at, r.id) for at, r, _ in together([made, writes])] == [(1, "trigger-uses-new")]
    # One of the new table itself: nobody writes there before the change is finished.
    own = table_changes(new, with_trigger(new, "INSERT INTO audit VALUES (NEW.a)"))
    own = [dataclasses.replace(c, table="Audit") for c in own]
    assert together([made, own]) == []


def test_a_new_column_gets_another_default_later() -> None:
    before, first = table(col("a")), table(col("a"), col("x"))
    for later in (col("x", COLUMN_DEFAULT="2"), col("x", COLUMN_DEFAULT="current_timestamp()"),
                  col("x", IS_NULLABLE="NO"), col("x", IS_NULLABLE="NO", EXTRA="auto_increment")):
        assert found(before, first, table(col("a"), later)) == [(1, "new-column-changes-again")]
    assert found(before, first, table(col("a"), col("x", "bigint(20)"))) == []
    # A default of a column that was there already is another rule's business.
    assert found(first, table(col("a"), col("x", COLUMN_DEFAULT="2"))) == []
