"""The definitions of everything in a server's databases, read from one and made in another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from slackwater.errors import OutsideError
from slackwater.facts.quoting import identifier, literal
from slackwater.facts.setup import SYSTEM_SCHEMAS
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.row_text import Column, Table
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.outside.mysql.setup import MARKER, quoted
from slackwater.outside.mysql.setup_dialect import setup_dialect

# Servers' own, or each server's to decide.
_OWN_USERS = frozenset({"mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys", "root"})
_STATE = re.compile(
    r"(ON COMPLETION (?:NOT )?PRESERVE) (?:ENABLE|DISABLE(?: ON (?:SLAVE|REPLICA))?)")
# What a definition was made under counts when it is made again.
_UNDER = "SET SESSION sql_mode = %s, SESSION character_set_client = %s,"
_UNDER += " SESSION collation_connection = %s"
_UNDER_OURS = (
    "SET NAMES utf8mb4; SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'"
)
_EXISTS = frozenset({1396, 1007})
_NO_SUCH = frozenset({1146, 1356, 1305, 1049})


@dataclass(frozen=True)
class Made:
    """A stored program or view: how it is made, and under which settings."""

    schema: str
    name: str
    sql: str
    sql_mode: str = ""
    charset: str = "utf8mb4"
    collation: str = "utf8mb4_general_ci"
    zone: str = ""


async def tables(session: Session, schemas: Sequence[str]) -> list[Table]:
    """All base tables of these databases, the largest first; not our marker."""
    found: dict[tuple[str, str], int] = {}
    rows = await session.rows(
        "SELECT TABLE_SCHEMA AS S, TABLE_NAME AS T, COALESCE(DATA_LENGTH, 0) AS SIZE"
        f" FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND {_in(schemas)}",
        limit_s=120,
    )
    for row in rows:
        if f"{row['S']}.{row['T']}" != MARKER:
            found[str(row["S"]), str(row["T"])] = int(row["SIZE"])
    columns: dict[tuple[str, str], list[Column]] = {}
    stored = ("COALESCE(GENERATION_EXPRESSION, '') = ''"
              if dialect(session.flavour).has_generated_columns else "TRUE")
    rows = await session.rows(
        "SELECT TABLE_SCHEMA AS S, TABLE_NAME AS T, COLUMN_NAME AS C, DATA_TYPE AS K"
        f" FROM information_schema.COLUMNS WHERE {stored} AND {_in(schemas)}"
        " ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION",
        limit_s=120,
    )
    for row in rows:
        at = (str(row["S"]), str(row["T"]))
        columns.setdefault(at, []).append(Column(str(row["C"]), _text(row["K"])))
    made = [Table(s, t, size, tuple(columns[s, t])) for (s, t), size in found.items()]
    return sorted(made, key=lambda t: -t.size)


async def create_databases(source: Session, target: Session, schemas: Iterable[str]) -> None:
    """Make the databases, with their character sets."""
    for name in schemas:
        row = (await source.rows(f"SHOW CREATE DATABASE {identifier(name)}"))[0]
        sql = str(row["Create Database"]).replace("CREATE DATABASE ",
                                                  "CREATE DATABASE IF NOT EXISTS ", 1)
        await target.run(sql, limit_s=30)


async def create_table(source: Session, target: Session, table: Table) -> None:
    """Make one table, empty."""
    row = (await source.rows(f"SHOW CREATE TABLE {table.sql}", limit_s=30))[0]
    await target.run(f"USE {identifier(table.schema)}", limit_s=30)
    await target.run(_text(row["Create Table"]), limit_s=120)


async def copy_sequences(source: Session, target: Session, schemas: Sequence[str]) -> None:
    """MariaDB's sequences, to go on behind what the source may have given out."""
    rows = await source.rows(
        "SELECT TABLE_SCHEMA AS S, TABLE_NAME AS T FROM information_schema.TABLES"
        f" WHERE TABLE_TYPE = 'SEQUENCE' AND {_in(schemas)}", limit_s=60)
    for row in rows:
        name = f"{identifier(str(row['S']))}.{identifier(str(row['T']))}"
        made = (await source.rows(f"SHOW CREATE SEQUENCE {name}"))[0]
        await target.run(f"USE {identifier(str(row['S']))}")
        await target.run(_text(made["Create Table"]), limit_s=30)
        now = (await source.rows(
            f"SELECT next_not_cached_value AS N, cycle_count AS C FROM {name}"))[0]
        await target.run(f"DO SETVAL({name}, {int(now['N'])}, 0, {int(now['C'])})", limit_s=30)


