"""Advice on the new definition, from the rules that other linters have; it changes no verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slackwater.facts.alter_diff import Change, Kind
from slackwater.facts.alter_link import Link, PairSettings
from slackwater.facts.alter_table import Key, TableDef
from slackwater.rules.alter.verdict import Note, Rule

NO_KEY = Rule("no-primary-key", "A table has no primary key",
              "The replica looks for each changed row by reading the whole table.")
FLOAT = Rule("float-column", "A FLOAT or DOUBLE column",
             "It does not keep decimal fractions, and statements may store other digits on each "
             "server; for money use DECIMAL.")
UTF8MB3 = Rule("utf8mb3", "A column of utf8mb3", "It takes no emoji, and is on its way out.")
SMALL_COUNTER = Rule("small-counter", "An AUTO_INCREMENT column smaller than BIGINT",
                     "To widen a key later is a change of every table that refers to it.")
REDUNDANT = Rule("redundant-index", "An index is the beginning of another one",
                 "It costs writes and space, and serves no query that the other does not.")
HIDE_FIRST = Rule("hide-index-first", "An index is dropped at once",
                  "Hide it first (MySQL INVISIBLE, MariaDB IGNORED): that can be taken back in a "
                  "moment when a query turns out to need it.")
SEVERAL = Rule("several-alters", "Several ALTERs of one table",
               "One ALTER with all clauses does the work once.")
TIMESTAMP = Rule("timestamp-2038", "A TIMESTAMP column", "It ends in 2038 on most versions.")
REPLACE = Rule(
    "replace-partial", "A REPLACE that leaves columns out, with partial row images on MariaDB",
    "MariaDB logs a REPLACE of a row that is there as an update of the columns that the statement "
    "names (unless a unique key that is not the table's last one finds that row): on the replica "
    "the others keep what they had, on the source they get their default. So it is with and "
    "without a change of the schema.",
    "use binlog_row_image=FULL (SET GLOBAL, on both servers, and new sessions), or name all "
    "columns; what differs already is found by `slackwater pair compare`",
)

RULES = (NO_KEY, FLOAT, UTF8MB3, SMALL_COUNTER, REDUNDANT, HIDE_FIRST, SEVERAL, TIMESTAMP, REPLACE)


def advise(changes: Sequence[Change]) -> list[Note]:
    """What is worth saying about all changes of a file."""
    found = [note for change in changes for note in _one(change)]
    return list(dict.fromkeys(found))


def replaces(changes: Sequence[Change], links: PairSettings) -> list[Note]:
    """Where a REPLACE differs in silence, whatever the change. Measured (tests/alter)."""
    def differs(link: Link) -> bool:
        return link.partial and link.source.traits.mariadb

    if not (differs(links.forward) or differs(links.back)):
        return []
    # Without a key the row is logged whole.
    tables = dict.fromkeys(c.table for c in changes if c.before and c.after and c.before.keyed)
    return [Note(REPLACE, t, f"a REPLACE into {t} that leaves columns out may differ on the "
                             "replica, in silence: binlog_row_image is not FULL") for t in tables]


def several(tables: Sequence[str]) -> list[Note]:
    """`tables`: of each ALTER in the file."""
    return [Note(SEVERAL, t, f"{tables.count(t)} ALTERs of {t}: one with all clauses does the work "
                             "once") for t in dict.fromkeys(tables) if tables.count(t) > 1]


def _one(change: Change) -> Iterator[Note]:
    table = change.table
    new = change.new
    if change.kind in (Kind.COLUMN_ADDED, Kind.COLUMN_CHANGED):
        yield from _column(table, new.name, new.type.name, new.charset)
        if new.auto_increment and new.type.name != "bigint":
            yield Note(SMALL_COUNTER, table, f"{new.name} counts to {new.type.low_high[1]:,}")
    if change.kind is Kind.TABLE_CREATED:
        for column in new.columns:
            yield from _column(table, column.name, column.type.name, column.charset)
            if column.auto_increment and column.type.name != "bigint":
                high = column.type.low_high[1]
                yield Note(SMALL_COUNTER, table, f"{column.name} counts to {high:,}")
    after = change.after
    if after is not None and after.primary is None and change.kind in (
        Kind.TABLE_CREATED, Kind.KEY_DROPPED
    ) and not any(k.unique for k in after.keys):
        yield Note(NO_KEY, table, f"{table} has no primary key, nor a unique one")
    if change.kind is Kind.KEY_ADDED and after is not None:
        yield from _redundant(table, new, after)
    if change.kind is Kind.KEY_DROPPED and not change.old.hidden and not change.old.primary:
        yield Note(HIDE_FIRST, table, f"hide {change.old.name} for a while before it is dropped")


def _column(table: str, name: str, kind: str, charset: str) -> Iterator[Note]:
    if kind in ("float", "double"):
        yield Note(FLOAT, table, f"{name} is a {kind.upper()}")
    if kind == "timestamp":
        yield Note(TIMESTAMP, table, f"{name} ends in 2038")
    if charset in ("utf8", "utf8mb3"):
        yield Note(UTF8MB3, table, f"{name} is {charset}")


def _redundant(table: str, key: Key, after: TableDef) -> Iterator[Note]:
    for other in after.keys:
        if other.name == key.name or key.unique or other.kind != key.kind:
            continue
        if other.parts[: len(key.parts)] == key.parts:
            yield Note(REDUNDANT, table, f"{key.name} is the beginning of {other.name}")
