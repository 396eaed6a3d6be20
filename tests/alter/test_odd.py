"""What stands beside a change and decides of it: hidden columns, keys, generated columns, other
statements of the file. No server; tests/alter/odd_cases.py has the same on real ones."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from tests.alter.test_rules import ROW, col, links, table

from slackwater.facts.alter_diff import table_changes
from slackwater.facts.alter_link import PairSettings
from slackwater.facts.alter_table import Key, Partition, TableDef
from slackwater.rules.alter.judge import judge, whole
from slackwater.rules.alter.verdict import Level

STATEMENT = {"binlog_format": "STATEMENT", "binlog_row_image": "FULL"}
LONG = Key("u", True, "HASH", (("u", 0, False),))


def level(old: TableDef, new: TableDef, of: PairSettings | None = None) -> Level:
    return max(f.level for f in judge(table_changes(old, new), of or links()))


def filling(of: PairSettings) -> PairSettings:
    """Of a MariaDB whose replica fills what only it has."""
    traits = dataclasses.replace(of.first.traits, fills_added=True)
    own = dataclasses.replace(of.first, traits=traits)
    return PairSettings(own, own)


def test_a_long_unique_key_has_a_column_behind_the_last_one() -> None:
    a, u, x = col("a"), col("u", "text"), col("x", "bigint(20)")
    old, new = table(a, u, keys=(LONG,)), table(a, u, x, keys=(LONG,))
    assert level(old, new) is Level.REFUSED
    assert level(new, old) is Level.REFUSED
    assert level(old, new, links(STATEMENT)) is Level.SAFE
    # Whichever the shorter one is: behind its columns the other has none of them.
    assert level(old, table(a, u, x)) is Level.REFUSED
    assert level(table(a, u), new) is Level.COMPLY
    assert level(old, table(col("a", "int(11)", COLUMN_COMMENT="x"), u, keys=(LONG,))) is Level.SAFE


@pytest.mark.parametrize(("kind", "default"), [
    ("text", "'abc'"), ("longtext", "'{}'"), ("blob", "'a'"), ("longtext", "json_object('a',1)"),
    ("point", "point(0,0)"),
])
def test_a_default_that_the_replica_does_not_fill_in(kind: str, default: str) -> None:
    old, new = table(col("a")), table(col("a"), col("x", kind, COLUMN_DEFAULT=default))
    assert level(old, new) is Level.REFUSED
    assert level(old, new, filling(links())) is Level.SAFE
    assert level(old, new, links(STATEMENT)) is Level.SAFE
    assert level(old, new, links(mariadb=False)) is Level.SAFE


def test_defaults_that_every_replica_fills_in() -> None:
    for kind, default in (("text", "''"), ("text", None), ("int(11)", "(1 + 2)"),
                          ("varchar(20)", "concat('a','b')")):
        new = table(col("a"), col("x", kind, COLUMN_DEFAULT=default))
        assert level(table(col("a")), new) is Level.SAFE, (kind, default)


def test_a_char_whose_length_takes_two_bytes_and_that_only_the_source_has() -> None:
    def char(octets: int, default: str | None) -> TableDef:
        return table(col("a"), col("x", "char(64)", COLUMN_DEFAULT=default,
                                   CHARACTER_OCTET_LENGTH=octets))

    old = table(col("a"))
    assert level(old, char(256, "'x'")) is Level.REFUSED
    assert level(old, char(256, "'x'"), links(mariadb=False)) is Level.SAFE
    assert level(old, char(255, "'x'")) is level(old, char(256, None)) is Level.SAFE
    assert level(char(256, None), old) is Level.REFUSED
    assert level(char(255, None), old) is Level.COMPLY


def test_a_char_that_grows_over_255_bytes_by_its_character_set() -> None:
    def char(kind: str, charset: str, octets: int) -> TableDef:
        return table(col("c", kind, CHARACTER_SET_NAME=charset, CHARACTER_OCTET_LENGTH=octets,
                         COLLATION_NAME=f"{charset}_general_ci"))

    old, new = char("char(80)", "utf8mb3", 240), char("char(80)", "utf8mb4", 320)
    assert level(old, new) is level(old, new, links(STATEMENT)) is Level.REFUSED
    assert level(old, new, links(mariadb=False)) is Level.SETTING
    assert level(char("char(20)", "utf8mb3", 60), char("char(20)", "utf8mb4", 80)) is Level.SETTING


def test_a_virtual_column_of_a_table_without_a_key() -> None:
    virtual = col("x", EXTRA="VIRTUAL GENERATED", GENERATION_EXPRESSION="`a` * 2")
    stored = col("x", EXTRA="STORED GENERATED", GENERATION_EXPRESSION="`a` * 2")
    a, never = col("a"), col("a", IS_NULLABLE="NO")
    unique = (Key("k", True, "BTREE", (("a", 0, False),)),)
    assert level(table(a), table(a, virtual)) is Level.REFUSED
    assert level(table(a), table(a, virtual), filling(links())) is Level.SAFE
    assert level(table(a), table(a, stored)) is Level.SAFE
    assert level(table(a, keys=unique), table(a, virtual, keys=unique)) is Level.REFUSED
    assert level(table(never, keys=unique), table(never, virtual, keys=unique)) is Level.SAFE


def test_what_is_generated_from_the_column_or_from_a_time() -> None:
    def text(collation: str) -> object:
        return col("c", "varchar(9)", CHARACTER_SET_NAME="utf8mb4", COLLATION_NAME=collation)

    def with_it(collation: str, expression: str) -> TableDef:
        made = col("y", EXTRA="STORED GENERATED", GENERATION_EXPRESSION=expression)
        return table(text(collation), made)  # type: ignore[arg-type]

    for expression, wanted in (("`c` = 'a'", Level.REFUSED), ("length(`z`)", Level.SAFE)):
        assert level(with_it("utf8mb4_bin", expression),
                     with_it("utf8mb4_general_ci", expression)) is wanted
    hour = {"EXTRA": "STORED GENERATED", "GENERATION_EXPRESSION": "hour(`s`)"}
    for kind, wanted in (("timestamp", Level.REFUSED), ("datetime", Level.SAFE)):
        assert level(table(col("s", kind)), table(col("s", kind), col("x", **hour))) is wanted


@pytest.mark.parametrize(("old", "new", "rows", "statements"), [
    ("decimal(10,2)", "decimal(12,4)", Level.COMPLY, Level.COMPLY),
    ("decimal(10,2)", "decimal(12,2)", Level.SETTING, Level.SAFE),
    ("float(8,2)", "float(8,4)", Level.REFUSED, Level.REFUSED),
    ("double(10,2)", "double", Level.REFUSED, Level.REFUSED),
    ("date", "datetime", Level.COMPLY, Level.COMPLY),
    ("datetime", "datetime(6)", Level.REFUSED, Level.COMPLY),
    ("enum('a','b')", "enum('b','a')", Level.REFUSED, Level.COMPLY),
    ("enum('a','b')", "enum('a','b','c')", Level.SAFE, Level.SAFE),
])
def test_what_a_server_rounds_by_itself(
    old: str, new: str, rows: Level, statements: Level
) -> None:
    assert level(table(col("c", old)), table(col("c", new)), links(ROW)) is rows
    assert level(table(col("c", old)), table(col("c", new)), links(STATEMENT)) is statements


def test_a_check_that_comes_with_a_column() -> None:
    old, new = table(col("c")), table(col("c"), col("x", COLUMN_DEFAULT="1"))

    def with_check(name: str, clause: str, *, own: bool) -> TableDef:
        return dataclasses.replace(new, checks=((name, clause),),
                                   own_checks=frozenset({name} if own else ()))

    assert level(old, with_check("x", "`c` < 100", own=True)) is Level.COMPLY
    assert level(old, with_check("x", "`c` < 100", own=False)) is Level.COMPLY
    assert level(old, with_check("x", "json_valid(`x`)", own=True)) is Level.SAFE
    gone = {c.kind.value for c in table_changes(with_check("x", "`x` < 9", own=True), old)}
    assert gone == {"column dropped"}


def test_a_range_that_is_no_number_becomes_narrower() -> None:
    def ranged(*tops: str) -> TableDef:
        parts = tuple(Partition(f"p{n}", "RANGE COLUMNS", "`d`", t) for n, t in enumerate(tops))
        return dataclasses.replace(table(col("d", "date")), partitions=parts)

    assert level(ranged("'2024-01-01'", "'2026-01-01'"),
                 ranged("'2024-01-01'", "'2025-01-01'")) is Level.COMPLY
    assert level(ranged("'2024-01-01'"), ranged("'2024-01-01'", "'2025-01-01'")) is Level.SAFE


def test_an_engine_that_keeps_half_of_what_fails() -> None:
    old = table(col("a"))
    new = dataclasses.replace(old, engine="MyISAM")
    assert level(old, new, links(STATEMENT)) is level(new, old, links(STATEMENT)) is Level.COMPLY
    assert level(old, new) is Level.SAFE
    assert level(old, new, links(mariadb=False)) is Level.COMPLY  # 1785


def test_gates_of_what_only_some_statements_notice() -> None:
    key = Key("k", False, "BTREE", (("a", 0, False),))
    a, b = table(col("a")), table(col("a"), keys=(key,))
    for form, count in ((STATEMENT, 1), (ROW, 0)):
        found = judge(table_changes(a, b), links(form))[0]
        assert len([g for g in found.until_finished if "LIMIT" in g]) == count
    found = judge(table_changes(table(col("a", IS_NULLABLE="NO")), a), links())[0]
    assert found.until_finished == ("must not write NULL to t.a, nor leave it out of an INSERT",)


def test_several_statements_put_a_column_in_the_place_of_another() -> None:
    def found(*states: TableDef) -> list[tuple[int, str]]:
        changes = [table_changes(a, b) for a, b in itertools.pairwise(states)]
        return [(at, f.rule.id) for at, f in whole(changes, links())]

    a, y, x = col("a"), col("y"), col("x")
    assert found(table(a, y), table(a), table(a, x)) == [(1, "rename-column")]
    assert found(table(a), table(a, x), table(a, x, y)) == []
    assert found(table(a, y), table(a)) == []
    # One that is refused by itself has told why.
    assert found(table(a, y), table(y), table(y, x)) == []
