"""A table's whole definition, read from information_schema; two of them can be compared."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slackwater.facts.alter_column import Column, column

Row = Mapping[str, Any]
# What is no part of a definition: the counter, and where the rows are kept.
COUNTER = re.compile(r"\sAUTO_INCREMENT=\d+|/\*!\d+ TABLESPACE `[^`]*` \*/\s?", re.IGNORECASE)


@dataclass(frozen=True)
class Key:
    """An index. `parts`: (column or expression, prefix length or 0, descending)."""

    name: str
    unique: bool
    kind: str  # BTREE, HASH, FULLTEXT, SPATIAL
    parts: tuple[tuple[str, int, bool], ...]
    hidden: bool = False  # MySQL: invisible; MariaDB: ignored

    @property
    def primary(self) -> bool:
        return self.name == "PRIMARY"

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(part[0] for part in self.parts)

    @property
    def definition(self) -> tuple[object, ...]:
        """What makes it what it is, without name and visibility."""
        return (self.unique, self.kind, self.parts)


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key of a table."""

    name: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_delete: str
    on_update: str

    @property
    def acts(self) -> bool:
        """Whether the server itself changes child rows (CASCADE, SET NULL, SET DEFAULT)."""
        quiet = ("NO ACTION", "RESTRICT")
        return self.on_delete not in quiet or self.on_update not in quiet

    @property
    def definition(self) -> tuple[object, ...]:
        return (self.columns, self.parent, self.parent_columns, self.on_delete, self.on_update)


@dataclass(frozen=True)
class Trigger:
    """A trigger of a table."""

    name: str
    moment: str  # "BEFORE INSERT"
    body: str


@dataclass(frozen=True)
class Partition:
    """A partition; `method` and `expression` are the table's."""

    name: str
    method: str
    expression: str
    description: str


@dataclass(frozen=True)
class TableDef:
    """A table. `text` is SHOW CREATE TABLE without counter and tablespace."""

    name: str
    engine: str
    collation: str
    options: str
    comment: str
    versioned: bool
    columns: tuple[Column, ...]
    keys: tuple[Key, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    checks: tuple[tuple[str, str], ...] = ()  # (name, clause)
    triggers: tuple[Trigger, ...] = ()
    partitions: tuple[Partition, ...] = ()
    text: str = ""
    own_checks: frozenset[str] = frozenset()  # of one column, whose name they have (MariaDB)

    @property
    def primary(self) -> Key | None:
        return next((k for k in self.keys if k.primary), None)

    @property
    def hides_last(self) -> bool:
        """Whether columns that nobody is shown stand behind the others, also in row events: those
        of system versioning, where the table does not name them itself."""
        return self.versioned and not any(c.expression.upper() == "ROW END" for c in self.columns)

    @property
    def hides_hash(self) -> bool:
        """Whether MariaDB keeps the hash of a long unique key in a column of its own, which stands
        behind the others, also in row events."""
        return self.engine.lower() != "memory" and any(
            k.unique and k.kind == "HASH" for k in self.keys)

    @property
    def keyed(self) -> bool:
        """Whether each row has a key of its own that is never NULL."""
        def never_null(key: Key) -> bool:
            columns = [self.column(c) for c in key.columns]
            return all(c is not None and not c.nullable for c in columns)

        return any(k.unique and never_null(k) for k in self.keys)

    def column(self, name: str) -> Column | None:
        """The column of that name, whatever its case."""
        return next((c for c in self.columns if c.name.lower() == name.lower()), None)


@dataclass(frozen=True)
class TableSize:
    """What the real table takes, by the server's own estimate (bytes, rows)."""

    name: str
    rows: int = 0
    data: int = 0
    indexes: int = 0
    children: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()


@dataclass(frozen=True)
class SchemaRows:
    """Raw rows of information_schema for one schema; see outside/mysql/schema.py."""

    tables: Sequence[Row]
    columns: Sequence[Row]
    statistics: Sequence[Row] = ()
    key_usage: Sequence[Row] = ()
    referential: Sequence[Row] = ()
    checks: Sequence[Row] = ()
    triggers: Sequence[Row] = ()
    partitions: Sequence[Row] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


def tables(rows: SchemaRows, *, mariadb: bool) -> dict[str, TableDef]:
    """Every base table of the schema, by name."""
    columns: dict[str, list[Column]] = defaultdict(list)
    for row in sorted(rows.columns, key=lambda r: int(r["ORDINAL_POSITION"])):
        columns[row["TABLE_NAME"]].append(column(row, mariadb=mariadb))
    keys, foreign = _keys(rows.statistics), _foreign_keys(rows)
    found = {}
    for row in rows.tables:
        if row["TABLE_TYPE"] not in ("BASE TABLE", "SYSTEM VERSIONED"):
            continue
        name = str(row["TABLE_NAME"])
        found[name] = TableDef(
            name=name, engine=str(row.get("ENGINE") or ""),
            collation=str(row.get("TABLE_COLLATION") or ""),
            options=str(row.get("CREATE_OPTIONS") or ""),
            comment=str(row.get("TABLE_COMMENT") or ""),
            versioned=row["TABLE_TYPE"] == "SYSTEM VERSIONED",
            columns=tuple(columns[name]), keys=keys.get(name, ()),
            foreign_keys=foreign.get(name, ()),
            checks=tuple(sorted(
                (str(r["CONSTRAINT_NAME"]), _clause(str(r["CHECK_CLAUSE"]), mariadb=mariadb))
                for r in rows.checks if r["TABLE_NAME"] == name)),
            triggers=tuple(
                Trigger(str(r["TRIGGER_NAME"]), f"{r['ACTION_TIMING']} {r['EVENT_MANIPULATION']}",
                        str(r["ACTION_STATEMENT"]))
                for r in rows.triggers if r["EVENT_OBJECT_TABLE"] == name),
            partitions=_partitions(rows.partitions, name),
            own_checks=frozenset(
                str(r["CONSTRAINT_NAME"]) for r in rows.checks
                if r["TABLE_NAME"] == name and str(r.get("LEVEL") or "").lower() == "column"),
            text=" ".join(COUNTER.sub("", rows.texts.get(name, "")).split()),
        )
    return found


def _clause(text: str, *, mariadb: bool) -> str:
    """A CHECK as SQL: MySQL shows it with its quotes escaped."""
    return text if mariadb else re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _keys(rows: Sequence[Row]) -> dict[str, tuple[Key, ...]]:
    grouped: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: int(r["SEQ_IN_INDEX"])):
        grouped[row["TABLE_NAME"], row["INDEX_NAME"]].append(row)
    found: dict[str, list[Key]] = defaultdict(list)
    for (table, name), parts in grouped.items():
        first = parts[0]
        hidden = first.get("IS_VISIBLE") == "NO" or first.get("IGNORED") == "YES"
        found[table].append(Key(
            name=str(name), unique=not int(first["NON_UNIQUE"]), kind=str(first["INDEX_TYPE"]),
            parts=tuple((str(r["COLUMN_NAME"] or f"({r.get('EXPRESSION')})"),
                         int(r["SUB_PART"] or 0), r["COLLATION"] == "D") for r in parts),
            hidden=hidden,
        ))
    return {table: tuple(sorted(keys, key=lambda k: k.name)) for table, keys in found.items()}


