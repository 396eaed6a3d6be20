"""What a schema change asks of one server: definitions, progress, the applier, conversions."""

from __future__ import annotations

import hashlib

from slackwater.facts.alter_state import Progress
from slackwater.facts.quoting import identifier
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.schema import file_mode
from slackwater.outside.mysql.session import MysqlError, Session

NO_SUCH_TABLE = frozenset({1146, 1049, 1051})
LOCK_WAIT_TIMEOUT = 1205
_CONVERSIONS = ("replica_type_conversions", "slave_type_conversions")


async def prepare_worker(session: Session, database: str, *, lock_wait_s: int) -> None:
    """Make a session one that changes this server alone, under the server's own SQL mode."""
    await session.run("SET SESSION sql_mode = %s", await file_mode(session), limit_s=5)
    await session.many(
        "SET SESSION sql_log_bin = 0,"
        " SESSION time_zone = @@GLOBAL.time_zone, SESSION wait_timeout = 86400,"
        f" SESSION lock_wait_timeout = {int(lock_wait_s)};"
        f"USE {identifier(database)}",
        limit_s=5,
    )


async def be_strict(session: Session, strict: bool) -> None:
    """Have the session refuse values that do not fit, or cut them to what fits."""
    modes = str(await session.value("SELECT @@SESSION.sql_mode")).split(",")
    loose = [m for m in modes if not m.startswith("STRICT_") and m != "TRADITIONAL"]
    await session.run("SET SESSION sql_mode = %s",
                      ",".join(["STRICT_ALL_TABLES", *modes] if strict else loose))


async def prepare_filler(session: Session, database: str, *, at: float | None) -> None:
    """Make a session one that changes rows as a client would, logged as rows: short waits for
    locks, none on gaps. `at`: what its clock says, in unix seconds."""
    rows = await session.rows("SHOW GLOBAL VARIABLES LIKE 'binlog_format'", limit_s=5)
    if rows and str(rows[0]["Value"]).upper() != "ROW":
        await session.run("SET SESSION binlog_format = ROW", limit_s=5)
    await session.run("SET SESSION sql_mode = %s", await file_mode(session), limit_s=5)
    await session.many(
        "SET SESSION time_zone = @@GLOBAL.time_zone,"
        " SESSION innodb_lock_wait_timeout = 1, SESSION lock_wait_timeout = 5,"
        " SESSION wait_timeout = 60;"
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;"
        f"USE {identifier(database)}"
        + ("" if at is None else f";SET SESSION timestamp = {at:.6f}"),
        limit_s=5,
    )


async def definition(session: Session, database: str, table: str, *, limit_s: float = 10.0) -> str:
    """SHOW CREATE TABLE without its counter, then its triggers; "" when there is no such table."""
    try:
        rows = await session.rows(
            f"SHOW CREATE TABLE {identifier(database)}.{identifier(table)}", limit_s=limit_s
        )
    except MysqlError as error:
        if error.code in NO_SUCH_TABLE:
            return ""
        raise
    text = str(rows[0].get("Create Table") or rows[0].get("Create View") or "")
    triggers = await session.rows(
        "SELECT TRIGGER_NAME, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER, ACTION_STATEMENT"
        " FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = %s AND"
        " EVENT_OBJECT_TABLE = %s ORDER BY TRIGGER_NAME", database, table, limit_s=limit_s,
    )
    lines = ["-- trigger " + " ".join(str(v) for v in row.values()) for row in triggers]
    return "\n".join([_without_counter(text), *lines])


def _without_counter(text: str) -> str:
    head, found, tail = text.rpartition(" AUTO_INCREMENT=")
    if not found:
        return text
    return head + tail.lstrip("0123456789")


async def definitions(session: Session, database: str, tables: tuple[str, ...]) -> dict[str, str]:
    """`definition` of each table."""
    return {t: await definition(session, database, t) for t in tables}


def fingerprint(texts: dict[str, str]) -> str:
    """A short name of these definitions: another one when any of them has changed."""
    whole = "\0".join(f"{t}\0{texts[t]}" for t in sorted(texts))
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


async def schemas(session: Session) -> tuple[str, ...]:
    """The databases that are neither the server's own nor ours."""
    rows = await session.rows(
        "SELECT SCHEMA_NAME AS N FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN"
        " ('mysql', 'sys', 'information_schema', 'performance_schema', 'slackwater', 'test')"
    )
    return tuple(str(r["N"]) for r in rows)


