"""Whether a change erases values that its definitions do not show: `DROP c, ADD c` leaves the same
definition, and nothing in the column.

Two marked rows are put into a copy of the table; the marks must be there after the statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slackwater.facts.alter_column import Column
from slackwater.facts.alter_diff import Change, Kind
from slackwater.facts.alter_script import Statement
from slackwater.facts.alter_table import TableDef
from slackwater.rules.alter.verdict import Rule

ERASES = Rule(
    "values-erased", "A column or table is removed, and made again under its name",
    "The definition may be the same afterwards, but what was in it is gone: on one server now, on "
    "the other one when the change is finished, each with what is written in between. CREATE OR "
    "REPLACE TABLE, DROP and ADD of one column, and columns that trade their names do it.",
    "MODIFY the column, or ALTER the table; where it is meant to be empty: make two changes, the "
    "second after `alter finish` of the first",
)
RULES = (ERASES,)
ROWS = 2
_NOT_A_COLUMN = frozenset({
    "CHECK", "CONSTRAINT", "INDEX", "KEY", "FOREIGN", "PRIMARY", "UNIQUE", "FULLTEXT", "SPATIAL",
    "PARTITION", "DEFAULT",
})
_ADDRESSES = {"uuid": "'00000000-0000-0000-0000-{:012d}'", "inet4": "'10.0.0.{}'",
              "inet6": "'2001:db8::{}'"}


def may_erase(statement: Statement) -> bool:
    """Whether its words are such as could take a column's or table's values away and leave its
    name: only these are to be proven harmless."""
    if statement.begins("CREATE", "OR", "REPLACE", "TABLE"):
        return True
    if not statement.begins("ALTER"):
        return False
    return statement.has("CHANGE") or _of_a_column(statement, "RENAME") or (
        _of_a_column(statement, "DROP") and _of_a_column(statement, "ADD"))


def _of_a_column(statement: Statement, verb: str) -> bool:
    words = statement.words
    return any(word == verb and words[at + 1 : at + 2] and words[at + 1] not in _NOT_A_COLUMN
               for at, word in enumerate(words))


def marks(before: TableDef, after: TableDef) -> dict[str, tuple[str, ...]]:
    """Column: the SQL of its value in each of the marked rows. Every row has another one, and so
    have columns beside each other. Without columns that have no two values that fit both types."""
    found = {}
    for place, column in enumerate(before.columns):
        if column.generated:
            continue
        other = after.column(column.name)
        values = tuple(_value(column, other or column, 1 + (ROWS * place + row) % 120)
                       for row in range(ROWS))
        if len(set(values)) == ROWS and "" not in values:
            found[column.name] = values
    return found


def _value(column: Column, other: Column, number: int) -> str:
    """SQL; "" for a type that nothing is known of."""
    kind, new = column.type, other.type
    if kind.family in ("integer", "float"):
        return str(number)
    if kind.family == "decimal":
        digits = min(t.size - t.scale for t in (kind, new) if t.family == "decimal")
        return _digits(number, digits)
    if kind.family == "bit":
        bits = min(t.size for t in (kind, new) if t.family == "bit")
        return str(number % 2 ** min(max(bits, 1), 6))
    if kind.family in ("string", "bytes"):
        sizes = [t.size for t in (kind, new) if t.family in ("string", "bytes")
                 and not t.length_bytes]
        return _quoted(_digits(number, min(sizes, default=3)))
    if kind.family in ("enum", "set"):
        both = [m for m in kind.members if new.family != kind.family or m in new.members]
        return f"'{both[number % len(both)]}'" if both else ""
    return _moment(kind.name, number) or _quoted(str(number) if kind.name == "json" else "") or (
        _ADDRESSES.get(kind.name, "").format(number))


def _digits(number: int, most: int) -> str:
    if most < 1:
        return ""
    return str(number) if most >= 3 else str(number % 10)


def _quoted(text: str) -> str:
    return f"'{text}'" if text else ""


def _moment(name: str, number: int) -> str:
    if name in ("date", "datetime", "timestamp"):
        return f"'2001-{1 + number // 28:02d}-{1 + number % 28:02d}'"
    if name == "time":
        return f"'00:{number // 60:02d}:{number % 60:02d}'"
    return str(2000 + number) if name == "year" else ""


def erased(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What is not there any more of the marked rows, in words; columns that only one of them has
    are none of its business."""
    if len(before) != len(after):
        return [f"{len(before) - len(after)} of {len(before)} rows"]
    if not before:
        return []
    left = {name.lower(): name for name in after[0]}
    return [f"the values of {name}" for name in before[0] if name.lower() in left and not _same(
        [row[name] for row in before], [row[left[name.lower()]] for row in after])]


def _same(before: list[Any], after: list[Any]) -> bool:
    """In whatever order the rows are, and whatever type they have now."""
    rest = [_text(v) for v in after]
    for value in map(_text, before):
        found = next((r for r in rest if _alike(value, r)), None)
        if found is None:
            return False
        rest.remove(found)
    return True


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.rstrip(b"\0").decode("latin1")
    return "NULL" if value is None else str(value).rstrip()


def _alike(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        dates = "-" in one and "-" in other  # of which one may have a time of day
        return one == other or (dates and (one.startswith(other) or other.startswith(one)))


def again(changes: Sequence[Sequence[Change]]) -> list[tuple[int, str, str]]:
    """Of the changes of each statement of a file: what one makes that an earlier one removed, as
    (number of the statement, table, words)."""
    gone, found = set[tuple[str, str]](), list[tuple[int, str, str]]()
    for at, several in enumerate(changes):
        for change in several:
            table = change.table.lower()
            if change.kind in (Kind.COLUMN_ADDED, Kind.COLUMN_RENAMED) and (
                    table, change.new.name.lower()) in gone:
                found.append((at, change.table, f"the values of {change.new.name}"))
            if change.kind is Kind.TABLE_CREATED and (table, "") in gone:
                found.append((at, change.table, "all rows"))
        for change in several:
            if change.kind in (Kind.COLUMN_DROPPED, Kind.COLUMN_RENAMED):
                gone.add((change.table.lower(), change.old.name.lower()))
            if change.kind is Kind.TABLE_DROPPED:
                gone.add((change.table.lower(), ""))
    return found
