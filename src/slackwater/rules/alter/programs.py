"""Stored code that names a column or table which is dropped or renamed: found by its words, to be
looked at by a person."""

from __future__ import annotations

from collections.abc import Sequence

from slackwater.facts.alter_diff import Change, Kind
from slackwater.facts.alter_program import StoredProgram
from slackwater.rules.alter.verdict import Finding, Rule, comply

STORED_CODE = Rule(
    "stored-code", "A view, trigger, routine or event may use a column or table that goes",
    "Its text has the words; what it does with them cannot be judged from that. If it uses them, "
    "its statements fail on the new schema (1054, 1146, a view 1356), and with a trigger every "
    "statement that fires it, also those of an application that knows nothing of it.",
    "look at it; if it uses them, change it first (DROP TRIGGER and CREATE TRIGGER may stand "
    "in the same file)",
)
RULES = (STORED_CODE,)
_GOES = (Kind.COLUMN_DROPPED, Kind.COLUMN_RENAMED, Kind.TABLE_DROPPED)


def goes(changes: Sequence[Change]) -> bool:
    """Whether any column or table goes, so that stored code is worth reading."""
    return any(c.kind in _GOES for c in changes)


def may_use(changes: Sequence[Change], code: Sequence[StoredProgram]) -> list[Finding]:
    """A finding for each column or table that goes and each piece of code that has its name."""
    found = []
    for change in changes:
        if change.kind not in _GOES:
            continue
        for each in code:
            if change.kind is Kind.TABLE_DROPPED:
                # Its own triggers go with it.
                uses = change.table.lower() in each.words and each.table != change.table
            else:
                uses = each.may_use(change.table, change.old.name)
            if uses:
                side = comply(f"{each.kind} {each.name} must do without {change.old.name}: look")
                found.append(Finding(
                    STORED_CODE, change.table, f"{each.kind.upper()} {each.name}", side, side,
                    checks=(f"SHOW CREATE {each.kind.upper()} {each.name}",)))
    return found
