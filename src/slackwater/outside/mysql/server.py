"""What is asked of and done to one database server. Hot verbs are one round trip each."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import replace

from slackwater.errors import OutsideError
from slackwater.facts import gtid, statement_text
from slackwater.facts.flavour import Flavour
from slackwater.facts.gtid import MariadbGtids
from slackwater.facts.replication import ReplicaStatus
from slackwater.facts.server import VARIABLES, ServerFacts, is_on, server_facts
from slackwater.outside.mysql.abilities import (
    abilities,
    unwatch_transactions,
    watch_transactions,
)
from slackwater.outside.mysql.account import (
    accounts,
    has_all,
    hidden_schemas,
    missing_for_alter,
    missing_privileges,
    missing_rights,
    own_privileges,
    privileged_users,
    shut_accounts,
)
from slackwater.outside.mysql.clients import (
    appliers,
    appliers_idle,
    client_sessions,
    clients_and_transactions,
    close_idle,
    close_idle_and_look,
    dump_ports,
    end_session,
    kill,
    kill_dump_threads,
    open_transactions,
    programs,
    resting,
)
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.session import MysqlError, Row, Session

__all__ = [
    "abilities", "accounts", "appliers", "appliers_idle", "binlog_filters", "change_source",
    "client_sessions", "clients_and_transactions",
    "close_idle", "close_idle_and_look", "commits_held_up", "dump_ports",
    "enabled_events", "end_session", "events_of_a_source",
    "executed_of", "executed_text", "has_all", "has_executed", "hidden_schemas", "is_writable",
    "keeps_several_locks", "kill", "kill_dump_threads", "kill_waits", "lock_all", "lock_owner",
    "logged_text", "look",
    "missing_for_alter", "missing_privileges", "missing_rights",
    "open_transactions", "own_privileges", "persisted_writable", "point_source",
    "prepare_lock", "prepared_xa",
    "privileged_users",
    "programs", "read_only_unset", "release_lock", "replica_status", "reset_replica", "resting",
    "server_id", "set_read_only", "set_replicated_position", "shut_accounts",
    "start_receiving", "start_replica", "stop_receiving", "stop_replica",
    "stops_late_with_replicas", "take_lock", "takes_sockets",
    "unlock", "unwatch_transactions", "wait_executed", "watch_transactions",
]  # fmt: skip

_XA_DENIED = frozenset({1227, 1401})
_LOCK_WAIT_TIMEOUT = 1205
_READ_ONLY = 1290
_STOPPED_BY_ANOTHER = "3030:"  # ER_SLAVE_WORKER_STOPPED_PREVIOUS_THD_ERROR
_WORKERS_ERRORS = (
    "SELECT LAST_ERROR_NUMBER AS N, LAST_ERROR_MESSAGE AS T"
    " FROM performance_schema.replication_applier_status_by_worker"
    " WHERE CHANNEL_NAME = %s AND LAST_ERROR_NUMBER <> 0 ORDER BY LAST_ERROR_TIMESTAMP")


async def look(session: Session, name: str, *, limit_s: float = 5.0) -> ServerFacts:
    """All settings, positions and replication of this server, in one round trip."""
    await abilities(session, limit_s=limit_s)  # probed now, so that no hot verb has to
    packet = dialect(session.flavour).look(VARIABLES)
    variables, status, replicas = await session.many(packet, limit_s=limit_s)
    return server_facts(
        name,
        _named(variables),
        _named(status),
        await _channels(session, replicas, limit_s),
    )


def _named(rows: list[Row]) -> dict[str, str]:
    return {row["Variable_name"].lower(): row["Value"] for row in rows}


async def server_id(session: Session, *, limit_s: float = 5.0) -> int:
    """The server's `server_id`: which server answers behind a balancer."""
    return int(await session.value("SELECT @@GLOBAL.server_id", limit_s=limit_s))


# --- writable or not -----------------------------------------------------------------------


