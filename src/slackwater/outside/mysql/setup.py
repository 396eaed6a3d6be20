"""What is asked of and done to a server to set its replication up. Needs an administrator."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

from slackwater.errors import OutsideError
from slackwater.facts import gtid
from slackwater.facts.gtid import MariadbGtids, MysqlGtids
from slackwater.facts.quoting import identifier, literal
from slackwater.facts.server import is_on
from slackwater.facts.setup import OWN_SCHEMA, SYSTEM_SCHEMAS, Marker, Schema
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.server import open_to_admins, set_read_only
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.outside.mysql.setup_dialect import setup_dialect

Item = TypeVar("Item")
_FILTERS = re.compile(r"replicate_(do|ignore|wild|rewrite|annotate)_?\w*|binlog_(do|ignore)_db")
_NO_FILTERS = frozenset({"replicate_annotate_row_events", "replicate_events_marked_for_skip"})
_GTID_LIST = re.compile(r"\[([^\]]*)\]")
_NOT_THERE = frozenset({1046, 1049, 1142, 1143, 1146, 1193, 1227, 1286})
LOCK_WAIT_TIMEOUT = 1205
CLOSE_TRIES, CLOSE_REST_S = 20, 0.5
MARKER = f"{OWN_SCHEMA}.copying"
_HALF_WRITTEN = 1201  # ER_MASTER_INFO
MAKE_MARKER = (
    f"CREATE DATABASE IF NOT EXISTS {OWN_SCHEMA}",
    f"CREATE TABLE IF NOT EXISTS {MARKER} (id INT NOT NULL PRIMARY KEY, source VARCHAR(64)"
    " CHARACTER SET ascii NOT NULL, began VARCHAR(40) CHARACTER SET ascii NOT NULL)"
    " ENGINE=InnoDB",
)


async def variables(session: Session, *, limit_s: float = 5.0) -> dict[str, str]:
    """All global ones, by lower-case names."""
    rows = await session.rows("SHOW GLOBAL VARIABLES", limit_s=limit_s)
    return {str(r["Variable_name"]).lower(): str(r["Value"]) for r in rows}


async def persisted(session: Session, *, limit_s: float = 5.0) -> dict[str, str]:
    """What was set with SET PERSIST or PERSIST_ONLY, by lower-case names."""
    try:
        rows = await session.rows(
            "SELECT VARIABLE_NAME AS N, VARIABLE_VALUE AS V"
            " FROM performance_schema.persisted_variables", limit_s=limit_s)
    except MysqlError as error:
        if error.code in _NOT_THERE:
            return {}  # MariaDB and MySQL 5.7 have no such thing
        raise
    return {str(r["N"]).lower(): str(r["V"]) for r in rows}


async def clock_ahead_s(session: Session, *, limit_s: float = 5.0) -> float:
    """How far the server's clock is ahead of ours: the middle of the time that asking took."""
    before = time.time()
    theirs = float(await session.value("SELECT UNIX_TIMESTAMP(NOW(6))", limit_s=limit_s))
    return round(theirs - (before + time.time()) / 2, 3)


async def schemas(session: Session, *, limit_s: float = 30.0) -> tuple[Schema, ...]:
    """The databases of people, with what is in them."""
    ours = ",".join(f"'{s}'" for s in (*SYSTEM_SCHEMAS, OWN_SCHEMA))
    rows = await session.rows(
        "SELECT s.SCHEMA_NAME AS NAME, (SELECT COUNT(*) FROM information_schema.TABLES t"
        " WHERE t.TABLE_SCHEMA = s.SCHEMA_NAME) + (SELECT COUNT(*) FROM"
        " information_schema.ROUTINES r WHERE r.ROUTINE_SCHEMA = s.SCHEMA_NAME) AS THINGS,"
        " (SELECT COALESCE(SUM(t.DATA_LENGTH + t.INDEX_LENGTH), 0) FROM"
        " information_schema.TABLES t WHERE t.TABLE_SCHEMA = s.SCHEMA_NAME) AS SIZE"
        f" FROM information_schema.SCHEMATA s WHERE LOWER(s.SCHEMA_NAME) NOT IN ({ours})",
        limit_s=limit_s,
    )
    return tuple(Schema(str(r["NAME"]), int(r["THINGS"]), int(r["SIZE"])) for r in rows)


