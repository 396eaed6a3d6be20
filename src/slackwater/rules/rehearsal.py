"""From what a rehearsal saw to what would break, and what could not be told."""

from __future__ import annotations

import enum
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slackwater.facts.rehearsal import Difference, Ran, Seen, Spoken, Way


class Harm(enum.StrEnum):
    """What a problem does, in the words of the report."""

    BREAKS = "breaks"  # the statement gets an error from the new schema
    STOPS = "stops replication"
    DIFFERS = "differs"  # in silence
    CHANGE = "change fails"  # on the other server, after these writes


# A row that is missing, there already, or without its parent: often because of an earlier one.
_FOLLOWS = frozenset({1032, 1062, 1451, 1452, 1022})


@dataclass(frozen=True)
class Problem:
    """One thing that goes wrong because of the change. `numbers`: the statements that cause it."""

    harm: Harm
    way: Way
    numbers: tuple[int, ...]
    why: str
    table: str = ""

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {"harm": self.harm.value, "way": self.way.value, "statements": list(self.numbers),
                "table": self.table, "why": self.why}


@dataclass
class Judgement:
    """All problems, worst first; notes; statements that fail without the change too (`unjudged`:
    number, why), and writes that changed no row, so that they proved nothing."""

    problems: list[Problem]
    notes: list[str]
    unjudged: list[tuple[int, str]]
    idle: list[int]


def judge(
    statements: Sequence[Spoken], unchanged: Seen, forward: Seen, back: Seen,
    kept: Mapping[str, str] | None = None,
) -> Judgement:
    """What the change is to blame for: what also happens without it is only noted. `kept`: tables
    whose rows outlive a REPLACE of their parents (the values) on the source only."""
    before = {r.number: r for r in unchanged.ran}
    reads = {s.number: s.reads for s in statements}
    problems = _errors(before, back)
    for seen in (forward, back):
        problems += _stops(before, seen) + _differences(unchanged, seen)
        if seen.late is not None:
            problems.append(Problem(Harm.CHANGE, seen.way, (), "the other server cannot take the "
                                    f"change after these writes: {seen.late}"))
    rank = list(Harm)
    problems.sort(key=lambda p: (rank.index(p.harm), p.numbers))
    unjudged = [(r.number, str(r.error)) for r in unchanged.ran if r.error]
    idle = [r.number for r in unchanged.ran if not reads[r.number] and not r.error and not r.rows]
    notes = _notes(unchanged, forward, back, reads) + _replaced(statements, unchanged, kept or {})
    return Judgement(problems, notes, unjudged, idle)


def _errors(before: dict[int, Ran], back: Seen) -> list[Problem]:
    return [
        Problem(Harm.BREAKS, back.way, (r.number,), f"on the new schema {r.error}")
        for r in back.ran if r.error and before[r.number].error is None
    ]


def _stops(before: dict[int, Ran], seen: Seen) -> list[Problem]:
    found: dict[str, Problem] = {}
    first = 0
    for ran in seen.ran:
        anyway = before[ran.number].stopped
        if ran.stopped is None or (anyway is not None and anyway.code == ran.stopped.code):
            continue
        why = str(ran.stopped)
        if first and ran.stopped.code in _FOLLOWS:
            why += f" (it may follow from statement {first})"
        first = first or ran.number
        numbers = (*found[why].numbers, ran.number) if why in found else (ran.number,)
        found[why] = Problem(Harm.STOPS, seen.way, numbers, why)
    return list(found.values())


def _differences(unchanged: Seen, seen: Seen) -> list[Problem]:
    """One problem for the same columns of a table; rows that replication did not get to are those
    of a statement that stopped it."""
    stopped = {r.number for r in seen.ran if r.stopped}
    anyway = {(d.table, d.key, *_columns(d)) for d in unchanged.differences}
    # A key may be another one each time: then as many rows as without the change are no news.
    usual = Counter((d.table, _columns(d)) for d in unchanged.differences)
    grouped: dict[tuple[str, tuple[str, ...]], list[Difference]] = {}
    for each in seen.differences:
        if not stopped & set(each.numbers):
            grouped.setdefault((each.table, _columns(each)), []).append(each)
    grouped = {
        kind: new for kind, rows in grouped.items() if len(rows) > usual[kind]
        and (new := [d for d in rows if (d.table, d.key, *_columns(d)) not in anyway])}
    return [
        Problem(Harm.DIFFERS, seen.way, tuple(sorted({n for r in rows for n in r.numbers})),
                _told(rows), table)
        for (table, _), rows in grouped.items()
    ]


def _columns(each: Difference) -> tuple[str, ...]:
    return tuple(each.source or ()) if each.source and each.replica else ("",)


