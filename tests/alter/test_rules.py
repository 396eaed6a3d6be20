"""The rules, and the differ that feeds them, without a server."""

from __future__ import annotations

import dataclasses

import pytest

from slackwater.facts.alter_column import Column, column, parse_type
from slackwater.facts.alter_diff import Change, Kind, is_aligned, table_changes
from slackwater.facts.alter_link import PairSettings, Settings, Traits
from slackwater.facts.alter_program import StoredProgram
from slackwater.facts.alter_script import What, split
from slackwater.facts.alter_table import Key, SchemaRows, TableDef, tables
from slackwater.operations.alter.lint import Linted, LintReport
from slackwater.rules.alter import advice, programs
from slackwater.rules.alter.cost import Cost
from slackwater.rules.alter.judge import RULES, conflicts, judge, modes
from slackwater.rules.alter.verdict import Level

ROW = {"binlog_format": "ROW", "binlog_row_image": "FULL"}


def links(variables: dict[str, str] = ROW, *, mariadb: bool = True) -> PairSettings:
    traits = Traits("x", mariadb, "slave_type_conversions", False)
    own = Settings.read(variables, traits)
    return PairSettings(own, own)


def col(name: str, full: str = "int(11)", **more: object) -> Column:
    row = {"COLUMN_NAME": name, "ORDINAL_POSITION": 1, "COLUMN_TYPE": full, "IS_NULLABLE": "YES",
           "EXTRA": "", "COLUMN_DEFAULT": None, **more}
    return column(row, mariadb=True)


def table(*columns: Column, keys: tuple[Key, ...] = (), text: str = "") -> TableDef:
    placed = tuple(dataclasses.replace(c, position=n) for n, c in enumerate(columns, 1))
    return TableDef("t", "InnoDB", "utf8mb4_bin", "", "", False, placed, keys, text=text)


@pytest.mark.parametrize(("full", "wanted"), [
    ("decimal(10,2) unsigned", ("decimal", 10, 2, True)), ("int(11)", ("int", 0, 0, False)),
    ("bigint unsigned", ("bigint", 0, 0, True)), ("datetime(6)", ("datetime", 6, 0, False)),
    ("int(10) unsigned zerofill", ("int", 0, 0, True)),
    ("enum('a','it''s','unsigned')", ("enum", 0, 0, False)),
])
def test_types(full: str, wanted: tuple[object, ...]) -> None:
    got = parse_type(full)
    assert (got.name, got.size, got.scale, got.unsigned) == wanted


def test_members_and_sizes() -> None:
    assert parse_type("enum('a','it''s',',')").members == ("a", "it''s", ",")
    many = ",".join(f"'{n}'" for n in range(256))
    assert parse_type(f"enum({many})").pack_bytes == 2
    assert parse_type("set('1','2','3','4','5','6','7','8','9')").pack_bytes == 2
    assert parse_type("mediumint").low_high == (-8388608, 8388607)


def kinds(old: TableDef, new: TableDef) -> list[tuple[str, str]]:
    return [(c.kind, c.name) for c in table_changes(old, new)]


def test_differences() -> None:
    a, b, c, d = (col(n) for n in "abcd")
    assert kinds(table(a, b), table(a, b, c)) == [(Kind.COLUMN_ADDED, "c")]
    assert kinds(table(a, b), table(a, c)) == [(Kind.COLUMN_RENAMED, "c")]
    assert kinds(table(a, b, c), table(a, c)) == [(Kind.COLUMN_DROPPED, "b")]
    assert kinds(table(a, b, c, d), table(a, d, b, c)) == [(Kind.COLUMN_MOVED, "d")]
    assert kinds(table(a, b, text="x"), table(a, b, text="y")) == [(Kind.UNKNOWN, "")]
    # Dropped in the middle and another added last: not a rename, and nothing is in its place.
    assert sorted(kinds(table(a, b, c), table(a, c, d))) == [
        (Kind.COLUMN_ADDED, "d"), (Kind.COLUMN_DROPPED, "b")]


def test_alignment() -> None:
    a, b, c, d = (col(n) for n in "abcd")
    assert is_aligned((a, b), (a, b, c))
    assert is_aligned((a, b, c), (a, b))
    assert is_aligned((a, b), (a, d))
    assert not is_aligned((a, b, c), (a, c))
    assert not is_aligned((a, b), (a, c, b))
    assert not is_aligned((a, b), (b, a))


