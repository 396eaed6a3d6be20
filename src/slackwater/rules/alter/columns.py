"""Columns that come, go, move or are renamed."""

from __future__ import annotations

from slackwater.facts.alter_column import Column
from slackwater.facts.alter_diff import Change
from slackwater.facts.alter_link import Link, PairSettings
from slackwater.rules.alter.values import per_server
from slackwater.rules.alter.verdict import (
    SAFE,
    Finding,
    Rule,
    Side,
    comply,
    finding,
    refused,
)

ADD_LAST = Rule(
    "add-column-last", "A column is added behind all others",
    "Row events know columns by their place, so one behind the others disturbs nobody. A value "
    "written to it on the new schema is dropped on the old one in silence (rows) or stops "
    "replication (statements).",
)
ADD_REQUIRED = Rule(
    "add-required-column", "A column is added that every INSERT must name",
    "After the switchover the old application's INSERT fails (1364); before it, replication "
    "fills in an implicit 0 or '' (rows) or stops (statements).",
    "add it with a constant DEFAULT or as NULL; after `alter finish` and a new version of the "
    "application that names it, drop the default in a second change",
)
NOT_LAST = Rule(
    "column-not-last", "A column is added, dropped or moved in the middle",
    "Row events know columns by their place: behind the change every value goes to the wrong "
    "column. Where the types are alike there is no error at all. A system-versioned table has two "
    "hidden columns behind all others: none that is added is the last.",
    "add the column as the last one; to drop one in the middle, stop using it, then drop it with "
    "a plain ALTER on the active (ALGORITHM=INSTANT where the server can), through the binary log",
)
PER_SERVER = Rule(
    "per-server-value", "The new column's values are made by each server for itself",
    "The statement runs once on each server: a time of day, UUID, random number or counter that "
    "fills existing rows, or rows that came without the column, differs.",
    "add the column as NULL with a constant default or none; after `alter finish` set the default "
    "in a second change, and fill old rows with an UPDATE on the active, in chunks",
)
DROP_LAST = Rule(
    "drop-column", "The last column is dropped",
    "Replication goes on (rows) or stops when a statement names it. The old application must not "
    "use it any more, for after the switchover it is not there (1054). It is the change that "
    "loses data: rows written on the new schema have none of it after a way back.",
    "first release the application that does not use it; keep the column for a while with a "
    "default (or make it INVISIBLE), then drop it",
)
RENAME = Rule(
    "rename-column", "A column is renamed, or replaced by another",
    "Rows replicate, but at the switchover every statement of the old application that names it "
    "fails (1054), and the new application's before it. A column that was dropped and replaced "
    "gets the other's values.",
    "add the new column last, let the application write both, fill it in chunks, let it read the "
    "new one, then drop the old one: five steps, each compatible",
)

RULES = (ADD_LAST, ADD_REQUIRED, NOT_LAST, PER_SERVER, DROP_LAST, RENAME)


def added(change: Change, links: PairSettings) -> list[Finding]:
    """A new column."""
    new: Column = change.new
    what = f"ADD COLUMN {new.name} {new.full_type}"
    gate = [f"must not write {change.table}.{new.name}"] if not new.generated else []
    gate.append(f"must name the columns in every INSERT into {change.table}")
    found = [finding(ADD_LAST, change, what, lambda _: SAFE, links, gates=gate)]
    if not change.aligned:
        found = [finding(NOT_LAST, change, what, _shifted, links, gates=gate)]
    if _differs(new):
        why = "existing rows, and rows that come without it, get another value on each server"
        found.append(finding(PER_SERVER, change, what, lambda _: refused(why), links))
    elif new.default_is_expression and not new.generated:
        found.append(finding(PER_SERVER, change, what, lambda link: _computed(new, link), links))
    elif not new.has_default and new.type.family != "enum":  # which has its first member
        found.append(finding(ADD_REQUIRED, change, what, _required, links))
    return found


def _differs(new: Column) -> bool:
    if new.generated:
        return bool(per_server(new.expression))
    made = new.default_is_expression and per_server(new.default or "")
    return bool(new.auto_increment or new.on_update or made)


def _computed(new: Column, link: Link) -> Side:
    """A default that is an expression. Of other columns: rows get it from what these are when the
    row, or the column, is made. And for rows that come without the column MariaDB's replica leaves
    some out (seen with JSON_OBJECT)."""
    if "`" in (new.default or ""):
        return refused("it depends on when it is computed: at the INSERT, or at the ALTER")
    if link.rows and link.mariadb:
        return refused("the replica does not compute it for rows that come without the column")
    return SAFE


def _required(link: Link) -> Side:
    if link.forward:
        return refused("a statement that does not name it stops replication (1364)"
                       if link.statements else "filled with an implicit 0 or ''")
    return refused("the old application's INSERT fails (1364)")


def _shifted(link: Link) -> Side:
    if not link.rows:
        return SAFE
    return refused("row events know columns by place: values go to the wrong column")


def dropped(change: Change, links: PairSettings) -> list[Finding]:
    """A column that is gone."""
    old: Column = change.old
    what = f"DROP COLUMN {old.name}"
    found = [finding(
        DROP_LAST, change, what, lambda link: _dropped(old, link), links,
        gates=[f"must not use {change.table}.{old.name}, now and later"],
        checks=[f"no statement names {old.name}: performance_schema.events_statements_summary_by"
                f"_digest, the general log, and `slackwater alter rehearse`"])]
    if not change.aligned:
        found.append(finding(NOT_LAST, change, what, _shifted, links))
    return found


def _dropped(old: Column, link: Link) -> Side:
    if link.statements:
        if link.forward:
            return comply("a statement that names it stops replication (1054)")
        return comply("" if old.has_default else "an INSERT without it stops replication (1364)")
    if not link.forward and not old.has_default:
        return comply("rows come without it and get an implicit 0 or ''")
    return comply("the application does without it")


def moved(change: Change, links: PairSettings) -> list[Finding]:
    """A column in another place."""
    what = f"MOVE COLUMN {change.name}"
    gates = [f"must name the columns in every INSERT into {change.table}"]
    return [finding(NOT_LAST, change, what, _shifted, links, gates=gates)]


def renamed(change: Change, links: PairSettings) -> list[Finding]:
    """A column whose place another name has."""
    what = f"RENAME COLUMN {change.old.name} TO {change.new.name}"
    why = "the application's statements fail (1054) on one of the two schemas"
    return [finding(RENAME, change, what, lambda _: refused(why), links)]
