"""One column of a table, as information_schema describes it, in a form that can be compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TYPE = re.compile(r"^([a-z]\w*)\s*(?:\((.*?)\))?(.*)$", re.DOTALL | re.IGNORECASE)
_MEMBER = re.compile(r"'((?:[^'\\]|''|\\.)*)'", re.DOTALL)

INTEGERS = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}
STRINGS = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext")
BYTES = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")
TEMPORAL = ("date", "time", "datetime", "timestamp", "year")
GEOMETRIES = ("geometry", "point", "linestring", "polygon", "multipoint", "multilinestring",
              "multipolygon", "geometrycollection", "geomcollection")
# Length bytes of each kind of BLOB or TEXT: what the binary log says of its size.
_LONG = {"tiny": 1, "": 2, "medium": 3, "long": 4}


@dataclass(frozen=True)
class ColumnType:
    """A type taken apart. `octets`: the most bytes that a value takes; 0 where it does not matter.

    `size` is the first number in brackets, `scale` the second; `members` those of ENUM and SET.
    """

    name: str
    size: int
    scale: int
    unsigned: bool
    octets: int
    members: tuple[str, ...] = ()
    compressed: bool = False  # MariaDB

    @property
    def family(self) -> str:
        """What the server converts among: integer, decimal, float, string, bytes, bit, …"""
        if self.name in INTEGERS:
            return "integer"
        if self.name in ("float", "double"):
            return "float"
        if self.name in STRINGS:
            return "string"
        return "bytes" if self.name in BYTES else self.name

    @property
    def length_bytes(self) -> int:
        """Of a BLOB or TEXT: how many bytes its length takes; 0 for others."""
        for prefix, size in _LONG.items():
            if self.name in (f"{prefix}text", f"{prefix}blob"):
                return size
        return 0

    @property
    def pack_bytes(self) -> int:
        """Of an ENUM or SET: how many bytes a value takes."""
        if self.name == "enum":
            return 1 if len(self.members) < 256 else 2
        bits = len(self.members)
        return next(n for n in (1, 2, 3, 4, 8) if bits <= 8 * n)

    @property
    def low_high(self) -> tuple[int, int]:
        """Of an integer: its range."""
        bits = 8 * INTEGERS[self.name]
        return (0, 2**bits - 1) if self.unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@dataclass(frozen=True)
class Column:
    """A column. `default` is the server's text for it, None where there is none (or NULL)."""

    name: str
    position: int
    full_type: str
    type: ColumnType
    nullable: bool
    default: str | None
    default_is_expression: bool
    on_update: str
    auto_increment: bool
    charset: str
    collation: str
    generated: str  # "", "virtual" or "stored"
    expression: str
    invisible: bool
    comment: str
    extra: str  # what is left of EXTRA, lower case: unknown attributes

    @property
    def has_default(self) -> bool:
        """An INSERT may leave it out."""
        return (self.nullable or self.default is not None or self.auto_increment
                or bool(self.generated))


def parse_type(full: str, octets: int = 0) -> ColumnType:
    """Read COLUMN_TYPE, such as ``decimal(10,2) unsigned`` or ``enum('a','b')``."""
    match = _TYPE.match(full.strip())
    name, inner, rest = (match[1].lower(), match[2] or "", match[3]) if match else (full, "", "")
    members: tuple[str, ...] = ()
    size = scale = 0
    if name in ("enum", "set"):
        members = tuple(_MEMBER.findall(full))
        rest = ""
    elif inner:
        numbers = [int(part) for part in inner.split(",") if part.strip().isdigit()]
        size, scale = (*numbers, 0, 0)[:2]
    if name in INTEGERS:
        size = 0  # a display width
    unsigned = "unsigned" in rest.lower() or "zerofill" in rest.lower()
    return ColumnType(name, size, scale, unsigned, octets, members, "compressed" in rest.lower())


def column(row: Mapping[str, Any], *, mariadb: bool) -> Column:
    """One row of information_schema.COLUMNS (names in capitals)."""
    extra = str(row.get("EXTRA") or "").lower()
    default, is_expression, extra = _default(row, extra, mariadb=mariadb)
    generated = next((k for k in ("virtual", "stored") if f"{k} generated" in extra), "")
    if not generated and "persistent" in extra:
        generated = "stored"
    on_update = re.search(r"on update (\S+)", extra)
    invisible = "invisible" in extra
    left = extra
    if row.get("SRS_ID") is not None:  # MySQL: which values it takes
        left += f" srid {row['SRS_ID']}"
    for known in (r"on update \S+", "auto_increment", "virtual generated", "stored generated",
                  "persistent", "invisible", "default_generated"):
        left = re.sub(known, "", left)
    full = str(row["COLUMN_TYPE"])
    return Column(
        name=str(row["COLUMN_NAME"]), position=int(row["ORDINAL_POSITION"]), full_type=full,
        type=parse_type(full, int(row.get("CHARACTER_OCTET_LENGTH") or 0)),
        nullable=row["IS_NULLABLE"] == "YES", default=default,
        default_is_expression=is_expression,
        on_update=_plain_now(on_update[1]) if on_update else "",
        auto_increment="auto_increment" in extra,
        charset=str(row.get("CHARACTER_SET_NAME") or ""),
        collation=str(row.get("COLLATION_NAME") or ""), generated=generated,
        expression=str(row.get("GENERATION_EXPRESSION") or ""), invisible=invisible,
        comment=str(row.get("COLUMN_COMMENT") or ""), extra=" ".join(left.replace(",", "").split()),
    )


_LITERAL = re.compile(r"^(?:'(?:[^'\\]|''|\\.)*'|-?[\d.]+(?:e[+-]?\d+)?|[bx]'[0-9a-f]*'|null)$",
                      re.IGNORECASE | re.DOTALL)


def _default(
    row: Mapping[str, Any], extra: str, *, mariadb: bool
) -> tuple[str | None, bool, str]:
    """The default, whether it is an expression, and EXTRA without what it said of that.

    MariaDB writes defaults as SQL ('NULL' too); MySQL writes the bare value, and DEFAULT_GENERATED.
    """
    raw = row.get("COLUMN_DEFAULT")
    if raw is None:
        return None, False, extra
    text = str(raw)
    if mariadb:
        if text.upper() == "NULL":
            return None, False, extra
        return text, not _LITERAL.match(text.strip("()")), extra
    is_expression = "default_generated" in extra or text.upper().startswith("CURRENT_TIMESTAMP")
    if is_expression and _LITERAL.match(re.sub(r"^_\w+\\?(?=')", "", text.strip("()"))):
        is_expression = False
    return text, is_expression, extra


def _plain_now(text: str) -> str:
    return text.replace("()", "").strip(",")
