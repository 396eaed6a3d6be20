"""The SQL texts by which rows are compared: a row's digest, and conditions on its key. Pure.

A digest is 60 bits of the SHA of all values of a row, put together so that different rows never
give the same text:

- each text and byte string stands behind its length, so no separator inside can imitate another;
- NULLs are a string of bits of their own, so NULL is not '';
- texts are taken as bytes, so that case and trailing spaces count whatever the collation;
- a DOUBLE column is printed by every server with as many digits as tell it from any other, a FLOAT
  with 6 only: its absolute value is printed as a DOUBLE too (the sign would be one character too
  many for MySQL 9, which then leaves digits out);
- what may be larger than a packet is taken by its own hash;
- ENUM, SET and BIT are numbers; dates are text, TIMESTAMP in UTC (the session's zone).

A chunk is the XOR of its rows' digests. (The CRC32 that others use is linear: two rows of a chunk
in which the same bits differ cancel each other out.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from slackwater.facts import quoting
from slackwater.facts.compare import Hash, KeyValues
from slackwater.facts.quoting import identifier
from slackwater.facts.tables import Column, Kind, Table

_ENCODINGS = {
    "utf8mb4": "utf-8", "utf8mb3": "utf-8", "utf8": "utf-8", "ascii": "ascii", "latin1": "cp1252",
    "ucs2": "utf-16-be", "utf16": "utf-16-be", "utf32": "utf-32-be", "utf16le": "utf-16-le",
}  # fmt: skip
_NUMBER = re.compile(r"-?[0-9.]+(e[-+]?[0-9]+)?", re.IGNORECASE)


def hashed(how: Hash, expression: str) -> str:
    """The hash of bytes, in hexadecimal digits."""
    return f"SHA1({expression})" if how is Hash.SHA1 else f"SHA2({expression},256)"


def values(
    how: Hash, columns: Sequence[Column], same: Sequence[bool]
) -> list[tuple[str, str]]:
    """What a row's digest is made of: (column, expression); the last one, of no column, are the
    NULLs. `same`: whether the other side keeps the same bytes for the column; where it does not,
    texts are compared as texts."""
    found = []
    for column, alike in zip(columns, same, strict=True):
        name = identifier(column.name)
        if alike:
            found += [(column.name, v) for v in _value(how, column, name)]
        else:
            found.append((column.name, hashed(how, f"CONVERT({name} USING utf8mb4)")))
    nullable = [f"ISNULL({identifier(c.name)})" for c in columns if c.nullable]
    return [*found, ("", f"CONCAT({','.join(nullable)})")] if nullable else found


def _value(how: Hash, column: Column, name: str) -> list[str]:
    kind = column.kind
    if kind is Kind.FLOAT:
        # DOUBLE(M,D) is printed with D digits behind the point, whatever is stored.
        if column.type == "double" and "(" not in column.definition:
            return [name]
        return [name, f"ABS({name})*1E0"]
    if kind is Kind.LARGE:
        return [hashed(how, name)]
    if kind in (Kind.BITS, Kind.CHOICE):
        return [f"CAST({name} AS UNSIGNED)"]
    if kind is Kind.TEXT:
        return [f"LENGTH({name})", f"CAST({name} AS BINARY)"]
    if kind is Kind.BYTES:
        return [f"LENGTH({name})", name]
    return [name]


def row_hash(how: Hash, expressions: Iterable[str]) -> str:
    """The hash of a row, in hexadecimal digits."""
    return hashed(how, f"CONCAT_WS(',',{','.join(expressions)})")


def number(row: str) -> str:
    """60 bits of a `row_hash` as an integer."""
    return f"CAST(CONV(LEFT({row},15),16,10) AS UNSIGNED)"


def key_text(column: Column) -> str:
    """An expression that gives a key's value as text which `literal` takes."""
    name = identifier(column.name)
    if column.type == "float":
        return f"CONCAT(IF({name}<0,'-',''),ABS({name})*1E0)"
    if column.kind in (Kind.TEXT, Kind.BYTES):
        return f"HEX({name})"
    if column.kind in (Kind.CHOICE, Kind.BITS):
        return f"CAST(CAST({name} AS UNSIGNED) AS CHAR)"
    return f"CAST({name} AS CHAR)"


def literal(column: Column, text: str) -> str:
    """A key's value for a condition, exact, and compared as the column itself is."""
    kind = column.kind
    if kind is Kind.QUOTED:
        return quoting.literal(text)
    if kind in (Kind.TEXT, Kind.BYTES):
        digits = bytes.fromhex(text).hex()
        plain = f"0x{digits}" if digits else "''"
        if kind is Kind.BYTES:
            return plain
        return f"_{column.charset} {plain} COLLATE {column.collation}"
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"not a number in key column {column.name}: {text!r}")
    return text if kind is not Kind.FLOAT or "e" in text.lower() else f"{text}e0"


def shown(table: Table, key: KeyValues) -> str:
    """A key for people: `id=7` or `a=1, b='x'`."""
    return ", ".join(
        f"{name}={_shown(table.column(name), text)}"
        for name, text in zip(table.key, key, strict=True)
    )


def _shown(column: Column, text: str) -> str:
    if column.kind is Kind.TEXT and column.charset in _ENCODINGS:
        return repr(bytes.fromhex(text).decode(_ENCODINGS[column.charset], "backslashreplace"))
    if column.kind in (Kind.TEXT, Kind.BYTES):
        return f"0x{text}"
    return f"'{text}'" if column.kind is Kind.QUOTED else text


def above(table: Table, key: KeyValues) -> str:
    """A condition: the row's key comes after this one."""
    return _beside(table, key, ">", strict=True)


def up_to(table: Table, key: KeyValues) -> str:
    """A condition: the row's key comes before this one, or is this one."""
    return _beside(table, key, "<", strict=False)


def exactly(table: Table, key: KeyValues) -> str:
    """A condition: the row of this key."""
    pairs = zip(table.key, key, strict=True)
    return " AND ".join(f"{identifier(n)}={literal(table.column(n), t)}" for n, t in pairs)


def _beside(table: Table, key: KeyValues, sign: str, *, strict: bool) -> str:
    # Not (a,b) > (x,y), for which servers read the whole index.
    terms = [
        (identifier(n), literal(table.column(n), t)) for n, t in zip(table.key, key, strict=True)
    ]
    name, value = terms[-1]
    condition = f"{name}{sign}{'' if strict else '='}{value}"
    for name, value in reversed(terms[:-1]):
        condition = (
            f"({name}{sign}={value} AND ({name}{sign}{value} OR ({name}={value} AND {condition})))"
        )
    return condition


def inside(table: Table, after: KeyValues | None, to: KeyValues | None) -> str:
    """A condition: the row is in the chunk (after, to]; None is an open end."""
    conditions = []
    if after is not None:
        conditions.append(above(table, after))
    if to is not None:
        conditions.append(up_to(table, to))
    return " AND ".join(conditions) or "TRUE"


def source_of(table: Table) -> str:
    """The table, read by its key whatever the statistics say."""
    if not table.key:
        return table.sql_name
    return f"{table.sql_name} FORCE INDEX ({identifier(table.key_name)})"


def order(table: Table) -> str:
    """By the key."""
    return ",".join(identifier(n) for n in table.key)
