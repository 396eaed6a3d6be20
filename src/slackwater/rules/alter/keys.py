"""Indexes: plain ones disturb nobody; unique ones and the primary key decide what rows mean."""

from __future__ import annotations

from slackwater.facts.alter_diff import Change
from slackwater.facts.alter_link import Link, PairSettings
from slackwater.facts.alter_table import Key, TableDef
from slackwater.rules.alter.verdict import (
    SAFE,
    Finding,
    Rule,
    Side,
    comply,
    finding,
    refused,
)

INDEX = Rule(
    "index", "An index that is not unique is added, dropped, renamed or hidden",
    "Replication does not care. A statement may become slow where the index is missing, and fails "
    "where it names it (FORCE INDEX, 1176).",
)
TEXT_INDEX = Rule(
    "drop-fulltext", "A FULLTEXT index is dropped",
    "From the switchover on, MATCH … AGAINST of its columns fails (1191).",
    "first release the application that does not search with it",
)
ADD_UNIQUE = Rule(
    "add-unique", "A unique key is added",
    "A duplicate that the old application writes stops replication (1062); REPLACE, INSERT IGNORE "
    "and ON DUPLICATE KEY UPDATE do something else on each schema.",
    "see that there are no duplicates and that the application writes none, then add it",
)
DROP_UNIQUE = Rule(
    "drop-unique", "A unique key is dropped",
    "A duplicate written on the new schema stops replication to the old one (1062). REPLACE, "
    "INSERT IGNORE and ON DUPLICATE KEY UPDATE that relied on it do something else.",
    "use binlog_row_image=FULL; let no statement rely on the key first",
)
PRIMARY = Rule(
    "primary-key", "The primary key is added, dropped or replaced",
    "With partial row images MariaDB looks for a row by the columns of the source's key, and stops "
    "(1032) when the replica has another one.",
    "use binlog_row_image=FULL for the duration",
)

RULES = (INDEX, TEXT_INDEX, ADD_UNIQUE, DROP_UNIQUE, PRIMARY)


def added(change: Change, links: PairSettings) -> list[Finding]:
    """A new index."""
    key: Key = change.new
    what = f"ADD {_name(key)}"
    if not key.unique:
        return [finding(INDEX, change, what, lambda _: SAFE, links, gates=_orders(change, links))]
    covered = _already_unique(key, change.before) or _of_new_columns(key, change)
    harmless = not key.primary or _has_same(key, change.before)
    columns = ", ".join(_sql(c, n) for c, n, _ in key.parts)
    known = " AND ".join(f"{_sql(c, n)} IS NOT NULL" for c, n, _ in key.parts)
    checks = [] if covered else [
        f"SELECT {columns}, COUNT(*) FROM `{change.table}` WHERE {known} GROUP BY {columns} HAVING "
        "COUNT(*) > 1 must be empty, and the application must keep it so"]

    def judge(link: Link) -> Side:
        side = SAFE if covered else comply(
            "a duplicate stops replication (1062)" if link.forward
            else "a duplicate is refused (1062), and REPLACE and the like act on the new key")
        return side if covered and harmless else side.worse(_partial(link, key))

    return [finding(PRIMARY if key.primary else ADD_UNIQUE, change, what, judge, links,
                    checks=checks)]