def level(old: TableDef, new: TableDef, pair: PairSettings) -> Level:
    return max(f.level for f in judge(table_changes(old, new), pair))


def test_formats_and_images() -> None:
    old, new = table(col("a"), col("b")), table(col("a"), col("x"), col("b"))
    assert level(old, new, links()) is Level.REFUSED
    assert level(old, new, links({"binlog_format": "STATEMENT"})) is Level.SAFE
    assert level(old, new, links({"binlog_format": "MIXED"})) is Level.REFUSED
    one = table(col("a", COLUMN_DEFAULT="1"))
    other = table(col("a", COLUMN_DEFAULT="2"))
    assert level(one, other, links()) is Level.SAFE
    assert level(one, other, links({**ROW, "binlog_row_image": "MINIMAL"})) is Level.REFUSED
    assert level(one, other, links({"binlog_format": "STATEMENT"})) is Level.REFUSED


@pytest.mark.parametrize(("full", "charset", "collation", "judged"), [
    ("varchar(20)", "utf8mb4", "utf8mb4_bin", True),
    ("varchar(60)", "utf8mb4", "utf8mb4_bin", True),  # also where the type changes
    ("varchar(20)", "utf8mb3", "utf8mb3_bin", True),  # and the character set
    ("varchar(60)", "utf8mb4", "utf8mb4_general_ci", False),
    ("varchar(20)", "utf8mb3", "utf8mb3_general_ci", False),  # compares as before
    ("int(11)", "", "", False),
])
def test_a_collation_is_judged_whatever_else_changes(
    full: str, charset: str, collation: str, judged: bool
) -> None:
    def text(full: str, charset: str, collation: str) -> Column:
        return col("a", full, CHARACTER_SET_NAME=charset, COLLATION_NAME=collation)

    key = Key("k", True, "BTREE", (("a", 0, False),))
    one = table(text("varchar(20)", "utf8mb4", "utf8mb4_general_ci"), keys=(key,))
    other = table(text(full, charset, collation), keys=(key,))
    for old, new in ((one, other), (other, one)):
        found = {f.rule.id: f for f in judge(table_changes(old, new), links())}
        assert ("column-collation" in found) == judged, found
        if judged:
            assert found["column-collation"].level is Level.COMPLY
            assert "GROUP BY v HAVING" in found["column-collation"].checks[0]
            apart = links({"binlog_format": "STATEMENT"})
            assert level(old, new, apart) is Level.REFUSED


def test_signs_exclude_each_other_on_mysql() -> None:
    old = table(col("a", "int unsigned"), col("b", "int"))
    new = table(col("a", "bigint unsigned"), col("b", "bigint"))
    found = judge(table_changes(old, new), links(mariadb=False))
    assert "ALL_UNSIGNED" in modes(found, forward=True)
    assert [f.rule.id for f in conflicts(found, links(mariadb=False))] == ["settings-conflict"] * 2
    found = judge(table_changes(old, new), links())
    assert modes(found, forward=True) == {"ALL_NON_LOSSY"}
    assert conflicts(found, links()) == []


def test_what_is_done_at_once_takes_no_room_on_the_disk() -> None:
    def linted(table: str, algorithm: str, disk: int) -> Linted:
        return Linted(split("ALTER TABLE t FORCE")[0], What.DDL, [table],
                      cost=Cost(algorithm, "NONE", False, 10**9, (0.0, 0.0), disk))

    report = LintReport("d", "b", links(), [
        linted("t", "INSTANT", 0), linted("u", "NOCOPY", 5), linted("u", "COPY", 70),
        linted("u", "INPLACE", 6)], [])
    assert report.disk == {"t": 0, "u": 70}


def test_rules_have_names_of_their_own() -> None:
    ids = [r.id for r in (*RULES, *advice.RULES)]
    assert len(ids) == len(set(ids))
    assert all(r.title and r.why for r in (*RULES, *advice.RULES))


def test_advice() -> None:
    key = Key("k", False, "BTREE", (("a", 0, False),))
    longer = Key("l", False, "BTREE", (("a", 0, False), ("b", 0, False)))
    old = table(col("a"), col("b"), keys=(longer,))
    new = table(col("a"), col("b"), col("f", "float"), keys=(key, longer))
    said = {n.rule.id for n in advice.advise(table_changes(old, new))}
    assert said == {"float-column", "redundant-index"}


