"""What a rehearsal asks of servers: a schema to load, statements, a replica that skips, rows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from slackwater.errors import OutsideError
from slackwater.facts import statement_text
from slackwater.facts.quoting import identifier, literal
from slackwater.facts.rehearsal import Error
from slackwater.facts.replication import ReplicaStatus
from slackwater.facts.setup import SYSTEM_SCHEMAS
from slackwater.facts.statement_log import Entry
from slackwater.outside.mysql import schema_copy
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.logical_copy import for_data
from slackwater.outside.mysql.row_text import Column, Table
from slackwater.outside.mysql.schema import PREFIX
from slackwater.outside.mysql.schema_copy import Made
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.outside.mysql.setup import MARKER
from slackwater.outside.mysql.setup_dialect import skipping_replica

LIMIT_S = 60.0
_OURS = ("slackwater",)
_FOREIGN_KEYS = "innodb_native_foreign_keys"  # set at the start only
# What decides how statements are understood, run and logged; a server has some of them.
SETTINGS = (
    "sql_mode", "character_set_server", "collation_server", "explicit_defaults_for_timestamp",
    "default_storage_engine", "innodb_strict_mode", "innodb_default_row_format",
    "group_concat_max_len", "slave_run_triggers_for_rbr", "binlog_row_image", "binlog_format",
    "auto_increment_increment", "auto_increment_offset", "div_precision_increment", "time_zone",
    "sql_auto_is_null", "lc_time_names", "default_week_format", "old_mode",
    "character_set_collations", "binlog_row_metadata", "binlog_row_value_options",
    "sql_require_primary_key", "sql_generate_invisible_primary_key", _FOREIGN_KEYS,
    "restrict_fk_on_non_standard_key", "lower_case_table_names", "max_sp_recursion_depth",
)
# They hold for what is made from now on: the tables of the pair may be older.
_NOT_FOR_OLD = ("innodb_strict_mode", "sql_require_primary_key",
                "sql_generate_invisible_primary_key", "restrict_fk_on_non_standard_key")
# What clients' sessions run first; not those of root, as whom we run.
INIT_CONNECT = "init_connect"
# An account, or a role of MariaDB.
_DEFINER = re.compile(r"\bDEFINER\s*=\s*(?:`[^`]*`|'[^']*'|\w+)"
                      r"(?:\s*@\s*(?:`[^`]*`|'[^']*'|[\w.%]+))?", re.IGNORECASE)
_PLACED = re.compile(r"\s(?:DATA|INDEX) DIRECTORY\s*=\s*'[^']*'", re.IGNORECASE)
_ENGINE = re.compile(r"^\)[^\n]*?\bENGINE\s*=\s*(\w+)", re.IGNORECASE | re.MULTILINE)
_WORKER = re.compile(r"^Worker \d+ failed executing transaction '[^']*' at .*?end_log_pos \d+;? *")
_NO_COLUMN = frozenset({1054, 1109, 1142, 1146})


@dataclass
class Schema:
    """Everything that databases are made of. `databases`: CREATE DATABASE of each; `tables`: in
    one of them; `rows`: INSERTs, a sample; `programs`: views, routines, triggers and events."""

    databases: dict[str, str] = field(default_factory=dict)
    tables: list[Made] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list)
    programs: list[Made] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def anonymous(sql: str) -> str:
    """A definition without its DEFINER: the throwaway servers have no such account."""
    return _DEFINER.sub("", sql)


async def read_schema(session: Session, *, sample: int) -> Schema:
    """All databases of people. Reads only; `sample`: rows of each table, 0 for none."""
    names, found = await _databases(session), Schema()
    for name in names:
        row = (await session.rows(f"SHOW CREATE DATABASE {identifier(name)}"))[0]
        found.databases[name] = str(row["Create Database"])
    tables = await schema_copy.tables(session, names)
    others = await session.rows(
        "SELECT TABLE_SCHEMA AS S, TABLE_NAME AS T FROM information_schema.TABLES WHERE TABLE_TYPE"
        " IN ('SEQUENCE', 'SYSTEM VERSIONED')", limit_s=LIMIT_S)  # MariaDB's; defaults need them
    wanted = [(str(r["S"]), str(r["T"])) for r in others if r["S"] in names]
    versioned = await _stored(session, names, "SYSTEM VERSIONED", generated=False)
    for schema, name in (*wanted, *((t.schema, t.name) for t in tables)):
        row = (await session.rows(f"SHOW CREATE TABLE {identifier(schema)}.{identifier(name)}",
                                  limit_s=LIMIT_S))[0]
        found.tables.append(Made(schema, name, _PLACED.sub("", str(row["Create Table"]))))
    try:
        made = await schema_copy.programs(session, names)
        found.programs = [dataclasses.replace(m, sql=anonymous(m.sql)) for m in made]
    except OutsideError as error:
        found.notes.append(f"views, routines and triggers were left out: {error}")
    if sample:
        await for_data(session)
        try:
            for table in (*tables, *versioned):
                found.rows += await _sample(session, table, sample)
        finally:
            await session.run("SET NAMES utf8mb4")
    return found


async def _databases(session: Session) -> list[str]:
    rows = await session.rows("SELECT SCHEMA_NAME AS S FROM information_schema.SCHEMATA")
    return [str(r["S"]) for r in rows
            if str(r["S"]).lower() not in (*SYSTEM_SCHEMAS, *_OURS, "test")
            and not str(r["S"]).startswith(PREFIX)]


async def _sample(session: Session, table: Table, most: int) -> list[bytes]:
    rows = await session.rows(f"{table.select} LIMIT {int(most)}", limit_s=LIMIT_S)
    values = [v for row in rows if (v := next(iter(row.values()))) is not None]
    texts = [v if isinstance(v, bytes) else str(v).encode() for v in values]
    return [table.insert + text for text in texts]


async def load(session: Session, schema: Schema) -> dict[str, str]:
    """Make all of it on a throwaway server, past its binary log, in place of what was there; the
    programs that cannot be made, as a view of a table that is gone, and why."""
    await session.run("SET SESSION foreign_key_checks = 0, SESSION sql_mode ="
                      " 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'")
    has = await settings(session)
    strict = [name for name in _NOT_FOR_OLD if name in has]
    for name in strict:
        await session.run(f"SET SESSION {name} = 0")
    for name, sql in schema.databases.items():
        await session.run(f"DROP DATABASE IF EXISTS {identifier(name)}", limit_s=LIMIT_S)
        await session.run(sql, limit_s=LIMIT_S)
    for table in schema.tables:
        await session.run(f"USE {identifier(table.schema)}")
        await session.run(table.sql, limit_s=LIMIT_S)
    for name in strict:
        await session.run(f"SET SESSION {name} = @@GLOBAL.{name}")
    if schema.rows:
        await for_data(session)
        for insert in schema.rows:
            await session.run(insert, limit_s=LIMIT_S)
        await session.run("SET NAMES utf8mb4")
    unmade: dict[str, str] = {}
    await schema_copy.make_programs(session, schema.programs, unmade)
    return unmade


async def other_engines(session: Session, schema: Schema) -> list[str]:
    """Tables of an engine that this server has not: it took its default for them."""
    rows = await session.rows(
        "SELECT TABLE_SCHEMA AS S, TABLE_NAME AS T, ENGINE AS E FROM information_schema.TABLES"
        " WHERE TABLE_TYPE <> 'VIEW'", limit_s=LIMIT_S)
    has = {(str(r["S"]), str(r["T"])): str(r["E"]) for r in rows}
    found = []
    for table in schema.tables:
        asked = _ENGINE.findall(table.sql)
        engine = has.get((table.schema, table.name), "")
        if asked and engine and asked[-1].lower() != engine.lower():
            found.append(f"{table.schema}.{table.name} is {engine} here: the throwaway servers "
                         f"have no {asked[-1]}")
    return found


async def settings(session: Session) -> dict[str, str]:
    """Those of SETTINGS that the server has."""
    names = ",".join(f"'{n}'" for n in (*SETTINGS, INIT_CONNECT))
    rows = await session.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")
    return {str(r["Variable_name"]).lower(): str(r["Value"]) for r in rows}


async def take_settings(session: Session, wanted: Mapping[str, str]) -> list[str]:
    """Set them globally; those that this server does not take, as `name = value`."""
    failed = []
    for name, value in wanted.items():
        if name not in SETTINGS:
            continue
        number = value.isdigit()
        try:
            await session.run(f"SET GLOBAL {name} = %s", int(value) if number else value)
        except MysqlError:
            if (await settings(session)).get(name) != value:
                failed.append(f"{name} = {value}")
    return failed


async def kept_children(session: Session, schemas: Sequence[str]) -> dict[str, str]:
    """Tables, as `database.table`, whose rows a REPLACE of their parents (the values) leaves alone
    on the source, though their foreign key says otherwise, and which the replica deletes or clears:
    so does a MySQL that has no native foreign keys (9.6 and newer by default; seen on 9.7.4)."""
    if (await settings(session)).get(_FOREIGN_KEYS) != "OFF":
        return {}
    inside = ",".join(literal(s) for s in schemas) or "NULL"
    rows = await session.rows(
        "SELECT CONSTRAINT_SCHEMA AS S, TABLE_NAME AS T, REFERENCED_TABLE_NAME AS P FROM"
        " information_schema.REFERENTIAL_CONSTRAINTS WHERE DELETE_RULE IN ('CASCADE', 'SET NULL')"
        f" AND CONSTRAINT_SCHEMA IN ({inside})", limit_s=LIMIT_S)
    return {f"{r['S']}.{r['T']}": str(r["P"]) for r in rows}


async def forgotten(session: Session) -> int:
    """How many statements were run that performance_schema had no place for."""
    rows = await session.rows("SHOW GLOBAL STATUS LIKE 'Performance_schema_digest_lost'")
    return int(rows[0]["Value"]) if rows else 0


async def digests(session: Session) -> list[Entry]:
    """A sample of each statement that the server remembers, writes of rows first; [] for a server
    that keeps no samples (MariaDB, MySQL before 8.0)."""
    people = await _databases(session)
    try:
        rows = await session.rows(
            "SELECT SCHEMA_NAME AS S, DIGEST_TEXT AS D, QUERY_SAMPLE_TEXT AS T"
            " FROM performance_schema.events_statements_summary_by_digest"
            " WHERE QUERY_SAMPLE_TEXT IS NOT NULL ORDER BY FIRST_SEEN", limit_s=LIMIT_S)
    except MysqlError as error:
        if error.code not in _NO_COLUMN:
            raise
        return []
    # Without a default database it is an application's if it names a table of people.
    found = [("", str(r["S"] or ""), str(r["T"])) for r in rows
             if r["S"] in people or (r["S"] is None and any(f"`{n}` ." in str(r["D"])
                                                            for n in people))]
    return sorted(found, key=lambda f: not f[2].lstrip().upper().startswith(("INSERT", "REPLACE")))


# --- a replica that skips what it cannot apply ------------------------------------------------


async def follow(source: Session, replica: Session, port: int, password: str) -> None:
    """Have the replica follow from now on, by an account that is made for it."""
    await source.run("SET SESSION sql_log_bin = 0")
    await source.run("CREATE USER rehearsal@'127.0.0.1' IDENTIFIED BY %s", password)
    await source.run("GRANT REPLICATION SLAVE ON *.* TO rehearsal@'127.0.0.1'")
    await source.run("SET SESSION sql_log_bin = 1")
    file, offset = await position(source)
    words = skipping_replica(replica.flavour)
    await replica.run(words.follow, port, "rehearsal", password, file, offset, limit_s=LIMIT_S)
    await replica.run(dialect(replica.flavour).start_replica.replace("ALL SLAVES", "SLAVE"),
                      limit_s=LIMIT_S)


async def position(source: Session) -> tuple[str, int]:
    """Where its binary log ends: file and offset."""
    row = (await source.rows(dialect(source.flavour).binlog_status))[0]
    return str(row["File"]), int(row["Position"])


async def restart_applier(replica: Session, *between: str) -> None:
    """Stop it, run statements, and start it again."""
    speaks = dialect(replica.flavour)
    await replica.run(speaks.stop_replica.replace("ALL SLAVES", "SLAVE"), limit_s=LIMIT_S)
    for statement in between:
        await replica.run(statement)
    await replica.run(speaks.start_replica.replace("ALL SLAVES", "SLAVE"), limit_s=LIMIT_S)


async def arrive(source: Session, replica: Session, *, limit_s: float) -> list[Error]:
    """Wait until everything is applied; what stopped the replica meanwhile was skipped, each a
    transaction. Raises OutsideError at the limit."""
    words, errors = skipping_replica(replica.flavour), list[Error]()
    file, offset = await position(source)
    while True:
        waited = await replica.value(words.wait, file, offset, limit_s, limit_s=limit_s + 5)
        if waited is not None and int(waited) >= 0:
            return errors
        error = await _stopped(replica)
        if error is None or len(errors) >= 50:
            raise OutsideError(replica.at.where, f"it did not apply all within {limit_s:g} s",
                               sent=False)
        errors.append(error)
        await restart_applier(replica, words.skip)


async def _stopped(replica: Session) -> Error | None:
    rows = await replica.rows(dialect(replica.flavour).replica_status)
    if not rows:
        return None
    status = {k.replace("Source", "Master").replace("Replica", "Slave"): v
              for k, v in rows[0].items()}
    if int(status.get("Last_IO_Errno") or 0):
        raise OutsideError(replica.at.where, ReplicaStatus.parse(rows[0]).errors[0], sent=False)
    if number := int(status.get("Last_SQL_Errno") or 0):
        if not replica.flavour.mariadb:  # MySQL's coordinator knows only that a worker failed
            rows = await replica.rows(
                "SELECT LAST_ERROR_NUMBER AS N, LAST_ERROR_MESSAGE AS T FROM performance_schema."
                "replication_applier_status_by_worker WHERE LAST_ERROR_NUMBER > 0")
            if rows:
                said = _WORKER.sub("", str(rows[0]["T"]))
                return Error(int(rows[0]["N"]), statement_text.words(said))
        return Error(number, statement_text.words(str(status["Last_SQL_Error"])))
    return None


# --- rows ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """How a table's rows are told apart: its columns, and those of its key (all without one)."""

    table: Table
    key: tuple[str, ...]