async def progress(session: Session, worker: int) -> Progress | None:
    """How far a session's ALTER is, from the server's own report; None when it runs none."""
    if dialect(session.flavour).mariadb:
        rows = await session.rows(
            "SELECT STATE, STAGE, MAX_STAGE, PROGRESS FROM information_schema.PROCESSLIST"
            " WHERE ID = %s AND INFO IS NOT NULL", worker,
        )
        if not rows:
            return None
        row = rows[0]
        most = float(row["MAX_STAGE"] or 0)
        if not most:
            return Progress(str(row["STATE"] or ""), None)
        part = (float(row["STAGE"]) - 1 + float(row["PROGRESS"]) / 100) / most
        return Progress(str(row["STATE"] or ""), min(max(part, 0.0), 1.0))
    try:
        rows = await session.rows(
            "SELECT e.EVENT_NAME, e.WORK_COMPLETED, e.WORK_ESTIMATED FROM performance_schema."
            "events_stages_current e JOIN performance_schema.threads t USING (THREAD_ID)"
            " WHERE t.PROCESSLIST_ID = %s AND e.WORK_ESTIMATED > 0", worker,
        )
    except MysqlError:
        return None
    if not rows:
        return Progress("", None)  # the consumer events_stages_current is off, as by default
    row = rows[0]
    part = float(row["WORK_COMPLETED"] or 0) / float(row["WORK_ESTIMATED"])
    return Progress(str(row["EVENT_NAME"]).rpartition("/")[2], min(part, 1.0))


# --- the applier and its conversions ---------------------------------------------------------


async def stop_applier(session: Session, *, limit_s: float = 60.0) -> None:
    """Stop the SQL threads; what the source sends is still fetched and kept."""
    await _applier(session, "STOP", limit_s)


async def start_applier(session: Session, *, limit_s: float = 15.0) -> None:
    """Start the SQL threads."""
    await _applier(session, "START", limit_s)


async def can_hang_with_a_lock(session: Session) -> bool:
    """Whether a parallel applier of MariaDB runs here: FLUSH TABLES WITH READ LOCK and it can then
    wait for each other for ever, all writes behind them, and no KILL ends that.

    Seen on 10.11.19: the lock, taken already, waits in rpl_unpause_after_ftwrl() for a mutex of an
    applier that has to write mysql.gtid_slave_pos for what it left out, its own server's writes
    that came back: what the active server of a pair does all the time. With eight writers once in
    some hundred locks.
    """
    speaks = dialect(session.flavour)
    if not speaks.mariadb:
        return False
    if not int(await session.value("SELECT @@GLOBAL.slave_parallel_threads", limit_s=5) or 0):
        return False
    rows = await session.rows(speaks.replica_status, limit_s=5)
    return any(str(row.get("Slave_SQL_Running")) != "No" for row in rows)


async def _applier(session: Session, verb: str, limit_s: float) -> None:
    speaks = dialect(session.flavour)
    rows = await session.rows(speaks.replica_status, limit_s=5)
    if not rows:
        return
    if not speaks.mariadb:
        word = speaks.start_replica.rpartition(" ")[2]
        await session.run(f"{verb} {word} SQL_THREAD", limit_s=limit_s)
        return
    for row in rows:
        name = str(row.get("Connection_name") or "")
        channel = f"'{name}' " if name else ""
        await session.run(f"{verb} SLAVE {channel}SQL_THREAD", limit_s=limit_s)


async def conversions(session: Session) -> tuple[str, str]:
    """(name, value) of the setting that lets a replica convert between types."""
    wanted = ",".join(f"'{n}'" for n in _CONVERSIONS)
    rows = await session.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({wanted})")
    values = {str(r["Variable_name"]).lower(): str(r["Value"]) for r in rows}
    name = next(n for n in _CONVERSIONS if n in values)
    return name, values[name]


async def set_conversions(session: Session, value: str) -> None:
    """Set it, and have the applier take it up: MySQL reads it when its threads start."""
    name, now = await conversions(session)
    if now == value:
        return
    await session.run(f"SET GLOBAL {name} = %s", value)


async def super_read_only(session: Session) -> bool | None:
    """Whether MySQL's super_read_only is on; None where there is none."""
    if dialect(session.flavour).mariadb:
        return None
    return bool(int(await session.value("SELECT @@GLOBAL.super_read_only")))


async def lift_super_read_only(session: Session) -> None:
    """Let administrators write; read_only stays, so that nobody else can."""
    await session.run("SET GLOBAL super_read_only = 0", limit_s=10)


async def put_super_read_only(session: Session) -> None:
    """Switch it on again where read_only is still on: never close a server that has become the
    active one. It waits for commits under way, at most a few seconds."""
    await session.many(
        "SET SESSION lock_wait_timeout = 3;SET GLOBAL super_read_only = @@GLOBAL.read_only",
        limit_s=15,
    )