def test_a_versioned_table_has_columns_behind_the_last_one() -> None:
    def versioned(*columns: Column) -> TableDef:
        return dataclasses.replace(table(*columns), versioned=True)

    a, b = col("a"), col("b")
    for old, new in ((versioned(a), versioned(a, b)), (versioned(a, b), versioned(a))):
        found = {f.rule.id: f.level for f in judge(table_changes(old, new), links())}
        assert found["column-not-last"] is Level.REFUSED
    assert level(versioned(a), versioned(col("a", "int(11)", COLUMN_COMMENT="x")),
                 links()) is Level.SAFE
    # Where it names them itself, they are where they are seen to be.
    end = col("e", "timestamp(6)", GENERATION_EXPRESSION="ROW END", EXTRA="STORED GENERATED")
    assert level(versioned(a, end), versioned(a, end, b), links()) is Level.SAFE


@pytest.mark.parametrize("kind", ["varchar(20)", "text", "varbinary(20)"])
def test_a_compressed_column_is_another_type_in_row_events(kind: str) -> None:
    plain, packed = table(col("a", kind)), table(col("a", f"{kind} /*M!100301 COMPRESSED*/"))
    for old, new in ((plain, packed), (packed, plain)):
        assert level(old, new, links()) is Level.REFUSED
        assert level(old, new, links({"binlog_format": "STATEMENT"})) is Level.SAFE


@pytest.mark.parametrize("kind", ["float", "double"])
def test_a_float_that_takes_no_negative_values_any_more(kind: str) -> None:
    signed, unsigned = table(col("a", kind)), table(col("a", f"{kind} unsigned"))
    assert level(signed, unsigned, links()) is Level.COMPLY
    assert [f.until_finished for f in judge(table_changes(unsigned, signed), links())] != [()]


def test_a_dropped_fulltext_index_is_missed_by_who_searches() -> None:
    text = Key("f", False, "FULLTEXT", (("a", 0, False),))
    same = dataclasses.replace(text, name="g")
    plain = Key("i", False, "BTREE", (("a", 0, False),))
    column = col("a", "text")
    assert level(table(column, keys=(text,)), table(column), links()) is Level.COMPLY
    assert level(table(column, keys=(text, same)), table(column, keys=(same,)), links()) is (
        Level.SAFE)
    for after in ((), (dataclasses.replace(plain, name="j"),)):
        (found,) = judge(table_changes(table(column, keys=(plain,)), table(column, keys=after)),
                         links())
        assert found.level is Level.SAFE
        assert "must not name i" in found.until_finished[0]


def test_the_check_of_a_new_unique_key_asks_for_what_the_key_compares() -> None:
    key = Key("k", True, "BTREE", (("a", 3, False), ("(lower(`b`))", 0, False)))
    columns = (col("a", "varchar(20)"), col("b", "varchar(20)"))
    found = judge(table_changes(table(*columns), table(*columns, keys=(key,))), links())
    assert found[0].checks == (
        "SELECT LEFT(`a`, 3), (lower(`b`)), COUNT(*) FROM `t` WHERE LEFT(`a`, 3) IS NOT NULL AND "
        "(lower(`b`)) IS NOT NULL GROUP BY LEFT(`a`, 3), (lower(`b`)) HAVING COUNT(*) > 1 must be "
        "empty, and the application must keep it so",)


def test_a_column_that_hides_changes_what_an_insert_without_names_gives() -> None:
    shown, hidden = table(col("a"), col("b")), table(col("a"), col("b", EXTRA="INVISIBLE"))
    for old, new in ((shown, hidden), (hidden, shown)):
        (found,) = judge(table_changes(old, new), links())
        assert found.level is Level.SAFE
        assert "must name the columns" in found.until_finished[0]
        assert level(old, new, links({"binlog_format": "MIXED"})) is Level.COMPLY