async def is_writable(session: Session, *, limit_s: float = 5.0) -> bool:
    """True unless the server is read_only or super_read_only."""
    rows = await session.rows(dialect(session.flavour).read_only, limit_s=limit_s)
    return _accepts_writes(rows[0])


def _accepts_writes(row: Row) -> bool:
    return not (is_on(str(row["READ_ONLY"])) or is_on(str(row["SUPER_READ_ONLY"] or "0")))


async def uptime_s(session: Session) -> int:
    """Seconds since the server was started."""
    return int((await session.rows("SHOW GLOBAL STATUS LIKE 'Uptime'"))[0]["Value"])


async def connections_made(session: Session, *, limit_s: float = 5.0) -> int:
    """How many connections were made to this server, successful or not, since it was started."""
    rows = await session.rows("SHOW GLOBAL STATUS LIKE 'Connections'", limit_s=limit_s)
    return int(rows[0]["Value"])


async def has_plugin(session: Session, name: str) -> bool:
    """Whether the plugin of this name is active."""
    return bool(await session.rows(
        "SELECT 1 AS there FROM information_schema.PLUGINS"
        " WHERE PLUGIN_NAME = %s AND PLUGIN_STATUS = 'ACTIVE'", name))


async def set_read_only(session: Session, on: bool, *, limit_s: float = 5.0) -> bool:
    """Close the server to writers (super_read_only where it exists), or open it again; whether it
    accepts writes then, looked at in the same round trip.

    Switching on waits for running writes and for tables that others lock, unless this session
    itself holds the lock of `lock_all`: then it is immediate, and proves that the lock held.
    """
    speaks = dialect(session.flavour)
    change = speaks.read_only_on if on else speaks.read_only_off
    results = await session.many(f"{change};{speaks.read_only}", limit_s=limit_s)
    return _accepts_writes(results[-1][0])


async def open_to_admins(session: Session, *, limit_s: float = 5.0) -> bool:
    """Let administrators write where super_read_only keeps even them from it; read_only stays.
    Whether it was so."""
    row = (await session.rows(dialect(session.flavour).read_only, limit_s=limit_s))[0]
    closed = is_on(str(row["SUPER_READ_ONLY"] or "0"))
    if closed:
        await session.run("SET GLOBAL super_read_only=0", limit_s=limit_s)
    return closed


async def prepare_lock(
    session: Session, *, wait_timeout_s: float, lock_wait_timeout_s: float, limit_s: float = 5.0
) -> None:
    """Make this session fit for `lock_all`: the server itself ends it, and frees its locks, when
    it has not heard of us for `wait_timeout_s`. Whole seconds, rounded up, at least 1."""
    held, waits = (max(1, math.ceil(s)) for s in (wait_timeout_s, lock_wait_timeout_s))
    await session.run(
        f"SET SESSION wait_timeout = {held}, SESSION lock_wait_timeout = {waits}", limit_s=limit_s
    )


async def lock_all(
    session: Session, *, held_s: int | None = None, limit_s: float = 5.0
) -> str:
    """FLUSH TABLES WITH READ LOCK; returns `executed_text` as it is under the lock.

    `held_s`: the server frees it when it has not heard of us for so long (`prepare_lock` said so
    first; while one waits for the lock, that time may have to be longer).

    Only in a session that `prepare_lock` made fit, and never on a replica that applies. After
    any failure the session is closed: MySQL can keep half of the locks of a failed flush until
    then. One round trip.
    """
    speaks = dialect(session.flavour)
    try:
        packet = f"FLUSH TABLES WITH READ LOCK;{speaks.executed}"
        if held_s is not None:
            packet = f"SET SESSION wait_timeout = {int(held_s)};{packet}"
        results = await session.many(packet, limit_s=limit_s)
        return executed_of(session, results[-1][0])
    except OutsideError:
        session.drop("its table lock failed")
        raise


async def unlock(session: Session, *, limit_s: float = 5.0) -> None:
    """Free the lock of `lock_all`. Who waited goes on, or gets 1290 when it is read-only now."""
    await session.run("UNLOCK TABLES", limit_s=limit_s)


