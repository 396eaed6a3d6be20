"""Table definitions as a server tells them, and empty copies of tables in a scratch schema.

The scratch schema is never in the binary log. It belongs to a session by an advisory lock of the
same name: one whose lock is free was left by a process that died, and the next one drops it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from slackwater.facts.alter_program import StoredProgram
from slackwater.facts.alter_table import COUNTER, SchemaRows, TableDef, TableSize, tables
from slackwater.facts.quoting import identifier, literal
from slackwater.facts.setup import OWN_SCHEMA, SYSTEM_SCHEMAS
from slackwater.outside.mysql.session import MysqlError, Row, Session

PREFIX = "slackwater_lint_"
LOCK_WAIT_S = 2
STATEMENT_LIMIT_S = 30.0
_NOT_PEOPLES = ",".join(map(literal, (*SYSTEM_SCHEMAS, OWN_SCHEMA)))
_NO_SUCH_TABLE = frozenset({1109, 1146, 1051})
_PLACED = re.compile(r"\s(?:DATA|INDEX) DIRECTORY\s*=\s*'[^']*'", re.IGNORECASE)
# The lexer of facts/alter_script reads files as a server does without these.
_OTHER_LEXER = ("ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "ANSI")


async def user_schemas(session: Session, *, limit_s: float = 10.0) -> list[str]:
    """Databases that hold somebody's tables."""
    rows = await session.rows(
        "SELECT DISTINCT TABLE_SCHEMA AS S FROM information_schema.TABLES WHERE TABLE_TYPE IN"
        f" ('BASE TABLE', 'SYSTEM VERSIONED') AND TABLE_SCHEMA NOT IN ({_NOT_PEOPLES})",
        limit_s=limit_s)
    return sorted(str(r["S"]) for r in rows if not str(r["S"]).startswith(PREFIX))


async def all_schemas(session: Session, *, limit_s: float = 10.0) -> list[str]:
    """Every database that this account is shown, also empty ones."""
    rows = await session.rows("SHOW DATABASES", limit_s=limit_s)
    return [str(next(iter(row.values()))) for row in rows]


async def table_names(session: Session, schema: str, *, limit_s: float = 10.0) -> list[str]:
    """Its base tables."""
    rows = await session.rows(
        "SELECT TABLE_NAME AS N FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND"
        " TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY 1", schema, limit_s=limit_s)
    return [str(r["N"]) for r in rows]


async def other_names(session: Session, schema: str, *, limit_s: float = 10.0) -> dict[str, str]:
    """What has a name that a new table cannot have, and is no table: its kind by its name."""
    rows = await session.rows(
        "SELECT TABLE_NAME AS N, TABLE_TYPE AS K FROM information_schema.TABLES"
        " WHERE TABLE_SCHEMA = %s AND TABLE_TYPE IN ('VIEW', 'SEQUENCE')", schema, limit_s=limit_s)
    return {str(r["N"]): str(r["K"]).lower() for r in rows}


async def constraint_tables(
    session: Session, schema: str, names: Iterable[str], *, limit_s: float = 10.0
) -> set[str]:
    """The tables that have a constraint of one of these names: most servers take it only once in
    a database."""
    wanted = {n.lower() for n in names}
    rows = await session.rows(
        "SELECT TABLE_NAME AS T, CONSTRAINT_NAME AS N FROM information_schema.TABLE_CONSTRAINTS"
        " WHERE TABLE_SCHEMA = %s AND CONSTRAINT_TYPE IN ('FOREIGN KEY', 'CHECK')",
        schema, limit_s=limit_s)
    return {str(r["T"]) for r in rows if str(r["N"]).lower() in wanted}


async def texts(
    session: Session, schema: str, names: Sequence[str], *, limit_s: float = STATEMENT_LIMIT_S
) -> dict[str, str]:
    """SHOW CREATE TABLE of tables, without their counters; "" for one that is not there."""
    found = {}
    for name in names:
        try:
            rows = await session.rows(f"SHOW CREATE TABLE {identifier(schema)}.{identifier(name)}",
                                      limit_s=limit_s)
        except MysqlError as error:
            if error.code not in _NO_SUCH_TABLE:
                raise
            rows = []
        found[name] = COUNTER.sub("", str(rows[0].get("Create Table", ""))) if rows else ""
    return found