def dropped(change: Change, links: PairSettings) -> list[Finding]:
    """An index that is gone."""
    key: Key = change.old
    what = f"DROP {_name(key)}"
    if key.kind == "FULLTEXT" and not _searches(key, change.after):
        return [finding(TEXT_INDEX, change, what,
                        lambda _: comply("MATCH … AGAINST fails without it (1191)"), links,
                        gates=_unnamed(key),
                        checks=[f"no statement has MATCH ({', '.join(key.columns)}): performance_"
                                "schema.events_statements_summary_by_digest, and the general log"])]
    if not key.unique:
        return [finding(INDEX, change, what, lambda _: SAFE, links,
                        gates=[*_unnamed(key), *_orders(change, links)])]
    if _already_unique(key, change.after):
        harmless = not key.primary or _has_same(key, change.after)
        return [finding(PRIMARY if key.primary else DROP_UNIQUE, change, what,
                        lambda link: SAFE if harmless else _partial(link, key), links)]
    gates = [f"must not write duplicates of ({', '.join(key.columns)}) to {change.table}, nor rely"
             " on the key by REPLACE, INSERT IGNORE or ON DUPLICATE KEY UPDATE"]

    def judge(link: Link) -> Side:
        side = SAFE if link.forward and not link.statements else comply(
            "nothing may rely on the key to refuse a duplicate (1062) or to replace its row")
        return side.worse(_partial(link, key))

    return [finding(PRIMARY if key.primary else DROP_UNIQUE, change, what, judge, links,
                    gates=gates)]


def renamed(change: Change, links: PairSettings) -> list[Finding]:
    """Another name, or hidden from the optimizer."""
    what = f"RENAME OR HIDE {_name(change.old)}"
    gates = _unnamed(change.old)
    if change.old.hidden != change.new.hidden:
        gates += _orders(change, links)
    return [finding(INDEX, change, what, lambda _: SAFE, links, gates=gates)]


def _unnamed(key: Key) -> list[str]:
    return [] if key.primary else [f"must not name {key.name} in FORCE, USE or IGNORE INDEX (1176)"]


def _orders(change: Change, links: PairSettings) -> list[str]:
    """Statements that find rows by another index find them in another order."""
    if links.forward.rows and links.back.rows:  # which MIXED sends for such statements
        return []
    return [f"must not UPDATE or DELETE rows of {change.table}, or copy them into a counted table, "
            "by a statement that depends on their order (LIMIT without ORDER BY of a unique key)"]


def _searches(key: Key, table: TableDef | None) -> bool:
    """Whether another FULLTEXT index is of the same columns."""
    return any(k.kind == "FULLTEXT" and not k.hidden and set(k.columns) == set(key.columns)
               for k in (table.keys if table else ()))


def _partial(link: Link, key: Key) -> Side:
    if not link.partial or not link.mariadb:
        return SAFE
    if key.primary:
        return refused("partial row images need the same primary key on both (1032)")
    return refused("with partial row images a REPLACE differs in silence")


def _already_unique(key: Key, table: TableDef | None) -> bool:
    """Whether another unique key of the table keeps duplicates away already."""
    for other in table.keys if table else ():
        if other.unique and other.name != key.name and set(other.parts) <= set(key.parts):
            columns = [table.column(c) for c in other.columns] if table else []
            if all(c is not None and not c.nullable for c in columns):
                return True
    return False


def _has_same(key: Key, table: TableDef | None) -> bool:
    """Whether another unique key of the same columns stands in its place."""
    return any(k.unique and k.name != key.name and set(k.columns) == set(key.columns)
               for k in (table.keys if table else ()))


def _of_new_columns(key: Key, change: Change) -> bool:
    """Whether it is over columns that were not there, and are NULL in every row."""
    old, new = change.before, change.after
    if old is None or new is None:
        return False
    columns = [new.column(c) for c in key.columns if old.column(c) is None]
    return any(c is not None and c.nullable and c.default is None and not c.generated
               for c in columns)


def _sql(column: str, length: int) -> str:
    """A part of a key as an expression: the prefix that it takes, or its own expression."""
    if column.startswith("("):
        return column.replace("\\'", "'")
    return f"LEFT(`{column}`, {length})" if length else f"`{column}`"


def _name(key: Key) -> str:
    columns = ", ".join(f"{c}({n})" if n else c for c, n, _ in key.parts)
    if key.primary:
        return f"PRIMARY KEY ({columns})"
    kind = "UNIQUE KEY" if key.unique else f"{key.kind} KEY" if key.kind in (
        "FULLTEXT", "SPATIAL") else "KEY"
    return f"{kind} {key.name} ({columns})"