async def commits_held_up(session: Session, table: str, *, limit_s: float = 3.0) -> bool:
    """Whether somebody's lock keeps this server from committing: FLUSH TABLES WITH READ LOCK, or a
    backup's (MariaDB's BACKUP STAGE BLOCK_COMMIT). Less than 1 ms when not, a second when it does.

    Asks for the write lock of `table`, one of our own. A read-only server refuses it, but only
    after it has waited for whoever locks everything (all of 10.5 to 11.8, 5.7 and 9.7 do so).
    """
    sql = f"SET SESSION lock_wait_timeout = 1;LOCK TABLES {table} WRITE;UNLOCK TABLES"
    try:
        await session.many(sql, limit_s=limit_s)
    except MysqlError as error:
        if error.code == _LOCK_WAIT_TIMEOUT:
            return True
        if error.code != _READ_ONLY:
            raise
    return False


# --- positions -------------------------------------------------------------------------------


async def executed_text(session: Session, *, limit_s: float = 5.0) -> str:
    """All GTIDs that this server has, its own and replicated ones, as text."""
    rows = await session.rows(dialect(session.flavour).executed, limit_s=limit_s)
    return executed_of(session, rows[0])


async def logged_text(session: Session, *, limit_s: float = 5.0) -> str:
    """The GTIDs that a replica of this server has when it has all. A MariaDB may have replicated
    more, which is not in its binary log and so does not come from it."""
    rows = await session.rows(dialect(session.flavour).executed, limit_s=limit_s)
    return str(gtid.parse(rows[0]["OWN"], session.flavour))


def executed_of(session: Session, row: Row) -> str:
    """One GTID set from the row of `Dialect.executed`."""
    own = gtid.parse(row["OWN"], session.flavour)
    if isinstance(own, MariadbGtids):
        return str(own.union(MariadbGtids.read(row["REPLICATED"] or "")))
    return str(own)


async def has_executed(session: Session, text: str, *, limit_s: float = 5.0) -> bool:
    """Whether this server has everything in a GTID set."""
    return not await _lacks(session, text, limit_s)


async def wait_executed(
    session: Session, text: str, *, limit_s: float, late_s: float = 1.0
) -> bool:
    """Wait until this server has everything in a GTID set; False when the limit came first.

    `late_s`: how late its answer may be; then the session is lost.

    It does not notice that replication stopped: a caller who cares looks at `replica_status`.
    One round trip when everything is there already, which is the usual case.
    """
    ends = time.monotonic() + limit_s
    lacks = await _lacks(session, text, max(limit_s, 0.1))
    left = ends - time.monotonic()
    if not lacks or left <= 0:
        return not lacks
    # Only what is lacking: MariaDB waits for gtid_slave_pos, where a server's own writes that
    # came back through its partner never appear. And never 0 s, which is for ever in MySQL.
    sql = dialect(session.flavour).wait_executed()
    done = await session.value(sql, lacks, max(round(left, 3), 0.001), limit_s=left + late_s)
    return done is not None and int(done) == 0


async def _lacks(session: Session, text: str, limit_s: float) -> str:
    wanted = gtid.parse(text, session.flavour)
    has = gtid.parse(await executed_text(session, limit_s=limit_s), session.flavour)
    return str(wanted.subtract(has))  # type: ignore[arg-type]  # both of one flavour


# --- replication -------------------------------------------------------------------------------


async def replica_status(session: Session, *, limit_s: float = 5.0) -> tuple[ReplicaStatus, ...]:
    """All channels by which this server replicates; () when it is no replica."""
    rows = await session.rows(dialect(session.flavour).replica_status, limit_s=limit_s)
    return await _channels(session, rows, limit_s)


async def _channels(
    session: Session, rows: list[Row], limit_s: float
) -> tuple[ReplicaStatus, ...]:
    channels = tuple(ReplicaStatus.parse(row) for row in rows)
    return tuple([await _with_the_cause(session, c, limit_s) for c in channels])


