"""What a server says of its tables, as far as comparing their rows needs it. Pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from slackwater.facts.quoting import identifier

_NUMBERS = frozenset({
    "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year",
})  # fmt: skip
_LARGE = frozenset({
    "tinytext", "text", "mediumtext", "longtext", "tinyblob", "blob", "mediumblob", "longblob",
    "json", "vector", "geometry", "point", "linestring", "polygon", "multipoint",
    "multilinestring", "multipolygon", "geometrycollection", "geomcollection", "xmltype",
})  # fmt: skip


class Kind(enum.StrEnum):
    """How a column's value is put into a row's digest, and into a condition on a key."""

    NUMBER = "number"  # exact as text
    FLOAT = "float"  # exact as the text of a double
    TEXT = "text"  # its bytes, and for conditions its character set and collation
    BYTES = "bytes"
    CHOICE = "choice"  # ENUM, SET: the number behind the text
    BITS = "bits"
    LARGE = "large"  # may be larger than a packet: never put together with others
    QUOTED = "quoted"  # exact as text, and written in quotes: dates, times, UUIDs, addresses


@dataclass(frozen=True)
class Column:
    """One column. `definition` is its type as the server writes it, such as `int(10) unsigned`."""

    name: str
    type: str  # the data type alone, lower case
    definition: str
    nullable: bool
    charset: str = ""  # "" for what is no text
    collation: str = ""

    @property
    def kind(self) -> Kind:
        """How to handle it."""
        if self.type in _NUMBERS:
            return Kind.NUMBER
        if self.type in ("float", "double"):
            return Kind.FLOAT
        if self.type in _LARGE:
            return Kind.LARGE
        if self.type in ("enum", "set"):
            return Kind.CHOICE
        if self.type == "bit":
            return Kind.BITS
        if self.type in ("char", "varchar"):
            return Kind.TEXT
        return Kind.BYTES if self.type in ("binary", "varbinary") else Kind.QUOTED

    def same_values(self, other: Column) -> bool:
        """Whether one value is the same bytes, and the same text, in both: display widths and
        defaults may differ."""
        return (self.kind, modern(self.charset), self._text_form) == (
            other.kind, modern(other.charset), other._text_form)

    @property
    def _text_form(self) -> str:
        """What of its definition decides how one value is printed: 1.5 is 1.50 in DECIMAL(9,2)."""
        if self.type == "year":
            return self.type
        if self.kind is Kind.NUMBER and self.type != "decimal" and "zerofill" not in (
                self.definition):
            return ""
        if self.kind in (Kind.NUMBER, Kind.FLOAT, Kind.CHOICE, Kind.QUOTED):
            plain = self.definition if self.kind is Kind.CHOICE else re.sub(
                r" unsigned|/\*.*?\*/", "", self.definition)
            return plain.strip()
        return ""

    def same_order(self, other: Column) -> bool:
        """Whether values are the same and sorted alike: fit to be walked on both sides."""
        return self.same_values(other) and modern(self.collation) == modern(other.collation)

    def describe(self) -> str:
        """For people: type, collation, NULL. Without display widths, which new servers left out."""
        shown = re.sub(r"\b(tinyint|smallint|mediumint|int|bigint|year)\(\d+\)", r"\1",
                       self.definition)
        return " ".join(filter(None, (
            shown, modern(self.collation), "" if self.nullable else "NOT NULL")))


@dataclass(frozen=True)
class Table:
    """A table. `key`: the columns of the unique key by which its rows are walked; () for none."""

    schema: str
    name: str
    engine: str
    rows: int  # the server's estimate
    columns: tuple[Column, ...]
    key_name: str = ""
    key: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """schema.name, for people; in backticks where a dot within would make it two tables'."""
        dotted = "." in self.schema + self.name
        return self.sql_name if dotted else f"{self.schema}.{self.name}"

    @property
    def sql_name(self) -> str:
        """Quoted, for a statement."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    @property
    def lockable(self) -> bool:
        """Whether a single row of it can be locked."""
        return self.engine.lower() == "innodb"

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(c for c in self.columns if c.name == name)


def modern(name: str) -> str:
    """A character set or collation by its name of today: utf8 is utf8mb3."""
    return re.sub(r"^utf8(?=_|$)", "utf8mb3", name)


@dataclass(frozen=True)
class UniqueKey:
    """A unique key as a server describes it, its columns in order."""

    name: str
    columns: tuple[str, ...]
    whole: bool  # of whole columns, none an expression or a prefix


def choose_key(keys: Iterable[UniqueKey], columns: Mapping[str, Column]) -> UniqueKey | None:
    """The primary key, else the narrowest unique key whose columns are never NULL."""
    fit = [
        k for k in keys
        if k.whole and all(
            c in columns and not columns[c].nullable and columns[c].kind is not Kind.LARGE
            for c in k.columns
        )
    ]
    return min(fit, key=lambda k: (k.name != "PRIMARY", len(k.columns), k.name), default=None)