async def programs(source: Session, schemas: Sequence[str]) -> list[Made]:
    """Routines, views, triggers and events, in the order in which they can be made."""
    found: list[Made] = []
    rows = await source.rows(
        "SELECT ROUTINE_SCHEMA AS S, ROUTINE_NAME AS N, ROUTINE_TYPE AS K"
        f" FROM information_schema.ROUTINES WHERE {_in(schemas, 'ROUTINE_SCHEMA')}", limit_s=60)
    for row in rows:
        kind = str(row["K"])
        found.append(await _shown(source, kind, str(row["S"]), str(row["N"]),
                                  f"Create {kind.capitalize()}"))
    rows = await source.rows(
        "SELECT TABLE_SCHEMA AS S, TABLE_NAME AS N FROM information_schema.VIEWS"
        f" WHERE {_in(schemas)}", limit_s=60)
    found += [await _shown(source, "VIEW", str(r["S"]), str(r["N"]), "Create View") for r in rows]
    rows = await source.rows(
        "SELECT TRIGGER_SCHEMA AS S, TRIGGER_NAME AS N FROM information_schema.TRIGGERS"
        f" WHERE {_in(schemas, 'TRIGGER_SCHEMA')}"
        " ORDER BY EVENT_OBJECT_TABLE, EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER", limit_s=60)
    found += [await _shown(source, "TRIGGER", str(r["S"]), str(r["N"]), "SQL Original Statement")
              for r in rows]
    rows = await source.rows(
        "SELECT EVENT_SCHEMA AS S, EVENT_NAME AS N FROM information_schema.EVENTS"
        f" WHERE {_in(schemas, 'EVENT_SCHEMA')}", limit_s=60)
    found += [await _shown(source, "EVENT", str(r["S"]), str(r["N"]), "Create Event") for r in rows]
    return found


async def _shown(source: Session, kind: str, schema: str, name: str, column: str) -> Made:
    row = (await source.rows(f"SHOW CREATE {kind} {identifier(schema)}.{identifier(name)}",
                             limit_s=30))[0]
    if row[column] is None:
        raise OutsideError(source.at.where, f"the definition of {schema}.{name} is not shown to "
                           f"{source.at.user}", sent=False, hint="it needs SELECT on mysql.*")
    return Made(schema, name, _text(row[column]), str(row.get("sql_mode") or ""),
                str(row["character_set_client"]), str(row["collation_connection"]),
                str(row.get("time_zone") or ""))


async def make_programs(
    target: Session, wanted: Sequence[Made], unmade: dict[str, str] | None = None
) -> None:
    """Make them; what needs another of them is tried again after it. Events do not run here: the
    active server runs them. What needs something that is not there is an error, or with `unmade`
    goes there by its name, with the reason."""
    off = setup_dialect(target.flavour).disabled_event
    left = list(wanted)
    while left:
        failed: list[Made] = []
        whys: list[MysqlError] = []
        for each in left:
            sql = _STATE.sub(rf"\1 {off}", each.sql) if each.zone else each.sql
            try:
                await target.run(f"USE {identifier(each.schema)}")
                await target.run(_UNDER, each.sql_mode, each.charset, each.collation)
                if each.zone:
                    await target.run("SET SESSION time_zone = %s", each.zone)
                await target.run(sql, limit_s=30)
            except MysqlError as error:
                if error.code not in _NO_SUCH:
                    raise
                failed.append(each)
                whys.append(error)
            finally:
                if target.broken is None:
                    await target.many(f"{_UNDER_OURS}; SET SESSION time_zone = '+00:00'")
        if failed and len(failed) == len(left):
            if unmade is None:
                raise whys[-1]
            unmade |= {f"{m.schema}.{m.name}": w.text for m, w in zip(failed, whys, strict=True)}
            return
        left = failed


async def copy_accounts(source: Session, target: Session) -> list[str]:
    """Accounts that only the source has, with their privileges; their names.

    Those of the same name on both stay as they are, and root is each server's own.
    """
    speaks = setup_dialect(source.flavour)
    if speaks.print_hashes:
        await source.run(speaks.print_hashes)
    has = {(str(r["USER"]), str(r["HOST"])) for r in await target.rows(speaks.users)}
    theirs = [(str(r["USER"]), str(r["HOST"]), bool(r["ROLE"]))
              for r in await source.rows(speaks.users)]
    new = [(u, h, role) for u, h, role in theirs if (u, h) not in has and u not in _OWN_USERS]
    for user, host, role in new:
        if role:
            await target.run(f"CREATE ROLE IF NOT EXISTS {identifier(user)}", limit_s=10)
            continue
        if not speaks.shows_create_user:
            continue  # its first line below makes it
        row = (await source.rows(f"SHOW CREATE USER {quoted(user, host)}"))[0]
        sql = _text(next(iter(row.values())))
        await target.run(sql.replace("CREATE USER ", "CREATE USER IF NOT EXISTS ", 1), limit_s=10)
    for user, host, role in new:
        name = identifier(user) if role else quoted(user, host)
        for row in await source.rows(f"SHOW GRANTS FOR {name}"):
            await target.run(_text(next(iter(row.values()))), limit_s=10)
    return sorted(f"{user}@{host}" for user, host, _ in new)


async def drop_databases(target: Session) -> None:
    """Throw all databases of people away, and ours but for the marker."""
    rows = await target.rows("SELECT SCHEMA_NAME AS S FROM information_schema.SCHEMATA")
    ours = MARKER.split(".")
    for row in rows:
        name = str(row["S"])
        if name.lower() not in (*SYSTEM_SCHEMAS, ours[0]):
            await target.run(f"DROP DATABASE IF EXISTS {identifier(name)}", limit_s=600)
    rows = await target.rows(
        "SELECT TABLE_NAME AS T FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s"
        " AND TABLE_TYPE = 'BASE TABLE'", ours[0])
    for row in rows:
        if str(row["T"]) != ours[1]:
            await target.run(f"DROP TABLE IF EXISTS {ours[0]}.{identifier(str(row['T']))}",
                             limit_s=60)


def _in(schemas: Sequence[str], column: str = "TABLE_SCHEMA") -> str:
    names = ",".join(map(literal, schemas))
    return f"{column} IN ({names or 'NULL'})"


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