async def _with_the_cause(
    session: Session, channel: ReplicaStatus, limit_s: float
) -> ReplicaStatus:
    """MySQL's status tells what the last worker stopped with, and that may be only that another,
    earlier one has: whose error is the one to know."""
    if not channel.sql_error.startswith(_STOPPED_BY_ANOTHER):
        return channel
    with contextlib.suppress(MysqlError):  # not allowed to ask: then it stays what it was
        for row in await session.rows(_WORKERS_ERRORS, channel.channel, limit_s=limit_s):
            error = f"{row['N']}: {statement_text.words(str(row['T']))}"
            if not error.startswith(_STOPPED_BY_ANOTHER):
                return replace(channel, sql_error=error)
    return channel


async def start_replica(session: Session, *, limit_s: float = 10.0) -> None:
    """Start both threads of all channels. Nothing happens to those that run."""
    await session.run(dialect(session.flavour).start_replica, limit_s=limit_s)


async def stop_replica(session: Session, *, limit_s: float = 30.0) -> None:
    """Stop both threads of all channels. Waits for the transaction that is being applied."""
    await session.run(dialect(session.flavour).stop_replica, limit_s=limit_s)


def stops_late_with_replicas(session: Session) -> bool:
    """Whether this kind of server takes some 12 s longer to stop while it serves a replica."""
    return dialect(session.flavour).stops_late_with_replicas


def upgrade_programs(flavour: Flavour) -> tuple[str, ...]:
    """Names of the program that brings the system tables of a server to this version; () where
    the server does it by itself."""
    return dialect(flavour).upgrade_programs


def kill_waits(session: Session) -> bool:
    """Whether this kind of server's KILL waits, busily, for the thread that it ends."""
    return dialect(session.flavour).kill_waits


def keeps_several_locks(session: Session) -> bool:
    """Whether a session of this kind of server can have more than one advisory lock."""
    return not dialect(session.flavour).one_lock_a_session


def takes_sockets(session: Session) -> bool:
    """Whether this kind of server can be handed listening sockets (socket activation)."""
    return dialect(session.flavour).takes_sockets


async def reset_replica(session: Session, *, limit_s: float = 10.0) -> None:
    """Forget the source of the (stopped) default channel, and its relay logs."""
    await session.run(dialect(session.flavour).reset_replica, limit_s=limit_s)


async def change_source(
    session: Session, host: str, port: int, user: str, password: str, *, limit_s: float = 10.0
) -> None:
    """Replicate by GTID from there (the replica must be stopped). The password stays out of
    error texts."""
    sql = dialect(session.flavour).change_source()
    await session.run(sql, host, port, user, password, limit_s=limit_s)


async def start_receiving(session: Session, *, limit_s: float = 10.0) -> None:
    """Start the I/O thread alone: what it receives is applied later."""
    await session.run(dialect(session.flavour).start_receiving, limit_s=limit_s)


async def stop_receiving(session: Session, *, limit_s: float = 5.0) -> None:
    """Stop the I/O thread: from here on nothing more comes from the source."""
    await session.run(dialect(session.flavour).stop_receiving, limit_s=limit_s)


async def point_source(session: Session, host: str, port: int, *, limit_s: float = 10.0) -> None:
    """Have the (stopped) default channel look for its source there. Relay logs are thrown away."""
    await session.run(dialect(session.flavour).point_source(), host, port, limit_s=limit_s)


async def set_replicated_position(session: Session, text: str, *, limit_s: float = 10.0) -> None:
    """Tell the (stopped) replica what it has, where a server does not know its own writes by
    that; nothing for MySQL, whose gtid_executed has them all."""
    if sql := dialect(session.flavour).replicated_position:
        await session.run(sql, text, limit_s=limit_s)


# --- locks among slackwaters, and guardrails --------------------------------------------------


