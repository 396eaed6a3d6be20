"""Foreign keys and checks."""

from __future__ import annotations

from slackwater.facts.alter_diff import Change
from slackwater.facts.alter_link import Link, PairSettings
from slackwater.facts.alter_table import ForeignKey
from slackwater.rules.alter.verdict import (
    SAFE,
    Finding,
    Rule,
    Side,
    comply,
    finding,
    refused,
)

ADD_FOREIGN_KEY = Rule(
    "add-foreign-key", "A foreign key without action is added",
    "A row without its parent that the application still writes stops replication (1452).",
    "see that every child has its parent, and that the application writes in that order",
)
DROP_FOREIGN_KEY = Rule(
    "drop-foreign-key", "A foreign key without action is dropped",
    "A row without its parent, written on the new schema, stops replication to the old one (1452).",
)
CASCADE = Rule(
    "foreign-key-cascades", "A foreign key with CASCADE or SET NULL is added or dropped",
    "What the server itself does to child rows is not in the binary log (before MySQL 9.7): each "
    "server does it by its own definition, and child rows differ in silence.",
    "let the application delete or change the child rows itself, and use a key without action; "
    "or add it with a plain ALTER on the active, through the binary log",
)
ADD_CHECK = Rule(
    "add-check", "A CHECK constraint is added",
    "A row that violates it: MySQL's replica stops (3819), MariaDB's takes it, and the later ALTER "
    "of the other server fails.",
    "see that no row violates it, and that the application writes none",
)
DROP_CHECK = Rule(
    "drop-check", "A CHECK constraint is dropped",
    "A row that violates it, written on the new schema, stops replication to the old one on MySQL "
    "(3819) and for statements.",
)

RULES = (ADD_FOREIGN_KEY, DROP_FOREIGN_KEY, CASCADE, ADD_CHECK, DROP_CHECK)


def foreign_key_added(change: Change, links: PairSettings) -> list[Finding]:
    """A new foreign key."""
    key: ForeignKey = change.new
    what = f"ADD FOREIGN KEY {key.name}"
    if key.acts:
        return [finding(CASCADE, change, what, lambda _: refused(_SILENT), links)]
    on = " AND ".join(f"p.`{p}` = c.`{c}`"
                      for c, p in zip(key.columns, key.parent_columns, strict=False))
    checks = [f"SELECT COUNT(*) FROM `{change.table}` c LEFT JOIN `{key.parent}` p ON {on} WHERE "
              f"p.`{key.parent_columns[0]}` IS NULL AND c.`{key.columns[0]}` IS NOT NULL must be 0,"
              " and the application must keep it so"]
    return [finding(ADD_FOREIGN_KEY, change, what,
                    lambda _: comply("a row without its parent is refused (1452)"), links,
                    checks=checks)]


_SILENT = "what it does to child rows is not replicated: they differ in silence"


def foreign_key_dropped(change: Change, links: PairSettings) -> list[Finding]:
    """A foreign key that is gone."""
    key: ForeignKey = change.old
    what = f"DROP FOREIGN KEY {key.name}"
    if key.acts:
        return [finding(CASCADE, change, what, lambda _: refused(_SILENT), links)]
    gates = [f"must not write rows of {change.table} without their row in {key.parent}, nor delete "
             "those"]
    return [finding(DROP_FOREIGN_KEY, change, what, lambda _: SAFE, links, gates=gates)]


def check_added(change: Change, links: PairSettings) -> list[Finding]:
    """A new CHECK."""
    clause = change.new[1]
    checks = [f"SELECT COUNT(*) FROM `{change.table}` WHERE NOT ({clause}) must be 0, and the "
              "application must keep it so"]

    def judge(link: Link) -> Side:
        if link.forward and link.mariadb and not link.statements:
            return comply("a violating row is taken, and `alter finish` fails later")
        return comply("a violating row is refused (MariaDB 4025, MySQL 3819)")

    return [finding(ADD_CHECK, change, f"ADD CHECK {change.name}", judge, links, checks=checks)]


def check_dropped(change: Change, links: PairSettings) -> list[Finding]:
    """A CHECK that is gone."""
    gates = [f"must not write rows to {change.table} that violate {change.old[1]}"]
    return [finding(DROP_CHECK, change, f"DROP CHECK {change.name}", lambda _: SAFE, links,
                    gates=gates)]
