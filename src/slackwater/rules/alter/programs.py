"""Stored code that names a column which is dropped or renamed: found by its words, to be looked at
by a person."""

from __future__ import annotations

from collections.abc import Sequence

from slackwater.facts.alter_diff import Change, Kind
from slackwater.facts.alter_program import StoredProgram
from slackwater.rules.alter.verdict import Finding, Rule, comply

STORED_CODE = Rule(
    "stored-code", "A view, trigger, routine or event may use a column that goes",
    "Its text has the words; what it does with them cannot be judged from that. If it uses the "
    "column, its statements fail on the new schema (1054, a view 1356), also those of an "
    "application that knows nothing of it.",
    "look at it; if it uses the column, change it first (DROP TRIGGER and CREATE TRIGGER may stand "
    "in the same file)",
)
RULES = (STORED_CODE,)
_GOES = (Kind.COLUMN_DROPPED, Kind.COLUMN_RENAMED)


def goes(changes: Sequence[Change]) -> bool:
    """Whether any column goes, so that stored code is worth reading."""
    return any(c.kind in _GOES for c in changes)


def may_use(changes: Sequence[Change], code: Sequence[StoredProgram]) -> list[Finding]:
    """A finding for each column that goes and each piece of code that has its name."""
    found = []
    for change in changes:
        if change.kind not in _GOES:
            continue
        for each in code:
            if each.may_use(change.table, change.old.name):
                side = comply(f"{each.kind} {each.name} must do without {change.old.name}: look")
                found.append(Finding(
                    STORED_CODE, change.table, f"{each.kind.upper()} {each.name}", side, side,
                    checks=(f"SHOW CREATE {each.kind.upper()} {each.name}",)))
    return found