async def take_lock(session: Session, name: str, *, limit_s: float = 5.0) -> bool:
    """Take an advisory lock (GET_LOCK) without waiting; it ends with the session.

    True also when this session has it already: it is not taken twice, so that one release frees
    it. At most 64 characters.
    """
    got = await session.value(
        "SELECT IF(IS_USED_LOCK(%s) = CONNECTION_ID(), 1, GET_LOCK(%s, 0)) AS GOT",
        name, name, limit_s=limit_s,
    )  # fmt: skip
    return got is not None and int(got) == 1


async def lock_owner(session: Session, name: str, *, limit_s: float = 5.0) -> int | None:
    """The connection id that has an advisory lock; None when it is free."""
    owner = await session.value("SELECT IS_USED_LOCK(%s) AS OWNER", name, limit_s=limit_s)
    return None if owner is None else int(owner)


async def release_lock(session: Session, name: str, *, limit_s: float = 5.0) -> bool:
    """Free an advisory lock of this session; False when it did not have it."""
    freed = await session.value("SELECT RELEASE_LOCK(%s) AS FREED", name, limit_s=limit_s)
    return freed is not None and int(freed) == 1


async def prepared_xa(session: Session, *, limit_s: float = 5.0) -> int | None:
    """How many XA transactions are prepared; None where the account may not ask (MySQL 8+ wants
    XA_RECOVER_ADMIN)."""
    try:
        return len(await session.rows("XA RECOVER", limit_s=limit_s))
    except MysqlError as error:
        if error.code in _XA_DENIED:
            return None
        raise


async def read_only_unset(session: Session, *, limit_s: float = 5.0) -> bool | None:
    """True when read_only has the server's built-in value: no option file has it, nobody set it.

    None where that cannot be told: MySQL 5.7, or Performance Schema is off. Once somebody has set
    it at run time, what the file says can no longer be seen: False then.
    """
    sql = dialect(session.flavour).read_only_origin
    if not sql:
        return None
    try:
        origin = await session.value(sql, limit_s=limit_s)
    except MysqlError:
        return None  # no such table, or not for us
    return None if origin is None else str(origin) in ("COMPILED", "COMPILE-TIME")


async def persisted_writable(session: Session, *, limit_s: float = 5.0) -> bool:
    """Whether somebody has persisted (MySQL's SET PERSIST) that this server accepts writes after a
    restart, whatever its option file says. False also where that is not shown to us."""
    try:
        rows = await session.rows(
            "SELECT VARIABLE_NAME AS n, VARIABLE_VALUE AS v FROM"
            " performance_schema.persisted_variables"
            " WHERE VARIABLE_NAME IN ('read_only', 'super_read_only')", limit_s=limit_s)
    except MysqlError:
        return False  # no such table, or not for us
    said = {str(row["n"]): is_on(str(row["v"])) for row in rows}
    return said.get("read_only") is False and not said.get("super_read_only")


async def binlog_filters(session: Session, *, limit_s: float = 5.0) -> list[tuple[str, str]]:
    """What this server leaves out of its binary log; () where it may not be asked."""
    try:
        rows = await session.rows(dialect(session.flavour).binlog_status, limit_s=limit_s)
    except MysqlError:
        return []
    names = ("Binlog_Do_DB", "Binlog_Ignore_DB")
    return [(n, str(row[n])) for row in rows for n in names if row.get(n)]


async def events_of_a_source(session: Session, *, limit_s: float = 5.0) -> int:
    """How many scheduled events do not run here because this server is a replica."""
    return int(await session.value(
        "SELECT COUNT(*) FROM information_schema.EVENTS WHERE STATUS IN"
        " ('SLAVESIDE_DISABLED', 'REPLICA_SIDE_DISABLED')", limit_s=limit_s))


async def enabled_events(session: Session, *, limit_s: float = 5.0) -> int:
    """How many scheduled events would run here; 0 when the scheduler is off.

    Only of schemas where this account has EVENT: see missing_rights."""
    return int(
        await session.value(
            "SELECT IF(@@GLOBAL.event_scheduler = 'ON', (SELECT COUNT(*) FROM"
            " information_schema.EVENTS WHERE STATUS = 'ENABLED'), 0) AS EVENTS",
            limit_s=limit_s,
        )
    )