async def relatives(
    session: Session, schema: str, names: Iterable[str], *, limit_s: float = 10.0
) -> tuple[set[str], set[str]]:
    """Tables that these refer to or are referred to by, in the schema; and other databases that
    are on either end of such a foreign key."""
    wanted = {n.lower() for n in names}
    rows = await session.rows(
        "SELECT DISTINCT TABLE_SCHEMA AS S, TABLE_NAME AS N, REFERENCED_TABLE_SCHEMA AS RS,"
        " REFERENCED_TABLE_NAME AS RN FROM information_schema.KEY_COLUMN_USAGE"
        " WHERE REFERENCED_TABLE_NAME IS NOT NULL AND (TABLE_SCHEMA = %s OR"
        " REFERENCED_TABLE_SCHEMA = %s)", schema, schema, limit_s=limit_s)
    found, foreign = set[str](), set[str]()
    for row in rows:
        child, parent = (str(row["S"]), str(row["N"])), (str(row["RS"]), str(row["RN"]))
        for one, other in ((child, parent), (parent, child)):
            if one[0] == schema and one[1].lower() in wanted:
                (found if other[0] == schema else foreign).add(
                    other[1] if other[0] == schema else other[0])
    return found, foreign


async def definitions(
    session: Session, schema: str, *, limit_s: float = STATEMENT_LIMIT_S
) -> dict[str, TableDef]:
    """Every base table of a schema; meant for a scratch schema with a few tables."""
    names = await table_names(session, schema, limit_s=limit_s)
    own = f"'{schema}'" if schema.replace("_", "").isalnum() else "DATABASE()"
    queries = [
        f"SELECT * FROM information_schema.{view} WHERE {column} = {own}"
        for view, column in (
            ("TABLES", "TABLE_SCHEMA"), ("COLUMNS", "TABLE_SCHEMA"),
            ("STATISTICS", "TABLE_SCHEMA"), ("KEY_COLUMN_USAGE", "TABLE_SCHEMA"),
            ("REFERENTIAL_CONSTRAINTS", "CONSTRAINT_SCHEMA"), ("TRIGGERS", "TRIGGER_SCHEMA"),
            ("PARTITIONS", "TABLE_SCHEMA"),
        )
    ]
    shows = [f"SHOW CREATE TABLE {identifier(schema)}.{identifier(n)}" for n in names]
    answers = await session.many(";".join([*queries, *shows]), limit_s=limit_s)
    (table_rows, columns, statistics, usage, referential, triggers, partitions), texts = (
        answers[: len(queries)], answers[len(queries) :])
    rows = SchemaRows(
        tables=table_rows, columns=columns, statistics=statistics, key_usage=usage,
        referential=referential, checks=await _checks(session, own, limit_s), triggers=triggers,
        partitions=partitions,
        texts={n: str(t[0]["Create Table"]) for n, t in zip(names, texts, strict=True)},
    )
    return tables(rows, mariadb=session.flavour.mariadb)


async def _checks(session: Session, schema: str, limit_s: float) -> Sequence[Row]:
    if session.flavour.mariadb:
        sql = ("SELECT * FROM"
               f" information_schema.CHECK_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = {schema}")
    else:
        sql = ("SELECT t.TABLE_NAME, c.CONSTRAINT_NAME, CONCAT(c.CHECK_CLAUSE, IF(t.ENFORCED ="
               " 'YES', '', ' NOT ENFORCED')) AS CHECK_CLAUSE FROM"
               " information_schema.CHECK_CONSTRAINTS c JOIN information_schema.TABLE_CONSTRAINTS t"
               " USING (CONSTRAINT_SCHEMA, CONSTRAINT_NAME)"
               f" WHERE c.CONSTRAINT_SCHEMA = {schema}")
    try:
        return await session.rows(sql, limit_s=limit_s)
    except MysqlError as error:
        if error.code not in _NO_SUCH_TABLE:  # MySQL 5.7 has no checks
            raise
        return []