def _told(rows: Sequence[Difference]) -> str:
    one = rows[0]
    if not one.key and not one.source and not one.replica:
        return f"the table is only on the {'source' if one.replica is None else 'replica'}"
    count = len(rows) - 1
    more = f" (and {count} more row{'s' if count > 1 else ''})" if count else ""
    if one.source is None:
        return f"row {one.key} is only on the replica{more}"
    if one.replica is None:
        return f"row {one.key} is only on the source{more}"
    parts = [f"{column} is {_short(value)} on the source and {_short(one.replica[column])} on the "
             "replica" for column, value in one.source.items()]
    return f"row {one.key}: {'; '.join(parts)}{more}"


def _short(value: str) -> str:
    return value if len(value) <= 60 else value[:59] + "…"


def _notes(
    unchanged: Seen, forward: Seen, back: Seen, reads: dict[int, bool]
) -> list[str]:
    """What is otherwise on the new schema, perhaps as it is meant to be. (`forward` read the old
    schema too: what is otherwise even there changes by itself.)"""
    notes: list[str] = []
    for old, again, ran in zip(unchanged.ran, forward.ran, back.ran, strict=True):
        if ran.error or old.error:
            continue
        if not reads[ran.number] and ran.rows != old.rows:
            notes.append(f"statement {ran.number} changes {ran.rows} rows on the new schema, "
                         f"{old.rows} on the old one")
        elif ran.columns != old.columns and ran.columns and old.columns:
            notes.append(f"statement {ran.number} returns {len(ran.columns)} columns on the "
                         f"new schema, {len(old.columns)} on the old one, or others")
        elif old.result == again.result != ran.result:
            notes.append(f"statement {ran.number} returns other values on the new schema "
                         f"({ran.rows} rows, {old.rows} on the old one)")
        elif old.result == ran.result and old.order == again.order != ran.order:
            notes.append(f"statement {ran.number} returns its rows in another order on the new "
                         "schema")
    notes += _left(unchanged, forward, back)
    stops = [r.number for r in unchanged.ran if r.stopped]
    if stops:
        notes.append("without the change too, replication stops at statement "
                     + ", ".join(map(str, stops)))
    if tables := sorted({d.table for d in unchanged.differences}):
        notes.append(f"without the change too, rows of {', '.join(tables)} differ afterwards")
    return notes


def _replaced(
    statements: Sequence[Spoken], unchanged: Seen, kept: Mapping[str, str]
) -> list[str]:
    """Why rows differ without the change: a fault of the server, which the real pair has too."""
    notes = []
    for table in sorted({d.table for d in unchanged.differences} & kept.keys()):
        parent = re.compile(rf"(?i)\s*replace\b.*?(?<![\w$]){re.escape(kept[table])}(?![\w$])",
                            re.DOTALL)
        if numbers := [s.number for s in statements if parent.match(s.text)]:
            notes.append(
                f"the server itself makes {table} differ, on the real pair too: it leaves the "
                f"children of a row of {kept[table]} alone that a REPLACE overwrites (statements "
                f"{', '.join(map(str, numbers))}), and its replica does to them what ON DELETE "
                "says; innodb_native_foreign_keys = ON, or INSERT … ON DUPLICATE KEY UPDATE, "
                "keeps both alike")
    return notes


def _left(unchanged: Seen, forward: Seen, back: Seen) -> list[str]:
    """Rows that the same statements leave otherwise when they run on the new schema: a default that
    changed, or a value cut to what fits. Only in columns that both schemas have, and not where the
    old schema leaves them otherwise each time."""
    grouped: dict[tuple[str, tuple[str, ...]], list[Difference]] = {}
    for table, columns in unchanged.columns.items():
        sides = [seen.left.get(table) for seen in (unchanged, forward, back)]
        if sides[0] is None or sides[1] is None or sides[2] is None:
            continue  # a table that goes, or one way had no end
        old, again, new = ({key: {c: v for c, v in row.items() if c in columns}
                            for key, row in side.items()} for side in sides if side is not None)
        for key in sorted(old.keys() | new.keys()):
            one, other = old.get(key), new.get(key)
            if one == other or one != again.get(key):
                continue
            differs = tuple(c for c in one if one[c] != other.get(c)) if one and other else ()
            numbers = tuple(back.wrote.get(table, {}).get(key, ()))
            grouped.setdefault((table, differs), []).append(Difference(
                table, key, one and {c: one[c] for c in differs},
                other and {c: other.get(c, "nothing") for c in differs}, numbers))
    return [_otherwise(table, rows) for (table, _), rows in grouped.items()]


def _otherwise(table: str, rows: Sequence[Difference]) -> str:
    one = rows[0]
    numbers = sorted({n for r in rows for n in r.numbers})[:5]
    who = f" (statements {', '.join(map(str, numbers))})" if numbers else ""
    if one.source is None or one.replica is None:
        side = "new" if one.source is None else "old"
        what = f"row {one.key} is left by the {side} schema only"
    else:
        what = f"row {one.key}: " + "; ".join(
            f"{c} is {_short(one.replica[c])} on the new schema, {_short(v)} on the old one"
            for c, v in one.source.items())
    more = f", and {len(rows) - 1} more" if len(rows) > 1 else ""
    return f"the same writes leave other rows in {table}{who}: {what}{more}"