async def grids(session: Session, schemas: Sequence[str]) -> dict[str, Grid]:
    """All tables of databases by `database.table`."""
    keys: dict[str, list[str]] = {}
    rows = await session.rows(
        "SELECT TABLE_SCHEMA AS S, TABLE_NAME AS T, COLUMN_NAME AS C FROM"
        " information_schema.STATISTICS WHERE INDEX_NAME = 'PRIMARY'"
        " ORDER BY TABLE_SCHEMA, TABLE_NAME, SEQ_IN_INDEX", limit_s=LIMIT_S)
    for row in rows:
        keys.setdefault(f"{row['S']}.{row['T']}", []).append(str(row["C"]))
    found = {}
    for table in await _stored(session, schemas, "BASE TABLE", "SYSTEM VERSIONED", generated=True):
        name = f"{table.schema}.{table.name}"
        found[name] = Grid(table, tuple(keys.get(name, [c.name for c in table.columns])))
    return found


async def _stored(
    session: Session, schemas: Sequence[str], *kinds: str, generated: bool
) -> list[Table]:
    """Tables of these kinds with what is stored in them. A value that is `generated` and stored
    may differ as any other; when a row of a versioned table began, does."""
    inside = ",".join(literal(s) for s in schemas) or "NULL"
    rows = await session.rows(
        "SELECT c.TABLE_SCHEMA AS S, c.TABLE_NAME AS T, c.COLUMN_NAME AS C, c.DATA_TYPE AS K FROM"
        " information_schema.COLUMNS c JOIN information_schema.TABLES t USING (TABLE_SCHEMA,"
        f" TABLE_NAME) WHERE t.TABLE_TYPE IN ({','.join(map(literal, kinds))})"
        f" AND c.TABLE_SCHEMA IN ({inside}) AND (COALESCE(c.GENERATION_EXPRESSION, '') = ''"
        f" OR ({int(generated)} AND c.EXTRA REGEXP 'STORED|PERSISTENT'"
        " AND c.GENERATION_EXPRESSION NOT IN ('ROW START', 'ROW END')))"
        " ORDER BY c.TABLE_SCHEMA, c.TABLE_NAME, c.ORDINAL_POSITION", limit_s=LIMIT_S)
    columns: dict[tuple[str, str], list[Column]] = {}
    for row in rows:
        kind = row["K"].decode() if isinstance(row["K"], bytes) else str(row["K"])
        columns.setdefault((str(row["S"]), str(row["T"])), []).append(Column(str(row["C"]), kind))
    return [Table(s, t, 0, tuple(c)) for (s, t), c in columns.items() if f"{s}.{t}" != MARKER]


async def rows_of(session: Session, grid: Grid) -> dict[str, dict[str, str]]:
    """Every row of a (small) table by its key: the value of each column as the server's literal.
    Rows without a key that are the same are numbered."""
    asked = ",".join(f"CAST({c.sql} AS BINARY) AS c{n}" for n, c in enumerate(grid.table.columns))
    names = [c.name for c in grid.table.columns]
    found: dict[str, dict[str, str]] = {}
    # Literals that are bytes, as for_data: MySQL 8 puts no others together with bytes.
    said = await session.many(
        f"SET SESSION collation_connection = 'binary'; SELECT {asked} FROM {grid.table.sql};"
        "SET NAMES utf8mb4", limit_s=LIMIT_S)
    for row in said[1]:
        values = dict(zip(names, map(_shown, row.values()), strict=True))
        key = ", ".join(f"{n}={values[n]}" for n in grid.key if n in values)
        same = 2
        while key in found:
            key, same = f"{key.partition(' #')[0]} #{same}", same + 1
        found[key] = values
    return found


def _shown(value: object) -> str:
    if not isinstance(value, bytes):
        return "NULL" if value is None else str(value)
    return value.removeprefix(b"_binary").removeprefix(b"_utf8mb4").decode(
        errors="backslashreplace")