def _foreign_keys(rows: SchemaRows) -> dict[str, tuple[ForeignKey, ...]]:
    found: dict[str, list[ForeignKey]] = defaultdict(list)
    for rule in rows.referential:
        table, name = str(rule["TABLE_NAME"]), str(rule["CONSTRAINT_NAME"])
        parts = sorted(
            (r for r in rows.key_usage
             if r["TABLE_NAME"] == table and r["CONSTRAINT_NAME"] == name
             and r["REFERENCED_TABLE_NAME"]),
            key=lambda r: int(r["ORDINAL_POSITION"]))
        found[table].append(ForeignKey(
            name, tuple(str(r["COLUMN_NAME"]) for r in parts),
            str(rule["REFERENCED_TABLE_NAME"]),
            tuple(str(r["REFERENCED_COLUMN_NAME"]) for r in parts),
            str(rule["DELETE_RULE"]), str(rule["UPDATE_RULE"])))
    return {table: tuple(sorted(keys, key=lambda k: k.name)) for table, keys in found.items()}


def _partitions(rows: Sequence[Row], table: str) -> tuple[Partition, ...]:
    seen: dict[str, Partition] = {}
    for row in sorted(rows, key=lambda r: int(r["PARTITION_ORDINAL_POSITION"] or 0)):
        if row["TABLE_NAME"] == table and row["PARTITION_NAME"]:
            method = "/".join(str(row[k]) for k in ("PARTITION_METHOD", "SUBPARTITION_METHOD")
                              if row.get(k))
            expression = "/".join(
                str(row[k]) for k in ("PARTITION_EXPRESSION", "SUBPARTITION_EXPRESSION")
                if row.get(k))
            seen[row["PARTITION_NAME"]] = Partition(
                str(row["PARTITION_NAME"]), method, expression,
                str(row.get("PARTITION_DESCRIPTION") or ""))
    return tuple(seen.values())