async def sizes(
    session: Session, schema: str, names: Iterable[str], *, limit_s: float = 10.0
) -> dict[str, TableSize]:
    """What real tables take, as the server estimates it."""
    found = {}
    for name in names:
        rows = await session.rows(
            "SELECT TABLE_ROWS AS R, DATA_LENGTH AS D, INDEX_LENGTH AS I FROM"
            " information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
            schema, name, limit_s=limit_s)
        if rows:
            count, data, indexes = (int(rows[0][k] or 0) for k in ("R", "D", "I"))
            found[name] = TableSize(name, count, data, indexes)
    return found


async def privately(session: Session, *, limit_s: float = 5.0) -> str:
    """Make this session one whose DDL nobody else gets: no binary log, short lock waits. Returns
    the sql_mode in which a client's statements are to be run."""
    if int(await session.value("SELECT @@GLOBAL.log_bin", limit_s=limit_s) or 0):
        await session.run("SET SESSION sql_log_bin = 0", limit_s=limit_s)
    await session.run(f"SET SESSION lock_wait_timeout = {LOCK_WAIT_S}", limit_s=limit_s)
    return await file_mode(session, limit_s=limit_s)


async def file_mode(session: Session, *, limit_s: float = 5.0) -> str:
    """The server's own sql_mode, as far as a file of statements is read in it: here and by us a
    quote is a quote, also where the server would have "x" be a name."""
    modes = str(await session.value("SELECT @@GLOBAL.sql_mode", limit_s=limit_s))
    return ",".join(m for m in modes.split(",") if m not in _OTHER_LEXER)


async def left_behind(session: Session, *, limit_s: float = 10.0) -> list[str]:
    """Scratch schemas whose owner is dead. Their locks are ours now."""
    return [name for name in await _scratches(session, limit_s)
            if int(await session.value("SELECT GET_LOCK(%s, 0)", name, limit_s=limit_s) or 0)]


async def without_owner(session: Session, *, limit_s: float = 10.0) -> list[str]:
    """Scratch schemas whose owner is dead; it only looks."""
    return [name for name in await _scratches(session, limit_s)
            if int(await session.value("SELECT IS_FREE_LOCK(%s)", name, limit_s=limit_s) or 0)]


async def _scratches(session: Session, limit_s: float) -> list[str]:
    like = PREFIX.replace("_", r"\_") + "%"
    rows = await session.rows(f"SHOW DATABASES LIKE '{like}'", limit_s=limit_s)
    return [str(next(iter(row.values()))) for row in rows]


async def default_collation(session: Session, schema: str, *, limit_s: float = 10.0) -> str:
    """What a table of this schema gets that says nothing of it; "" without such a schema."""
    return str(await session.value(
        "SELECT MAX(DEFAULT_COLLATION_NAME) FROM information_schema.SCHEMATA"
        " WHERE SCHEMA_NAME = %s", schema, limit_s=limit_s) or "")


async def create_scratch(
    session: Session, name: str, *, like: str, limit_s: float = 10.0
) -> None:
    """An empty schema, by its lock ours, and the session's own from now on; with the default
    collation of `like`."""
    await session.value("SELECT GET_LOCK(%s, 0)", name, limit_s=limit_s)
    collation = await default_collation(session, like, limit_s=limit_s)
    await session.run(f"CREATE DATABASE {identifier(name)}"
                      + (f" COLLATE {collation}" if collation else ""), limit_s=limit_s)
    await session.run(f"USE {identifier(name)}", limit_s=limit_s)


