"""Columns that come, go, move or are renamed."""

from __future__ import annotations

from slackwater.facts.alter_column import GEOMETRIES, Column
from slackwater.facts.alter_diff import Change
from slackwater.facts.alter_link import Link, PairSettings
from slackwater.facts.alter_table import TableDef
from slackwater.rules.alter.values import names_column, per_server
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
    "hidden columns behind all others, and MariaDB's long unique key (of a TEXT) has one: none "
    "that is added is the last.",
    "add the column as the last one; to drop one in the middle, stop using it, then drop it with "
    "a plain ALTER on the active (ALGORITHM=INSTANT where the server can), through the binary log",
)
PER_SERVER = Rule(
    "per-server-value", "The new column's values are made by each server for itself",
    "The statement runs once on each server: a time of day, UUID, random number or counter that "
    "fills existing rows, or rows that came without the column, differs. So does what is generated "
    "from a TIMESTAMP and stored: it is of the session's time zone.",
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

NOT_FILLED = Rule(
    "default-not-filled", "A TEXT, BLOB or JSON column is added with a default",
    "MariaDB keeps such a default as an expression, which its replica (10.11) does not compute for "
    "rows that come without the column: they get '' there, and no error.",
    "add it as NULL without a default (or NOT NULL DEFAULT ''); after `alter finish` set the "
    "default in a second change, and fill old rows with an UPDATE on the active, in chunks",
)
OVERLONG = Rule(
    "char-over-255-bytes", "A CHAR of more than 255 bytes is only on the source",
    "MariaDB's replica takes the length of such a column, which it does not have, for one byte "
    "where it is two: what follows in the event (the next row, or the row as it was changed) is "
    "read at the wrong place.",
    "use a VARCHAR",
)
VIRTUAL_KEYLESS = Rule(
    "virtual-without-key", "A virtual column is added to a table without a key",
    "MariaDB's replica (10.11) looks for a row by all of its columns where it has no key that is "
    "never NULL, the virtual one too, which the row event does not have: it stops (1032).",
    "first add a primary key; or make the column STORED",
)

RULES = (ADD_LAST, ADD_REQUIRED, NOT_LAST, PER_SERVER, DROP_LAST, RENAME, NOT_FILLED, OVERLONG,
         VIRTUAL_KEYLESS)


def added(change: Change, links: PairSettings) -> list[Finding]:
    """A new column."""
    new: Column = change.new
    what = f"ADD COLUMN {new.name} {new.full_type}"
    gate = [f"must not write {change.table}.{new.name}"] if not new.generated else []
    gate.append(f"must name the columns in every INSERT into {change.table}")
    found = [finding(ADD_LAST, change, what, lambda _: SAFE, links, gates=gate)]
    if not change.aligned:
        found = [finding(NOT_LAST, change, what, _shifted, links, gates=gate)]
    if _differs(new, change.after):
        why = "existing rows, and rows that come without it, get another value on each server"
        found.append(finding(PER_SERVER, change, what, lambda _: refused(why), links))
    elif new.default_is_expression and not new.generated:
        found.append(finding(PER_SERVER, change, what, lambda link: _computed(new, link), links))
    elif not new.has_default and new.type.family != "enum":  # which has its first member
        found.append(finding(ADD_REQUIRED, change, what, _required, links))
    elif _as_blob(new) and new.default not in (None, "''"):
        found.append(finding(NOT_FILLED, change, what, _not_filled, links))
    if new.default is not None or not new.nullable:
        found += _overlong(change, what, new, links, forward=False)
    if new.generated == "virtual" and change.before is not None and not change.before.keyed:
        found.append(finding(VIRTUAL_KEYLESS, change, what, _not_found, links))
    return found


def _not_filled(link: Link) -> Side:
    if link.forward and _leaves_out(link):
        return refused("the replica puts '' in rows that come without the column, the other server "
                       "its default")
    return SAFE


def _leaves_out(link: Link) -> bool:
    return link.rows and link.mariadb and not link.replica.traits.fills_added


def _not_found(link: Link) -> Side:
    if link.forward and _leaves_out(link):
        return refused("the replica does not find the rows that are changed or deleted (1032)")
    return SAFE


def _overlong(
    change: Change, what: str, column: Column, links: PairSettings, *, forward: bool
) -> list[Finding]:
    """A column that only the source has, in the direction `forward`, and that MariaDB's replica
    cannot step over."""
    if column.type.name != "char" or column.type.octets <= _LENGTH_IN_ONE_BYTE:
        return []

    def judge(link: Link) -> Side:
        if link.forward is forward and link.rows and link.mariadb:
            return refused("the replica, which does not have it, reads what follows at the wrong "
                           "place")
        return SAFE

    return [finding(OVERLONG, change, what, judge, links)]


_LENGTH_IN_ONE_BYTE = 255


def _differs(new: Column, table: TableDef | None) -> bool:
    if new.generated:
        return bool(per_server(new.expression)) or (
            new.generated == "stored" and table is not None and any(
                c.type.name == "timestamp" and names_column(new.expression, c.name)
                for c in table.columns))
    made = new.default_is_expression and per_server(new.default or "")
    return bool(new.auto_increment or new.on_update or made)


def _computed(new: Column, link: Link) -> Side:
    """A default that is an expression. Of other columns: rows get it from what these are when the
    row, or the column, is made. And for rows that come without the column MariaDB's replica leaves
    it out where it is of a TEXT or the like; with partial images it was not seen."""
    if "`" in (new.default or ""):
        return refused("it depends on when it is computed: at the INSERT, or at the ALTER")
    if link.partial and link.mariadb:
        return refused("it is not known whether the replica computes it for rows that come without "
                       "the column")
    return _not_filled(link) if _as_blob(new) else SAFE


def _as_blob(column: Column) -> bool:
    return bool(column.type.length_bytes) or column.type.name in GEOMETRIES


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
    return [*found, *_overlong(change, what, old, links, forward=True)]


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
