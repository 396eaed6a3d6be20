"""What statements of one file do together, each of which is right by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slackwater.facts.alter_column import Column
from slackwater.facts.alter_diff import Change, Kind
from slackwater.facts.alter_program import StoredProgram
from slackwater.rules.alter.verdict import Rule

USES_NEW = Rule(
    "trigger-uses-new", "A trigger uses a column or table that the same file makes",
    "Until the change is finished nobody may write what is new, and from the switchover on the "
    "trigger does it with every statement of the application: a value in the new column is dropped "
    "on the old schema in silence, a row in the new table stops replication (1146).",
    "make two changes: the column or table, and after `alter finish` the trigger",
)
FILLED_TWICE = Rule(
    "new-column-changes-again", "A column that the file adds gets another default behind it",
    "The first statement fills the rows that are there, the second one those that come without the "
    "column until the change is finished. On the other server, which is changed later, these are "
    "there already: they differ in silence.",
    "add it as it is to be, in one statement; or set the default in a second change, after `alter "
    "finish` of the first",
)
RULES = (USES_NEW, FILLED_TWICE)


def together(changes: Sequence[Sequence[Change]]) -> list[tuple[int, Rule, str]]:
    """Of the changes of each statement of a file: (number of the statement, rule, words)."""
    return [*_triggers(changes), *_filled_twice(changes)]


def _triggers(changes: Sequence[Sequence[Change]]) -> Iterator[tuple[int, Rule, str]]:
    every = [c for several in changes for c in several]
    tables = {c.table.lower() for c in every if c.kind is Kind.TABLE_CREATED}
    columns = [c for c in every if c.kind is Kind.COLUMN_ADDED and not c.new.generated]
    for at, several in enumerate(changes):
        for change in several:
            if change.kind is not Kind.TRIGGER_ADDED or change.table.lower() in tables:
                continue
            code = StoredProgram("trigger", change.name, change.table, change.new.body)
            used = [t for t in sorted(tables) if t in code.words]
            used += [f"{c.table}.{c.name}" for c in columns if code.may_use(c.table, c.name)]
            if used:
                yield at, USES_NEW, (f"{change.name} uses {', '.join(used)}, which the other "
                                     "server does not have until `alter finish`")


def _filled_twice(changes: Sequence[Sequence[Change]]) -> Iterator[tuple[int, Rule, str]]:
    new = set[tuple[str, str]]()
    for at, several in enumerate(changes):
        for change in several:
            if (change.kind is Kind.COLUMN_CHANGED and _filling(change.old) != _filling(change.new)
                    and (change.table.lower(), change.name.lower()) in new):
                yield at, FILLED_TWICE, (f"{change.table}.{change.name} is added by an earlier "
                                         "statement: rows get another value on each server")
        new |= {(c.table.lower(), c.name.lower()) for c in several if c.kind is Kind.COLUMN_ADDED}


def _filling(column: Column) -> tuple[object, ...]:
    """What decides which value a row gets that comes without it."""
    return (column.default, column.on_update, column.auto_increment,
            column.nullable and column.default is None)