async def drop_scratch(session: Session, name: str, *, limit_s: float = 30.0) -> None:
    """Drop it and free its lock."""
    if not name.startswith(PREFIX):
        raise ValueError(f"{name} is not a scratch schema")
    await session.run("SET SESSION foreign_key_checks = 0", limit_s=limit_s)
    await session.run(f"DROP DATABASE IF EXISTS {identifier(name)}", limit_s=limit_s)
    await session.value("SELECT RELEASE_LOCK(%s)", name, limit_s=limit_s)


async def unlimited(
    session: Session, table: str, *, partitioned: bool, checks: Sequence[tuple[str, str]],
    limit_s: float = STATEMENT_LIMIT_S,
) -> None:
    """Let a scratch table take any row: no partition or check that refuses it."""
    if partitioned:
        await session.run(f"ALTER TABLE {identifier(table)} REMOVE PARTITIONING", limit_s=limit_s)
    if session.flavour.mariadb:
        await session.run("SET SESSION check_constraint_checks = 0", limit_s=limit_s)
        return
    for name, _ in checks:
        await session.run(f"ALTER TABLE {identifier(table)} ALTER CHECK {identifier(name)}"
                          " NOT ENFORCED", limit_s=limit_s)


async def insert(
    session: Session, table: str, values: Mapping[str, Sequence[str]], count: int, *,
    limit_s: float = STATEMENT_LIMIT_S,
) -> None:
    """Put rows into a scratch table. `values`: the SQL of a column's value in each of them."""
    for row in range(count):
        names = ", ".join(map(identifier, values))
        found = ", ".join(several[row] for several in values.values())
        await session.run(f"INSERT INTO {identifier(table)} ({names}) VALUES ({found})",
                          limit_s=limit_s)


async def rows_of(
    session: Session, table: TableDef, *, limit_s: float = STATEMENT_LIMIT_S
) -> list[Row]:
    """All rows of a scratch table, without generated columns; bits as numbers."""
    named = [(identifier(c.name), c.type.family) for c in table.columns if not c.generated]
    columns = [f"{name}{' + 0' if family == 'bit' else ''} AS {name}" for name, family in named]
    return await session.rows(f"SELECT {', '.join(columns)} FROM {identifier(table.name)}",
                              limit_s=limit_s)


async def clone(
    session: Session, schema: str, names: Sequence[str], *, triggers: bool = True,
    limit_s: float = STATEMENT_LIMIT_S,
) -> None:
    """Empty copies of tables, with their foreign keys and triggers, in the session's schema."""
    if not names:
        return
    asked = ";".join(f"SHOW CREATE TABLE {identifier(schema)}.{identifier(n)}" for n in names)
    answers = await session.many(asked, limit_s=limit_s)
    texts = [str(rows[0]["Create Table"]) for rows in answers]
    made = await _triggers(session, schema, {n.lower() for n in names}, limit_s) if triggers else []
    await make(session, texts, limit_s=limit_s)
    for row in made:
        await session.run(
            f"CREATE TRIGGER {identifier(row['TRIGGER_NAME'])} {row['ACTION_TIMING']}"
            f" {row['EVENT_MANIPULATION']} ON {identifier(row['EVENT_OBJECT_TABLE'])} FOR EACH ROW "
            f"{row['ACTION_STATEMENT']}", limit_s=limit_s)


async def make(
    session: Session, texts: Sequence[str], *, limit_s: float = STATEMENT_LIMIT_S
) -> None:
    """Make tables in the session's schema, by what SHOW CREATE TABLE says of them."""
    await session.run("SET SESSION foreign_key_checks = 0, SESSION sql_mode = ''", limit_s=limit_s)
    for text in texts:
        await session.run(_PLACED.sub("", text), limit_s=limit_s)


async def trigger_tables(
    session: Session, schema: str, names: Iterable[str], *, limit_s: float = 10.0
) -> set[str]:
    """The tables of the triggers that have one of these names."""
    wanted = {n.lower() for n in names}
    rows = await session.rows(
        "SELECT TRIGGER_NAME AS N, EVENT_OBJECT_TABLE AS T FROM information_schema.TRIGGERS"
        " WHERE TRIGGER_SCHEMA = %s", schema, limit_s=limit_s)
    return {str(r["T"]) for r in rows if str(r["N"]).lower() in wanted}


