"""What happens to a value when a row event of one column type is applied to another.

The server compares what the binary log says of a column (kind, length in octets; neither charset
nor sign nor member names) with its own column, and converts if its settings allow it.
"""

from __future__ import annotations

from slackwater.facts.alter_column import INTEGERS, Column, ColumnType
from slackwater.facts.alter_link import Link
from slackwater.rules.alter.verdict import (
    LOSSY,
    NON_LOSSY,
    SAFE,
    UNSIGNED,
    Level,
    Side,
    comply,
    refused,
)

_WIDER = "rows are converted to a wider type"
_NARROWER = "rows are converted to a narrower type, and what does not fit is cut off in silence"
# Charsets whose every text has the same bytes in the other one.
_SAME_BYTES = {("ascii", "latin1"), ("ascii", "utf8mb3"), ("ascii", "utf8mb4"),
               ("utf8mb3", "utf8mb4"), ("utf8", "utf8mb4"), ("utf8", "utf8mb3"),
               ("utf8mb3", "utf8"), ("ascii", "utf8")}


def rows_into(source: Column, replica: Column, link: Link) -> Side:
    """Row events of `source` applied to `replica`, both of one name at the same place."""
    a, b = source.type, replica.type
    if a.compressed != b.compressed:
        return refused("rows of a COMPRESSED column are not converted to plain ones, nor back")
    if a.family != b.family:
        return _between_families(source, replica, link)
    if a.family == "integer":
        return _integers(a, b, link)
    if a.family in ("string", "bytes"):
        charset = _charset(source, replica, link)
        return charset if charset.level is Level.REFUSED else _strings(a, b).worse(charset)
    if a.family in ("enum", "set"):
        return _members(source, replica, link)
    if a.family == "decimal":
        return _decimals(a, b)
    if a.family == "float":
        return _floats(a, b)
    if a.family == "bit":
        return _widths(a.size, b.size)
    if source.full_type == replica.full_type:
        return SAFE
    return refused(f"rows of {source.full_type} cannot be applied to {replica.full_type}")


def _widths(source: int, replica: int) -> Side:
    if source == replica:
        return SAFE
    return _widen() if source < replica else _narrow()


def _widen() -> Side:
    return Side(Level.SETTING, _WIDER, frozenset({NON_LOSSY}))


def _narrow() -> Side:
    return Side(Level.SETTING, _NARROWER, frozenset({NON_LOSSY, LOSSY}))


def _between_families(source: Column, replica: Column, link: Link) -> Side:
    a, b = source.type, replica.type
    pair = {a.name, b.name}
    if {a.family, b.family} == {"string", "bytes"} and not pair & {"char", "binary"}:
        return _strings(a, b)  # the same bytes
    if link.mariadb and pair == {"date", "datetime"}:
        return _widen() if a.name == "date" else _narrow()
    return refused(f"no setting converts rows of {a.name} to {b.name}")


def _integers(a: ColumnType, b: ColumnType, link: Link) -> Side:
    side = _widths(INTEGERS[a.name], INTEGERS[b.name])
    if side is SAFE:
        return SAFE if a.unsigned == b.unsigned else comply(
            "the binary log does not tell signs: a value out of the other's range becomes another"
        )
    if a.unsigned != b.unsigned:
        if not link.mariadb:  # what is negative does not fit: a gate, or a check, says so
            return Side(side.level, side.why, side.modes | ({UNSIGNED} if a.unsigned else set()),
                        signed=not a.unsigned)
        return refused("the replica takes the sign for its own: large or negative values become "
                       "others in silence")
    if a.unsigned and not link.mariadb:
        return Side(side.level, side.why, side.modes | {UNSIGNED})
    return Side(side.level, side.why, side.modes, signed=not a.unsigned)


def _decimals(a: ColumnType, b: ColumnType) -> Side:
    if (a.size, a.scale, a.unsigned) == (b.size, b.scale, b.unsigned):
        return SAFE
    if a.unsigned != b.unsigned and (a.size, a.scale) == (b.size, b.scale):
        return SAFE if not b.unsigned else comply("a negative value cannot be applied")
    fits = a.size - a.scale <= b.size - b.scale and a.scale <= b.scale
    return _widen() if fits else _narrow()


def _floats(a: ColumnType, b: ColumnType) -> Side:
    if (a.name, a.size, a.scale) == (b.name, b.size, b.scale):
        return SAFE
    if (a.name, b.name) == ("float", "double"):
        return _widen()
    return refused("a DOUBLE that becomes a FLOAT and a DOUBLE again is another number")


def _charset(source: Column, replica: Column, link: Link) -> Side:
    if source.charset == replica.charset or not link.rows:
        return SAFE
    if (source.charset, replica.charset) in _SAME_BYTES:
        return SAFE
    if (replica.charset, source.charset) in _SAME_BYTES:
        return SAFE  # narrower; what does not fit is behind a gate, see rules/alter/charset.py
    return refused(f"bytes of {source.charset or 'binary'} are taken for "
                   f"{replica.charset or 'binary'}: other text, in silence")


def _strings(a: ColumnType, b: ColumnType) -> Side:
    if a.length_bytes and b.length_bytes:
        return _widths(a.length_bytes, b.length_bytes)
    side = _widths(a.octets, b.octets)
    if _kind(a) != _kind(b) and side is SAFE:
        side = _widen()
    if b.name in ("char", "binary") and a.name != b.name:
        side = side.worse(comply("CHAR drops spaces at the end, BINARY adds zero bytes"))
    return side


def _kind(kind: ColumnType) -> str:
    if kind.length_bytes:
        return "blob"
    return kind.name.replace("binary", "char")


def _members(source: Column, replica: Column, link: Link) -> Side:
    a, b = source.type, replica.type
    shorter = min(len(a.members), len(b.members))
    if a.members[:shorter] != b.members[:shorter]:
        return refused("rows have numbers of members: the same number is another member")
    if source.charset != replica.charset:
        return refused("the charset of its members differs")
    return _widths(a.pack_bytes, b.pack_bytes)
