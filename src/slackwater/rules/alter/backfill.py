"""What is said of a data statement that can be run in chunks: of its table, its key, its values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from slackwater.facts.alter_data import DataStatement, Shape
from slackwater.facts.alter_diff import Change, Kind
from slackwater.facts.alter_script import Statement
from slackwater.facts.tables import Table
from slackwater.rules.alter import statements
from slackwater.rules.alter.values import of_the_moment
from slackwater.rules.alter.verdict import SAFE, Finding, comply


def unfit(data: DataStatement, tables: Mapping[str, Table]) -> str:
    """Why its table cannot be gone through in chunks; "" when it can. `tables`: by name, in lower
    case."""
    table = tables.get(data.table.lower())
    if table is None:
        return f"there is no table {data.table}"
    if not table.lockable:
        return (f"{table.name} is of {table.engine}: a chunk that is cut off would be kept in part")
    if data.shape is Shape.ROWS:
        return ""
    walked = tables.get(data.walked.lower())
    if walked is None:
        return f"there is no table {data.walked}"
    if not walked.key:
        return f"{walked.name} has no primary key, and no unique one that is never NULL"
    if clocks := [c for c in walked.key if walked.column(c).type == "timestamp"]:
        return (f"{walked.name} is gone through by {', '.join(clocks)}, a TIMESTAMP: two moments "
                "have one name when clocks are set back")
    keys = {c.lower() for c in walked.key}
    moved = [c for c in data.assigned if data.shape is Shape.UPDATE and c.lower() in keys]
    if moved:
        return f"it sets {', '.join(moved)}, by which the rows are gone through"
    return ""


def judged(
    statement: Statement, data: DataStatement, tables: Mapping[str, Table],
    earlier: Iterable[Change],
) -> list[Finding]:
    """The findings of one that can be run. `earlier`: what the DDL of the same file changes."""
    walked = tables.get(data.walked.lower())
    shown = statements.head(statement)
    what = f"{shown}: on the active, in `alter finish`"
    if walked is not None:
        what += f", in chunks by {walked.name}.{walked.key_name}"
    if of_the_moment(statement.text):
        what += "; the time is that of its first chunk in all of them"
    gates = []
    if data.shape is not Shape.ROWS:
        gates.append(f"must not count on it for rows of {data.walked} that it writes while `alter "
                     "finish` runs: those of chunks gone through stay as they are written (the "
                     "data statement can be run again by itself)")
    found = [Finding(statements.DATA, data.table, what, SAFE, SAFE, tuple(gates))]
    if old := _overwritten(data, list(earlier)):
        side = comply(old)
        found.append(Finding(statements.DATA_FOR_GOOD, data.table, shown, side, side))
    return found


def _overwritten(data: DataStatement, earlier: list[Change]) -> str:
    """What it changes that the file itself has not made; "" for nothing."""
    own = [c for c in earlier if c.table.lower() == data.table.lower()]
    if any(c.kind is Kind.TABLE_CREATED for c in own):
        return ""
    if data.shape is Shape.DELETE:
        return f"rows of {data.table} are removed, and nothing brings them back"
    if data.shape is not Shape.UPDATE:
        return f"rows are added to {data.table}, and nothing takes them away again"
    new = {c.name.lower() for c in own if c.kind is Kind.COLUMN_ADDED}
    old = [c for c in data.assigned if c.lower() not in new]
    return (f"{data.table}.{', '.join(old)} is overwritten, and nothing brings the old values back"
            if old else "")