async def odd_tables(
    session: Session, *, limit_s: float = 30.0
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tables that a transaction's snapshot does not show as they were, and those with a history
    of their own (system-versioned)."""
    ours = ",".join(f"'{s}'" for s in (*SYSTEM_SCHEMAS, OWN_SCHEMA))
    rows = await session.rows(
        "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) AS NAME, TABLE_TYPE AS TYPE, ENGINE"
        " FROM information_schema.TABLES WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')"
        f" AND LOWER(TABLE_SCHEMA) NOT IN ({ours})"
        " AND (TABLE_TYPE <> 'BASE TABLE' OR ENGINE NOT IN ('InnoDB', 'BLACKHOLE'))",
        limit_s=limit_s,
    )
    versioned = tuple(str(r["NAME"]) for r in rows if r["TYPE"] != "BASE TABLE")
    return tuple(str(r["NAME"]) for r in rows if r["TYPE"] == "BASE TABLE"), versioned


async def accounts(session: Session, *, limit_s: float = 5.0) -> frozenset[str]:
    """All accounts as `user@host`; empty where the grant tables are not for us."""
    try:
        rows = await session.rows(setup_dialect(session.flavour).users, limit_s=limit_s)
    except MysqlError as error:
        if error.code in _NOT_THERE:
            return frozenset()
        raise
    return frozenset(f"{r['USER']}@{r['HOST']}" for r in rows)


async def filters(
    session: Session, found: dict[str, str], *, limit_s: float = 5.0
) -> tuple[str, ...]:
    """What is kept from replication here; `found` are the variables."""
    said = [f"{n} = {v}" for n, v in found.items()
            if v and n not in _NO_FILTERS and _FILTERS.fullmatch(n)]
    for row in await session.rows(dialect(session.flavour).binlog_status, limit_s=limit_s):
        said += [f"{n} = {row[n]}" for n in ("Binlog_Do_DB", "Binlog_Ignore_DB") if row.get(n)]
    for channel in await session.rows(dialect(session.flavour).replica_status, limit_s=limit_s):
        said += [f"{n} = {v}" for n, v in channel.items()
                 if v and n.startswith("Replicate_") and n != "Replicate_Ignore_Server_Ids"]
    try:
        rows = await session.rows(
            "SELECT FILTER_NAME AS N, FILTER_RULE AS V"
            " FROM performance_schema.replication_applier_global_filters", limit_s=limit_s)
    except MysqlError:
        rows = []  # MariaDB and MySQL 5.7 have no such table
    said += [f"{r['N']} = {r['V']}" for r in rows if r["V"]]
    return tuple({s.lower(): s for s in said}.values())


async def purged(
    session: Session, found: dict[str, str], *, limit_s: float = 5.0
) -> MariadbGtids | MysqlGtids:
    """The GTIDs that this server's binary log no longer has."""
    if not session.flavour.mariadb:
        return gtid.parse(found.get("gtid_purged"), session.flavour)
    try:
        logs = await session.rows("SHOW BINARY LOGS", limit_s=limit_s)
    except MysqlError:
        return MariadbGtids()  # no binary log at all; another rule says so
    if not logs:
        return MariadbGtids()
    # The list at the beginning of the oldest file: where all before it had come to.
    events = await session.rows(
        "SHOW BINLOG EVENTS IN %s LIMIT 3", str(logs[0]["Log_name"]), limit_s=limit_s)
    for event in events:
        if event["Event_type"] == "Gtid_list":
            listed = _GTID_LIST.search(str(event["Info"]))
            return MariadbGtids.read(listed[1] if listed else "")
    return MariadbGtids()


async def marker(session: Session, *, limit_s: float = 5.0) -> Marker | None:
    """What a copy that was cut off has left here."""
    try:
        rows = await session.rows(f"SELECT source, began FROM {MARKER}", limit_s=limit_s)
    except MysqlError as error:
        if error.code in _NOT_THERE:
            return None
        raise
    return Marker(str(rows[0]["source"]), str(rows[0]["began"])) if rows else None


async def has_tls(session: Session, found: dict[str, str], *, limit_s: float = 5.0) -> bool:
    """Whether a client can use TLS. MySQL has no `have_ssl` any more since 8.4, and names a
    certificate there although `tls_version` is empty or the file could not be read: what counts is
    the one that it has loaded."""
    if "have_ssl" in found:
        return found["have_ssl"] == "YES"
    rows = await session.rows("SHOW GLOBAL STATUS LIKE 'Ssl_server_not_after'", limit_s=limit_s)
    return any(r["Value"] for r in rows)


# --- accounts ------------------------------------------------------------------------------


def quoted(user: str, host: str) -> str:
    """`'user'@'host'` for a statement."""
    return "@".join(map(literal, (user, host)))


async def make_account(
    session: Session, user: str, host: str, password: str, grants: Iterable[str], *,
    tls: bool = False, limit_s: float = 10.0,
) -> None:
    """Make it if it is not there, set its password, and grant. `grants` have `{}` for its name.

    Not in the binary log: each server's accounts are its own, and so are their GTIDs.
    """
    name = quoted(user, host)
    await session.run("SET SESSION sql_log_bin = 0", limit_s=limit_s)
    try:
        for statement in setup_dialect(session.flavour).create_user(name, tls=tls):
            await session.run(statement, password, limit_s=limit_s)
        for grant in grants:
            await session.run(grant.format(name), limit_s=limit_s)
    finally:
        if session.broken is None:
            await session.run("SET SESSION sql_log_bin = 1", limit_s=limit_s)


def replication_grants(session: Session) -> list[str]:
    """What the account for replication needs here."""
    speaks = setup_dialect(session.flavour)
    return [f"GRANT {', '.join((*speaks.replication_rights, *speaks.donor_rights))} ON *.* TO {{}}"]


async def set_global(session: Session, name: str, value: str, *, limit_s: float = 10.0) -> None:
    """Set a setting at run time. `name` is one that the server told us."""
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(f"not the name of a setting: {name!r}")
    if value.isdigit():
        await session.run(f"SET GLOBAL {name} = {value}", limit_s=limit_s)
    else:
        await session.run(f"SET GLOBAL {name} = %s", value, limit_s=limit_s)


async def set_since_start(session: Session, name: str, *, limit_s: float = 5.0) -> bool:
    """Whether a setting has been set while the server ran (MySQL 8.0 and newer tell); not so after
    a restart, which has it from the server's own files."""
    source = await session.value(
        "SELECT VARIABLE_SOURCE FROM performance_schema.variables_info WHERE VARIABLE_NAME = %s",
        name, limit_s=limit_s)
    return str(source) == "DYNAMIC"


def same_value(has: str, wanted: str) -> bool:
    """Whether a setting has that value, in any spelling of ON."""
    return is_on(has) if wanted == "ON" else has.upper() == wanted.upper()


# --- positions -----------------------------------------------------------------------------


async def begin_at(session: Session, executed: str, logged: str, *, limit_s: float = 60.0) -> None:
    """Forget all binary logs and GTIDs of this server; it begins at these. No replica may read
    from it, nor may it replicate itself."""
    speaks = setup_dialect(session.flavour)
    await session.run(speaks.forget_binlog, limit_s=limit_s)
    for statement in speaks.seed(executed, logged):
        await session.run(statement, limit_s=limit_s)


async def events_on(session: Session, *, limit_s: float = 30.0) -> int:
    """How many events would run here."""
    return int(await session.value("SELECT COUNT(*) FROM information_schema.EVENTS"
                                   " WHERE STATUS = 'ENABLED'", limit_s=limit_s))


async def events_stay_off(session: Session, *, before: bool, limit_s: float = 60.0) -> None:
    """Of a copy of another server's files: have no event run that runs there. `before`: on a
    private start, where only those in a table can be changed; else those that are left.

    What else is known of an event (who it runs as, its sql_mode) stays.
    """
    speaks = setup_dialect(session.flavour)
    if before:
        for statement in speaks.events_off:
            await session.run(statement, limit_s=limit_s)
        return
    rows = await session.rows(
        "SELECT EVENT_SCHEMA AS S, EVENT_NAME AS N, DEFINER AS D, SQL_MODE AS M"
        " FROM information_schema.EVENTS WHERE STATUS = 'ENABLED'", limit_s=limit_s)
    for row in rows:
        user, _, host = str(row["D"]).rpartition("@")
        name = ".".join(identifier(str(t)) for t in (row["S"], row["N"]))
        await session.run("SET SESSION sql_mode = %s", str(row["M"]), limit_s=limit_s)
        await session.run(f"ALTER DEFINER = {quoted(user, host)} EVENT {name} "
                          + speaks.disabled_event, limit_s=limit_s)


# The server writes meanwhile, so its own log is ahead of this: an error, for strict mode.
# One statement, which the server ends also when its client dies: the mode must not stay off.
_BEGIN_BEHIND = """BEGIN NOT ATOMIC
  DECLARE strict_mode INT DEFAULT @@GLOBAL.gtid_strict_mode;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN
    SET GLOBAL gtid_strict_mode = strict_mode; RESIGNAL; END;
  SET GLOBAL gtid_strict_mode = 0;
  SET GLOBAL gtid_slave_pos = %s;
  SET GLOBAL gtid_strict_mode = strict_mode;
END"""


async def begin_behind(session: Session, other: str, *, limit_s: float = 10.0) -> None:
    """Of a MariaDB in a ring, whose replication is stopped: it will ask the other only for what
    comes after what it has itself."""
    has = MariadbGtids.read(await executed(session))
    asks = MariadbGtids.read(str(await session.value("SELECT @@GLOBAL.gtid_slave_pos") or ""))
    theirs = MariadbGtids.read(other)
    known = MariadbGtids.of(p for p in theirs.positions if has.contains(MariadbGtids.of([p])))
    rest = MariadbGtids.of(p for p in asks.positions
                           if p[0] not in {d for d, _, _ in known.positions})
    await session.run(_BEGIN_BEHIND, str(known.union(rest)), limit_s=limit_s)


async def executed(session: Session) -> str:
    """All GTIDs of this MariaDB, its own and replicated ones."""
    row = (await session.rows(dialect(session.flavour).executed))[0]
    own = MariadbGtids.read(str(row["OWN"] or ""))
    return str(own.union(MariadbGtids.read(str(row["REPLICATED"] or ""))))


async def follow(
    session: Session, host: str, port: int, user: str, password: str, *, tls: bool,
    limit_s: float = 10.0,
) -> None:
    """Replicate from there by GTID (the replica must be stopped). A MariaDB that was killed while
    it wrote master.info reads half of it, and has to forget that first."""
    sql = setup_dialect(session.flavour).change_source(tls=tls)
    try:
        await session.run(sql, host, port, user, password, limit_s=limit_s)
    except MysqlError as error:
        if error.code != _HALF_WRITTEN:
            raise
        await session.run(dialect(session.flavour).reset_replica, limit_s=limit_s)
        await session.run(sql, host, port, user, password, limit_s=limit_s)


async def identity(session: Session) -> tuple[int, str]:
    """Its server id and, of a MySQL, its uuid."""
    uuid = "''" if session.flavour.mariadb else "@@GLOBAL.server_uuid"
    row = (await session.rows(f"SELECT @@GLOBAL.server_id AS i, {uuid} AS u"))[0]
    return int(row["i"]), str(row["u"])


async def write_as(session: Session, one: str) -> None:
    """The next transaction of this session, which is for nothing else, gets the GTID of another
    server's."""
    if not session.flavour.mariadb:
        await session.run("SET SESSION gtid_next = %s", one)
        return
    domain, server, sequence = MariadbGtids.read(one).positions[0]
    # The number in a statement of its own: strict mode looks at it by the domain that holds then.
    await session.run(f"SET SESSION gtid_domain_id = {domain}, SESSION server_id = {server}")
    await session.run(f"SET SESSION gtid_seq_no = {sequence}")


async def past_super_read_only(
    session: Session, write: Callable[[], Awaitable[Item]]
) -> Item:
    """Write what is this server's own (not in its binary log), also where it keeps administrators
    out, as a MySQL that replicates does: super_read_only is off meanwhile, read_only is not."""
    if not dialect(session.flavour).has_super_read_only or not await session.value(
            "SELECT @@GLOBAL.super_read_only"):
        return await write()
    return await as_passive(session, write)


async def as_passive(session: Session, write: Callable[[], Awaitable[Item]]) -> Item:
    """Write something on a read-only server in a way that cannot collide with the active's writes.

    MySQL: past super_read_only for that moment, while read_only stays. MariaDB: in a GTID domain
    of this server's own, whose number is its server id.
    """
    if session.flavour.mariadb:
        before = int(await session.value("SELECT @@SESSION.gtid_domain_id"))
        await session.run("SET SESSION gtid_domain_id = @@GLOBAL.server_id")
        try:
            return await write()
        finally:
            if session.broken is None:
                await session.run(f"SET SESSION gtid_domain_id = {before}")
    await session.run("SET GLOBAL super_read_only = 0")
    try:
        return await write()
    finally:
        if session.broken is None:
            await close(session)


@contextlib.asynccontextmanager
async def closed_but_to_us(session: Session) -> AsyncIterator[None]:
    """Have the server be read-only from here on, but not to administrators. When what is done
    meanwhile fails, super_read_only is set again where it was."""
    kept_us_out = await open_to_admins(session)
    await session.run("SET GLOBAL read_only = 1", limit_s=30)
    try:
        yield
    except BaseException:
        if kept_us_out and session.broken is None:
            with contextlib.suppress(OutsideError):  # what failed before it is what people read
                await close(session, tries=3)
        raise


_RESTING = ("Sleep", "Binlog Dump", "Binlog Dump GTID", "Daemon")


async def _at_work(session: Session) -> str:
    """Who may be in the way of a lock on all tables: the sessions that do not rest."""
    rows = await session.rows("SHOW FULL PROCESSLIST")
    busy = [r for r in rows if r["Command"] not in _RESTING and r["State"] != "starting"]
    said = [f"{r['Id']} {r['User']}: {r['State'] or r['Command']} ({r['Time']} s)" for r in busy]
    return f"at work there: {', '.join(said[:12]) or 'nobody'}"


async def close(
    session: Session, *, tries: int = CLOSE_TRIES,
    between: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Close a server that replicates, to administrators too; one and a half seconds a try.
    `between` is done before it is tried again.

    On MySQL 5.7 workers that commit in their source's order and this statement can wait for each
    other (one has the commit lock's place in the queue, one that comes before it waits behind us):
    then nothing goes on until it is given up. So it is, after a second, and tried again.
    """
    await session.run("SET SESSION lock_wait_timeout = 1")
    try:
        for left in reversed(range(tries)):
            try:
                await set_read_only(session, True, limit_s=30)
                return
            except MysqlError as error:
                if error.code != LOCK_WAIT_TIMEOUT:
                    raise
                if not left:
                    raise OutsideError(session.at.where, f"{error}; {await _at_work(session)}",
                                       sent=True) from error
            if between is not None:
                await between()
            await asyncio.sleep(CLOSE_REST_S)
    finally:
        if session.broken is None:
            await session.run("SET SESSION lock_wait_timeout = DEFAULT")
