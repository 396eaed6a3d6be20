"""Rows as the text of their INSERT, made by the server itself: exact for every type.

In a session whose literals are binary (logical_copy.for_data), one expression gives a row as
`(1,_binary'x',NULL)`. The source makes it for the copy; the target makes it again for the
checksum. So what is compared is what was stored, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass

from slackwater.facts.quoting import identifier

_NUMBERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year"})
_BY_NUMBER = frozenset({"bit", "enum", "set"})  # an ENUM's '' may be an error or a value
# Numbers too: -0 without quotes is an integer, and loses its sign.
_QUOTED = frozenset({"date", "datetime", "timestamp", "time", "float", "double"})
_BYTES = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "binary",
                    "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})  # fmt: skip
_HEX = frozenset({"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring",
                  "multipolygon", "geometrycollection", "geomcollection", "vector"})  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A stored column: its name, and its type as information_schema names it."""

    name: str
    kind: str

    @property
    def sql(self) -> str:
        """An expression that gives its value as a literal."""
        name, kind = identifier(self.name), self.kind.lower()
        if kind in _NUMBERS:
            return f"IFNULL({name},'NULL')"
        if kind == "float":
            # As text a FLOAT has six digits; as a DOUBLE it has all of them.
            name = f"({name}*1e0)"
        if kind in _BY_NUMBER:
            return f"IFNULL(CAST({name} AS UNSIGNED),'NULL')"
        if kind in _QUOTED:
            return f"IFNULL(CONCAT('''',{name},''''),'NULL')"
        if kind in _HEX:
            return f"IFNULL(CONCAT('0x',HEX({name})),'NULL')"
        if kind in _BYTES:
            quoted = f"CONCAT('_binary',QUOTE(CAST({name} AS BINARY)))"
        elif kind == "json":
            # Of MySQL: it takes no binary string. (MariaDB's is a longtext.)
            quoted = f"CONCAT('_utf8mb4',QUOTE(CONVERT({name} USING utf8mb4)))"
        else:
            quoted = f"QUOTE({name})"
        return f"IF({name} IS NULL,'NULL',{quoted})"


@dataclass(frozen=True)
class Table:
    """A table of people, as the copy sees it. `size`: bytes, as the server estimates them."""

    schema: str
    name: str
    size: int
    columns: tuple[Column, ...]

    @property
    def sql(self) -> str:
        """Its name for a statement."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    @property
    def row(self) -> str:
        """The expression that gives a row; NULL when it is larger than max_allowed_packet."""
        values = ",',',".join(column.sql for column in self.columns)
        return f"CAST(CONCAT('(',{values},')') AS BINARY)"

    @property
    def select(self) -> str:
        """All rows."""
        return f"SELECT {self.row} FROM {self.sql}"

    @property
    def insert(self) -> bytes:
        """What stands before the rows."""
        columns = ",".join(identifier(column.name) for column in self.columns)
        return f"INSERT INTO {self.sql} ({columns}) VALUES ".encode()

    @property
    def checksum(self) -> str:
        """One row: how many, and a sum that does not depend on their order. NULLs are told too."""
        return (f"SELECT COUNT(*) AS N, COALESCE(SUM(CRC32({self.row})), 0) AS S,"
                f" COALESCE(SUM({self.row} IS NULL), 0) AS U FROM {self.sql}")
