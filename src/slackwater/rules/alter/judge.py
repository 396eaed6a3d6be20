"""From changes to findings: which rule looks at which kind of change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from slackwater.facts.alter_diff import Change, Kind, table_changes
from slackwater.facts.alter_link import PairSettings
from slackwater.rules.alter import (
    attributes,
    columns,
    constraints,
    erasure,
    keys,
    programs,
    statements,
    tables,
    together,
)
from slackwater.rules.alter.verdict import (
    UNSIGNED,
    Finding,
    Level,
    Rule,
    Side,
)

RULES: tuple[Rule, ...] = (
    *columns.RULES, *attributes.RULES, *keys.RULES, *constraints.RULES, *tables.RULES,
    *programs.RULES, *statements.RULES, *erasure.RULES,
    *together.RULES,
)
_LOOKS: dict[Kind, Callable[[Change, PairSettings], list[Finding]]] = {
    Kind.COLUMN_ADDED: columns.added,
    Kind.COLUMN_DROPPED: columns.dropped,
    Kind.COLUMN_RENAMED: columns.renamed,
    Kind.COLUMN_MOVED: columns.moved,
    Kind.COLUMN_CHANGED: attributes.changed,
    Kind.KEY_ADDED: keys.added,
    Kind.KEY_DROPPED: keys.dropped,
    Kind.KEY_RENAMED: keys.renamed,
    Kind.FOREIGN_KEY_ADDED: constraints.foreign_key_added,
    Kind.FOREIGN_KEY_DROPPED: constraints.foreign_key_dropped,
    Kind.CHECK_ADDED: constraints.check_added,
    Kind.CHECK_DROPPED: constraints.check_dropped,
    Kind.TRIGGER_ADDED: tables.trigger,
    Kind.TRIGGER_DROPPED: tables.trigger,
    Kind.PARTITIONS: tables.partitions,
    Kind.ENGINE: tables.engine,
    Kind.VERSIONING: tables.versioning,
    Kind.OPTION: tables.option,
    Kind.TABLE_CREATED: tables.created,
    Kind.TABLE_DROPPED: tables.dropped,
    Kind.NOTHING: tables.nothing,
    Kind.UNKNOWN: tables.unknown,
}


def judge(changes: Iterable[Change], links: PairSettings) -> list[Finding]:
    """The findings of all changes, in their order."""
    return [f for change in changes for f in _LOOKS[change.kind](change, links)]


def whole(changes: Sequence[Sequence[Change]], links: PairSettings) -> list[tuple[int, Finding]]:
    """What several statements make of one table, where that is refused and none of them is: rows
    go from the table as it was before the file to what it is behind it. A column in the place of
    one that an earlier statement dropped gets its values. (Number of the last statement, finding.)
    """
    found = []
    for table in dict.fromkeys(c.table for several in changes for c in several):
        steps = [(at, own) for at, several in enumerate(changes)
                 if (own := [c for c in several if c.table == table and c.before and c.after])]
        if len(steps) < 2 or any(f.level is Level.REFUSED for _, own in steps
                                 for f in judge(own, links)):
            continue
        (_, first), (at, last) = steps[0], steps[-1]
        if first[0].before and last[0].after:
            total = judge(table_changes(first[0].before, last[0].after), links)
            found += [(at, f) for f in total if f.level is Level.REFUSED]
    return found


def modes(findings: Iterable[Finding], *, forward: bool) -> frozenset[str]:
    """What the conversion setting of one direction's replica must have for all of them."""
    sides = (f.forward if forward else f.back for f in findings)
    return frozenset(m for side in sides for m in side.modes)


def conflicts(findings: list[Finding], links: PairSettings) -> list[Finding]:
    """MySQL has one setting for all integers: ALL_UNSIGNED takes every sign away, so a signed
    column whose rows are converted too must wait for a change of its own."""
    found = []
    for forward in (True, False):
        sides = [(f, f.forward if forward else f.back) for f in findings]
        link = links.forward if forward else links.back
        asked = any(UNSIGNED in side.modes for _, side in sides)
        unsigned = asked or UNSIGNED in link.replica.conversions
        for item, side in sides:
            if unsigned and side.signed:
                who = "which another clause needs" if asked else "which is set already"
                why = Side(Level.REFUSED, f"ALL_UNSIGNED, {who}, would make its negative values "
                                          "large ones")
                found.append(Finding(statements.TOGETHER, item.table, item.what,
                                     why if forward else item.forward,
                                     item.back if forward else why))
    return found

