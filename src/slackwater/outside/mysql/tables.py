"""Which tables a server has: columns and unique keys, of all of them in three statements."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from slackwater.facts.tables import Column, Table, UniqueKey, choose_key
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.session import Row, Session

# Not the application's; and ours, whose rows change all the time. Compared by their bytes: an
# application's own `Sys` is another schema.
_NOT_THEIRS = (
    "'mysql','information_schema','performance_schema','sys','slackwater','ndbinfo'"
)
_TABLES = (
    "SELECT TABLE_SCHEMA, TABLE_NAME, ENGINE, TABLE_ROWS FROM information_schema.TABLES"
    " WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')"
    f" AND CAST(TABLE_SCHEMA AS BINARY) NOT IN ({_NOT_THEIRS})"
    " ORDER BY TABLE_SCHEMA, TABLE_NAME"
)
_COLUMNS = (
    "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE,"
    " CHARACTER_SET_NAME, COLLATION_NAME, EXTRA, {generation} AS GENERATION_EXPRESSION"
    f" FROM information_schema.COLUMNS WHERE CAST(TABLE_SCHEMA AS BINARY) NOT IN ({_NOT_THEIRS})"
    " ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION"
)
# An index that is kept from the optimizer (MySQL's INVISIBLE, MariaDB's IGNORED) cannot be used by
# its name either. Older servers have no such column.
_VISIBILITY = (
    "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_NAME = 'STATISTICS'"
    " AND TABLE_SCHEMA = 'information_schema' AND COLUMN_NAME IN ('IS_VISIBLE', 'IGNORED')"
)
_KEYS = (
    "SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART"
    " FROM information_schema.STATISTICS"
    " WHERE {shown} AND NON_UNIQUE = 0 AND INDEX_TYPE = 'BTREE'"
    f" AND CAST(TABLE_SCHEMA AS BINARY) NOT IN ({_NOT_THEIRS})"
    " ORDER BY TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
)


async def tables(session: Session, *, limit_s: float = 30.0) -> dict[str, Table]:
    """All base tables of the application's schemas, by `schema.name`.

    Columns that are computed when they are read, and a system version's times, are left out.
    """
    kept = await session.value(_VISIBILITY, limit_s=limit_s)
    shown = {"IS_VISIBLE": "IS_VISIBLE = 'YES'", "IGNORED": "IGNORED = 'NO'"}.get(kept, "TRUE")
    computed = dialect(session.flavour).has_generated_columns
    asked = _COLUMNS.format(generation="GENERATION_EXPRESSION" if computed else "''")
    packet = ";".join((_TABLES, asked, _KEYS.format(shown=shown)))
    found, columns, keys = await session.many(packet, limit_s=limit_s)
    by_table: dict[tuple[str, str], list[Column]] = defaultdict(list)
    for row in columns:
        if _stored(row):
            by_table[_place(row)].append(_column(row))
    unique: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in keys:
        unique[_place(row)][row["INDEX_NAME"]].append(row)
    made = {}
    for row in found:
        place = _place(row)
        key = choose_key(
            (_key(name, parts) for name, parts in unique[place].items()),
            {c.name: c for c in by_table[place]},
        )
        table = Table(
            schema=row["TABLE_SCHEMA"], name=row["TABLE_NAME"], engine=row["ENGINE"] or "",
            rows=int(row["TABLE_ROWS"] or 0), columns=tuple(by_table[place]),
            key_name=key.name if key else "", key=key.columns if key else (),
        )
        made[table.full_name] = table
    return made


def _place(row: Row) -> tuple[str, str]:
    return row["TABLE_SCHEMA"], row["TABLE_NAME"]


def _stored(row: Row) -> bool:
    """Whether the column's value is data of its own, and the same on a replica."""
    extra = str(row["EXTRA"] or "").upper()
    times = str(row["GENERATION_EXPRESSION"] or "").upper() in ("ROW START", "ROW END")
    return "VIRTUAL" not in extra and not times


def _column(row: Row) -> Column:
    return Column(
        name=row["COLUMN_NAME"], type=str(row["DATA_TYPE"]).lower(),
        definition=_text(row["COLUMN_TYPE"]), nullable=row["IS_NULLABLE"] == "YES",
        charset=row["CHARACTER_SET_NAME"] or "", collation=row["COLLATION_NAME"] or "",
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _key(name: str, parts: list[Row]) -> UniqueKey:
    whole = all(p["COLUMN_NAME"] and p["SUB_PART"] is None for p in parts)
    return UniqueKey(name, tuple(p["COLUMN_NAME"] or "" for p in parts), whole)