async def _triggers(session: Session, schema: str, wanted: set[str], limit_s: float) -> list[Row]:
    found = await session.rows(
        "SELECT TRIGGER_NAME, ACTION_TIMING, EVENT_MANIPULATION, EVENT_OBJECT_TABLE,"
        " ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = %s"
        " ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER",
        schema, limit_s=limit_s)
    return [r for r in found if str(r["EVENT_OBJECT_TABLE"]).lower() in wanted]


async def stored_programs(
    session: Session, schema: str, *, limit_s: float = STATEMENT_LIMIT_S
) -> list[StoredProgram]:
    """Everything that has code in a schema or in another one of people's, as far as this account
    is shown it."""
    asked = (
        ("TABLE_SCHEMA", "'view' AS K, TABLE_NAME AS N, '' AS T, VIEW_DEFINITION AS D FROM"
         " information_schema.VIEWS"),
        ("TRIGGER_SCHEMA", "'trigger' AS K, TRIGGER_NAME AS N, EVENT_OBJECT_TABLE AS T,"
         " ACTION_STATEMENT AS D FROM information_schema.TRIGGERS"),
        ("ROUTINE_SCHEMA", "LOWER(ROUTINE_TYPE) AS K, ROUTINE_NAME AS N, '' AS T,"
         " ROUTINE_DEFINITION AS D FROM information_schema.ROUTINES"),
        ("EVENT_SCHEMA", "'event' AS K, EVENT_NAME AS N, '' AS T, EVENT_DEFINITION AS D FROM"
         " information_schema.EVENTS"),
    )
    found = []
    for where, sql in asked:
        rows = await session.rows(
            f"SELECT {where} AS S, {sql} WHERE {where} NOT IN ({_NOT_PEOPLES})"
            f" ORDER BY {where} <> %s, 1, 3", schema, limit_s=limit_s)
        for row in rows:
            place, kind, name, table, text = (_text(row[k]) for k in "SKNTD")
            if not place.startswith(PREFIX):
                found.append(StoredProgram(kind, name, table, text,
                                           "" if place == schema else place))
    return found


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


async def try_statement(
    session: Session, text: str, sql_mode: str, *, limit_s: float = STATEMENT_LIMIT_S
) -> MysqlError | None:
    """Run one statement in the scratch schema as a client would; the server's refusal, or None."""
    await session.run("SET SESSION foreign_key_checks = 1, SESSION sql_mode = %s", sql_mode,
                      limit_s=limit_s)
    try:
        await session.alone(text, limit_s=limit_s)
    except MysqlError as error:
        return error
    return None


async def check_statement(
    session: Session, text: str, sql_mode: str, *, limit_s: float = STATEMENT_LIMIT_S
) -> MysqlError | None:
    """Have the server parse a data statement and look its names up, without executing it."""
    await session.run("SET SESSION sql_mode = %s, @slackwater_lint = %s", sql_mode, text,
                      limit_s=limit_s)
    try:
        await session.many("PREPARE slackwater_lint FROM @slackwater_lint;"
                           "DEALLOCATE PREPARE slackwater_lint", limit_s=limit_s)
    except MysqlError as error:
        return error
    return None


async def rows_of_nothing(
    session: Session, text: str, sql_mode: str, *, limit_s: float = STATEMENT_LIMIT_S
) -> int:
    """How many rows an INSERT … SELECT writes where every table is empty; they are not kept."""
    await session.run("SET SESSION foreign_key_checks = 0, SESSION sql_mode = %s", sql_mode,
                      limit_s=limit_s)
    await session.run("BEGIN", limit_s=limit_s)
    try:
        return await session.run(text, limit_s=limit_s)
    except MysqlError:
        return 1  # a row that could not be written
    finally:
        await session.run("ROLLBACK", limit_s=limit_s)