def test_code_that_uses_a_table_that_is_dropped() -> None:
    gone = table(col("a"))
    code = [StoredProgram("trigger", "z", "other", "INSERT INTO T VALUES (1)"),
            StoredProgram("trigger", "own", "t", "SET @a = (SELECT 1 FROM t)"),
            StoredProgram("view", "v", "", "select 1 from tt")]
    change = Change(Kind.TABLE_DROPPED, "t", gone, None, gone, None)
    assert programs.worth_reading([change])
    assert [f.what for f in programs.may_use([change], code)] == ["TRIGGER z"]


def test_code_that_uses_a_view_of_what_goes() -> None:
    code = [StoredProgram("procedure", "p", "", "SELECT b FROM v2"),
            StoredProgram("view", "v2", "", "select b from v1"),
            StoredProgram("view", "v1", "", "select b from t"),
            StoredProgram("view", "v3", "", "select a from v1"),
            StoredProgram("view", "v4", "", "select b from v9")]
    changes = table_changes(table(col("a"), col("b")), table(col("a")))
    assert [f.what for f in programs.may_use(changes, code)] == [
        "PROCEDURE p", "VIEW v2", "VIEW v1"]


@pytest.mark.parametrize(("body", "unnamed"), [
    ("INSERT INTO t VALUES (NEW.a)", True), ("insert ignore `shop`.`T` select 1", True),
    ("BEGIN REPLACE INTO shop . t () VALUES (); END", True), ("INSERT t VALUE (1)", True),
    ("INSERT INTO t (a) VALUES (NEW.a)", False), ("INSERT INTO t SET a = 1", False),
    ("INSERT INTO tt VALUES (1)", False), ("INSERT INTO t_t VALUES (1)", False),
    ("INSERT INTO other (t) VALUES (1)", False), ("INSERT INTO x.at VALUES (1)", False),
])
def test_code_that_names_no_columns(body: str, unnamed: bool) -> None:
    code = [StoredProgram("trigger", "z", "other", body)]
    more = table_changes(table(col("a")), table(col("a"), col("b")))
    found = [f for f in programs.may_use(more, code) if f.rule.id == "stored-insert"]
    assert [f.level for f in found] == [Level.COMPLY] * unnamed
    hidden = table_changes(table(col("a")), table(col("a"), col("b", EXTRA="INVISIBLE")))
    assert programs.may_use(hidden, code) == []


def test_what_mysql_shows_of_a_check() -> None:
    """Its quotes are escaped, and each session's character set stands before a literal."""
    def read(clause: str) -> TableDef:
        text = "CREATE TABLE t (CHECK (" + clause.replace("\\", "") + "))"
        rows = SchemaRows([{"TABLE_NAME": "t", "TABLE_TYPE": "BASE TABLE"}], [], texts={"t": text},
                          checks=[{"TABLE_NAME": "t", "CONSTRAINT_NAME": "c",
                                   "CHECK_CLAUSE": clause}])
        return tables(rows, mariadb=False)["t"]

    old, same, new = (read(c) for c in (
        r"(`a` <> _utf8mb3\'x\')", r"(`a` <> _utf8mb4\'x\')", r"(`a` <> _utf8mb4\'y\')"))
    assert old.checks == (("c", "(`a` <> _utf8mb3'x')"),)
    assert table_changes(old, same) == []
    replaced = {Kind.CHECK_ADDED, Kind.CHECK_DROPPED}
    assert {c.kind for c in table_changes(old, new)} == replaced
    # What only looks like a character set, at the end of a literal, is its own.
    one, other = (read(rf"(`a` <> _utf8mb4\'x _{c}\')") for c in "bc")
    assert {c.kind for c in table_changes(one, other)} == replaced


def test_a_point_that_gets_a_reference_system_beside_another_clause() -> None:
    key = Key("k", False, "BTREE", (("b", 0, False),))
    old = table(col("a", "point"), col("b"))
    new = table(col("a", "point", SRS_ID=4326), col("b"), keys=(key,))
    assert level(old, new, links(mariadb=False)) is Level.REFUSED


def test_code_that_is_not_shown() -> None:
    """Of another database too; it is named where a column goes, and nowhere else."""
    changes = table_changes(table(col("a"), col("b")), table(col("a")))
    code = [StoredProgram("view", "v", "", "", "far"), StoredProgram("event", "e", "", "x")]
    said = programs.hidden(changes, code)
    assert [n.says for n in said] == [
        "not judged, for this account is not shown its text: view far.v"]
    assert programs.hidden([], code) == []
