"""What differs between two definitions of the same tables, as a list of changes."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from slackwater.facts.alter_column import Column
from slackwater.facts.alter_table import TableDef


class Kind(enum.StrEnum):
    """What was done to what."""

    COLUMN_ADDED = "column added"
    COLUMN_DROPPED = "column dropped"
    COLUMN_RENAMED = "column renamed"  # or dropped, and another put in its place
    COLUMN_MOVED = "column moved"
    COLUMN_CHANGED = "column changed"
    KEY_ADDED = "key added"
    KEY_DROPPED = "key dropped"
    KEY_RENAMED = "key renamed"
    FOREIGN_KEY_ADDED = "foreign key added"
    FOREIGN_KEY_DROPPED = "foreign key dropped"
    CHECK_ADDED = "check added"
    CHECK_DROPPED = "check dropped"
    TRIGGER_ADDED = "trigger added"
    TRIGGER_DROPPED = "trigger dropped"
    PARTITIONS = "partitions changed"
    ENGINE = "engine changed"
    VERSIONING = "system versioning changed"
    OPTION = "table option changed"  # default charset, comment, row format
    TABLE_CREATED = "table created"
    TABLE_DROPPED = "table dropped"
    NOTHING = "nothing changed"  # a rebuild, or what cannot be seen on an empty table
    UNKNOWN = "unknown"  # the definition differs in a way that is not understood


@dataclass(frozen=True)
class Change:
    """One change. `old` and `new`: the Column, Key, … before and after; None where there is none.

    `aligned`: every column that both have is at the same place in both, so that row events, which
    know columns by place only, find the right one.
    """

    kind: Kind
    table: str
    old: Any = None
    new: Any = None
    before: TableDef | None = None
    after: TableDef | None = None
    aligned: bool = True

    @property
    def name(self) -> str:
        """Of the column, key, constraint or trigger; "" for the table itself."""
        item = self.new if self.new is not None else self.old
        if isinstance(item, tuple):
            return str(item[0]) if item else ""
        return str(getattr(item, "name", ""))


def differences(before: Mapping[str, TableDef], after: Mapping[str, TableDef]) -> list[Change]:
    """All changes from one set of tables to another, table by table."""
    found: list[Change] = []
    for name, new in after.items():
        old = before.get(name)
        if old is None:
            found.append(Change(Kind.TABLE_CREATED, name, None, new, None, new))
        elif old != new:
            found += table_changes(old, new)
    found += [Change(Kind.TABLE_DROPPED, name, old, None, old, None)
              for name, old in before.items() if name not in after]
    return found


# Literals are found too, so that what looks like a character set within one stays.
_INTRODUCER = re.compile(r"(?P<literal>'(?:[^'\\]|\\.|'')*')|\b_[a-z]\w*(?=')", re.DOTALL)


def table_changes(old: TableDef, new: TableDef) -> list[Change]:
    """What an ALTER of one table has done; UNKNOWN when its text differs and nothing is found."""
    parts = [
        *_columns(old, new), *_keys(old, new),
        *_listed(old.foreign_keys, new.foreign_keys, lambda f: f.definition,
                 Kind.FOREIGN_KEY_ADDED, Kind.FOREIGN_KEY_DROPPED),
        *_listed(_checks_apart(old, new, gone=True), _checks_apart(new, old, gone=False),
                 lambda c: (c[0], _plain(c[1])),
                 Kind.CHECK_ADDED, Kind.CHECK_DROPPED),
        *_listed(old.triggers, new.triggers, lambda t: t,
                 Kind.TRIGGER_ADDED, Kind.TRIGGER_DROPPED),
        *_table(old, new),
    ]
    if not parts and _plain(old.text) != _plain(new.text):
        parts = [(Kind.UNKNOWN, old.text, new.text)]
    more = len(new.columns) - len(old.columns)
    shorter = old if more > 0 else new
    aligned = is_aligned(old.columns, new.columns) and not (
        more and (new.hides_last or shorter.hides_hash))
    return [Change(kind, new.name, a, b, old, new, aligned) for kind, a, b in parts]


def _plain(text: str) -> str:
    """Without the character set in front of literals: MySQL writes that of the session in which
    the statement was, another one each time that it makes a table anew."""
    return _INTRODUCER.sub(lambda found: found["literal"] or "", text)


Part = tuple[Kind, Any, Any]
Item = TypeVar("Item")


def is_aligned(old: Sequence[Column], new: Sequence[Column]) -> bool:
    """Whether the shorter list of columns is how the longer one begins (names may differ where
    one was renamed in its place)."""
    names_old, names_new = {c.name.lower() for c in old}, {c.name.lower() for c in new}
    for a, b in zip(old, new, strict=False):
        one, other = a.name.lower(), b.name.lower()
        if one != other and (one in names_new or other in names_old):
            return False
    return True


def _renamed(old: Sequence[Column], new: Sequence[Column]) -> list[tuple[Column, Column]]:
    names_old, names_new = {c.name.lower() for c in old}, {c.name.lower() for c in new}
    if len(old) == len(new) or is_aligned(old, new):
        return [(a, b) for a, b in zip(old, new, strict=False)
                if a.name.lower() not in names_new and b.name.lower() not in names_old]
    return []


def _columns(old: TableDef, new: TableDef) -> Iterator[Part]:
    renamed = _renamed(old.columns, new.columns)
    gone = {a.name for a, _ in renamed}
    come = {b.name for _, b in renamed}
    for a, b in renamed:
        yield Kind.COLUMN_RENAMED, a, b
    kept = [(c, same) for c in old.columns if (same := new.column(c.name)) is not None]
    for a in old.columns:
        if new.column(a.name) is None and a.name not in gone:
            yield Kind.COLUMN_DROPPED, a, None
    for b in new.columns:
        if old.column(b.name) is None and b.name not in come:
            yield Kind.COLUMN_ADDED, None, b
    order = [a.name for a, _ in kept]
    order_new = [b.name for _, b in sorted(kept, key=lambda p: p[1].position)]
    moved = _out_of_order([n.lower() for n in order], [n.lower() for n in order_new])
    for a, b in kept:
        if a.name.lower() in moved:
            yield Kind.COLUMN_MOVED, a, b
        if _unplaced(a) != _unplaced(b):
            yield Kind.COLUMN_CHANGED, a, b


def _out_of_order(old: list[str], new: list[str]) -> set[str]:
    """The fewest names that were moved: those outside a longest run that kept its order."""
    place = {name: number for number, name in enumerate(new)}
    best: list[tuple[int, list[str]]] = []  # for each name, the longest run that ends with it
    for at, name in enumerate(old):
        runs = [best[i] for i in range(at) if place[old[i]] < place[name]]
        length, run = max(runs, default=(0, []))
        best.append((length + 1, [*run, name]))
    return set(old) - set(max(best, default=(0, []))[1])


def _unplaced(column: Column) -> Column:
    return dataclasses.replace(column, position=0, name=column.name.lower())


def _checks_apart(table: TableDef, other: TableDef, *, gone: bool) -> tuple[tuple[str, str], ...]:
    """Without those of a column (MariaDB gives them its name) that the other table does not have:
    they go with it; of those that come with it, only one that asks for JSON asks nothing of rows
    that know nothing of the column."""
    return tuple(c for c in table.checks
                 if c[0] not in table.own_checks or other.column(c[0]) is not None
                 or not (gone or _is_of_json(c)))


def _is_of_json(check: tuple[str, str]) -> bool:
    return check[1].lower() == f"json_valid(`{check[0].lower()}`)"


def _keys(old: TableDef, new: TableDef) -> Iterator[Part]:
    before = {k.name: k for k in old.keys}
    after = {k.name: k for k in new.keys}
    dropped = [k for n, k in before.items()
               if n not in after or after[n].definition != k.definition]
    added = [k for n, k in after.items()
             if n not in before or before[n].definition != k.definition]
    for name, key in after.items():
        was = before.get(name)
        if was and was.definition == key.definition and was.hidden != key.hidden:
            yield Kind.KEY_RENAMED, was, key
    for key in list(added):
        same = next((d for d in dropped if d.definition == key.definition
                     and d.primary == key.primary), None)
        if same is not None:
            dropped.remove(same)
            added.remove(key)
            yield Kind.KEY_RENAMED, same, key
    for key in dropped:
        yield Kind.KEY_DROPPED, key, None
    for key in added:
        yield Kind.KEY_ADDED, None, key


def _listed(
    old: Sequence[Item], new: Sequence[Item], definition: Callable[[Item], object],
    added: Kind, dropped: Kind,
) -> Iterator[Part]:
    before, after = {definition(o) for o in old}, {definition(n) for n in new}
    for item in old:
        if definition(item) not in after:
            yield dropped, item, None
    for item in new:
        if definition(item) not in before:
            yield added, None, item


def _table(old: TableDef, new: TableDef) -> Iterator[Part]:
    if old.partitions != new.partitions:
        yield Kind.PARTITIONS, old.partitions, new.partitions
    if old.engine.lower() != new.engine.lower():
        yield Kind.ENGINE, old.engine, new.engine
    if old.versioned != new.versioned:
        yield Kind.VERSIONING, old.versioned, new.versioned
    same_options = old.options.replace("partitioned", "") == new.options.replace("partitioned", "")
    if (old.collation, old.comment) != (new.collation, new.comment) or not same_options:
        yield Kind.OPTION, old.options, new.options
