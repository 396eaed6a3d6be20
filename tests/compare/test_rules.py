"""What a comparison decides, without a server."""

from __future__ import annotations

import pytest

from slackwater.facts.compare import Hash
from slackwater.facts.tables import Column, Kind, Table, UniqueKey, choose_key
from slackwater.outside.mysql import compare_sql as texts
from slackwater.rules import compare as rules
from slackwater.rules.compare import Load, Pace
from slackwater.rules.filters import left_out

ID = Column("id", "int", "int(11)", False)
NAME = Column("name", "varchar", "varchar(9)", False, "utf8mb4", "utf8mb4_bin")
NOTE = Column("note", "text", "text", True, "latin1", "latin1_swedish_ci")


def table(*columns: Column, key: tuple[str, ...] = ("id",)) -> Table:
    return Table("s", "t", "InnoDB", 10, columns, "PRIMARY" if key else "", key)


def test_chunks_grow_slowly_and_shrink_at_once() -> None:
    assert rules.next_rows(1000, 0.001, 0.1) == 2000
    assert rules.next_rows(1000, 0.2, 0.1) == 500
    assert rules.next_rows(1000, 100.0, 0.1) == rules.SMALLEST_CHUNK
    assert rules.next_rows(rules.LARGEST_CHUNK, 0.0, 0.1) == rules.LARGEST_CHUNK


def test_it_rests_for_its_part_of_the_time() -> None:
    assert rules.rest_s(0.2, Pace(rest=0.5)) == pytest.approx(0.2)
    assert rules.rest_s(0.2, Pace(rest=0.75)) == pytest.approx(0.6)
    assert rules.rest_s(0.2, Pace(rest=0.0)) == 0


def test_lag_and_load_make_it_wait() -> None:
    pace = Pace(max_lag_s=1.0, max_running=5)
    assert rules.must_wait(Load(5, {"b": 1.0, "c": None}), pace) is None
    assert "b lags 1.5 s" in (rules.must_wait(Load(1, {"b": 1.5}), pace) or "")
    assert "6 statements" in (rules.must_wait(Load(6, {}), pace) or "")


def test_the_key_is_primary_or_unique_and_never_null_or_a_part() -> None:
    columns = {c.name: c for c in (ID, NAME, NOTE)}
    of = [UniqueKey("a", ("name", "id"), True), UniqueKey("n", ("note",), True),
          UniqueKey("p", ("name",), False), UniqueKey("z", ("id",), True)]
    chosen = choose_key(of, columns)
    assert chosen and chosen.name == "z"
    primary = UniqueKey("PRIMARY", ("id", "name"), True)
    assert choose_key([*of, primary], columns) is primary
    assert choose_key(of[1:3], columns) is None


def test_definitions_that_matter_and_those_that_do_not() -> None:
    wide, narrow = table(ID), table(Column("id", "int", "int", False))
    assert rules.structure_differences(wide, narrow, "b") == []
    old = table(Column("id", "char", "char(3)", False, "utf8", "utf8_bin"))
    new = table(Column("id", "char", "char(3)", False, "utf8mb3", "utf8mb3_bin"))
    assert rules.structure_differences(old, new, "b") == []
    assert rules.incomparable(old, new) is None
    other = table(Column("id", "bigint", "bigint(20)", False), NOTE)
    assert len(rules.structure_differences(wide, other, "b")) == 2
    assert rules.incomparable(table(ID, NAME, key=("name",)), table(ID, NAME)) is not None


def test_conditions_on_a_key_of_several_columns() -> None:
    both = table(ID, NAME, key=("id", "name"))
    after = texts.above(both, ("7", "6127"))
    assert after == ("(`id`>=7 AND (`id`>7 OR (`id`=7 AND "
                     "`name`>_utf8mb4 0x6127 COLLATE utf8mb4_bin)))")
    assert texts.inside(both, None, None) == "TRUE"
    assert texts.shown(both, ("7", "6127")) == """id=7, name="a'\""""
    with pytest.raises(ValueError, match="not a number"):
        texts.literal(ID, "1 OR 1")


def test_each_kind_of_value_has_a_rendering() -> None:
    made = texts.values(Hash.SHA2, [ID, NAME, NOTE], [True, True, False])
    assert [name for name, _ in made] == ["id", "name", "name", "note", ""]
    assert made[-1][1] == "CONCAT(ISNULL(`note`))"
    assert made[3][1] == "SHA2(CONVERT(`note` USING utf8mb4),256)"
    assert {Column("c", t, t, True).kind for t in (
        "float", "json", "set", "bit", "binary", "uuid", "year", "char")} == set(Kind)


def test_a_chunk_is_read_in_parts() -> None:
    assert rules.part_sizes(50) == [50]
    assert rules.part_sizes(1999) == [666, 666, 667]
    assert rules.part_sizes(50_000) == [6250] * rules.PARTS


@pytest.mark.parametrize(("table", "filters", "why"), [
    ("shop.t", [], None),
    ("shop.t", [("Replicate_Do_DB", "a,shop")], None),
    ("log.t", [("Replicate_Do_DB", "a,shop")], "Replicate_Do_DB = a,shop"),
    ("log.t", [("Replicate_Ignore_DB", "log")], "Replicate_Ignore_DB = log"),
    # With a list of what is replicated, the other list is not asked.
    ("log.t", [("Replicate_Do_DB", "log"), ("Replicate_Ignore_DB", "log")], None),
    ("log.t", [("Binlog_Ignore_DB", "log")], "Binlog_Ignore_DB = log"),
    ("shop.t", [("Replicate_Ignore_Table", "shop.s,shop.t")],
     "Replicate_Ignore_Table = shop.s,shop.t"),
    ("shop.t", [("Replicate_Do_Table", "shop.t"), ("Replicate_Ignore_Table", "shop.t")], None),
    ("shop.t", [("Replicate_Do_Table", "shop.s")], "Replicate_Do_Table = shop.s"),
    ("shop.t", [("Replicate_Do_Table", "shop.s"), ("Replicate_Wild_Do_Table", "shop.%")], None),
    ("shop.old_1", [("Replicate_Wild_Ignore_Table", r"%.old\_%")],
     r"Replicate_Wild_Ignore_Table = %.old\_%"),
    ("shop.older", [("Replicate_Wild_Ignore_Table", r"%.old\_%")], None),
    ("shop.t", [("Replicate_Rewrite_DB", "shop->log")], None),
])
def test_what_a_filter_leaves_out(
    table: str, filters: list[tuple[str, str]], why: str | None
) -> None:
    assert left_out(table, filters) == why
