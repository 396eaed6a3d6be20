"""Semi-synchronous replication: its settings have several names, and may be absent."""

from __future__ import annotations

import asyncio
import contextlib

from slackwater import clock
from slackwater.facts.failover import SemiSync
from slackwater.facts.server import is_on
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.close_resting import NO_SUCH_THREAD
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.session import MysqlError, Row, Session
from slackwater.outside.mysql.setup_dialect import setup_dialect

_LOOK = (
    "SHOW GLOBAL VARIABLES LIKE 'rpl_semi_sync%';SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync%'"
)
_KILL = "SHOW GLOBAL VARIABLES LIKE 'rpl_semi_sync_slave_kill_conn_timeout'"
_AT_THE_END = ("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'system user'"
               " AND STATE LIKE '%has read all relay log%'")
_RECEIVERS = "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'Slave_IO'"
_WAITING = (
    "SELECT ID FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for semi-sync ACK%'"
)
STILL_S = 0.05
_SOURCE = ("rpl_semi_sync_source_", "rpl_semi_sync_master_")
_REPLICA = ("rpl_semi_sync_replica_", "rpl_semi_sync_slave_")


async def look(session: Session, *, limit_s: float = 3.0) -> SemiSync | None:
    """How this server does it; None where it cannot."""
    variables, status = (_named(rows) for rows in await session.many(_LOOK, limit_s=limit_s))
    source, replica = _prefix(variables, _SOURCE), _prefix(variables, _REPLICA)
    if not source or not replica:
        return None
    return SemiSync(
        source=is_on(variables[source + "enabled"]),
        replica=is_on(variables[replica + "enabled"]),
        receiving=is_on(status.get(replica + "status")),
        after_sync=variables.get(source + "wait_point", "").upper() == "AFTER_SYNC",
        timeout_ms=int(variables.get(source + "timeout", "0")),
        clients=int(status.get(source + "clients", "0")),
    )


async def prepare(session: Session, *, limit_s: float = 10.0) -> tuple[str, str]:
    """Load its plugins where it needs them and has none; what its settings begin with, as a source
    and as a replica. Raises MysqlError where there is no such plugin."""
    rows = await session.rows("SHOW GLOBAL VARIABLES LIKE 'rpl_semi_sync%'", limit_s=limit_s)
    names = _named(rows)
    if (source := _prefix(names, _SOURCE)) and (replica := _prefix(names, _REPLICA)):
        return source, replica
    speaks = setup_dialect(session.flavour)
    for (name, file), prefix in zip(speaks.semi_sync_plugins, speaks.semi_sync, strict=True):
        if prefix + "enabled" not in names:
            await session.run(f"INSTALL PLUGIN {name} SONAME '{file}'", limit_s=limit_s)
    return speaks.semi_sync


def file_settings(session: Session, timeout_ms: int) -> dict[str, str]:
    """What an option file has to say of it. `loose_`: a server that is asked about its file has no
    plugins loaded."""
    speaks = setup_dialect(session.flavour)
    loose = "loose_" if speaks.semi_sync_plugins else ""
    source, replica = (loose + prefix for prefix in speaks.semi_sync)
    found = {source + "enabled": "ON", source + "wait_point": "AFTER_SYNC",
             source + "timeout": str(timeout_ms)}
    return found if speaks.semi_sync_cuts else found | {replica + "enabled": "ON"}


async def set_waiting(session: Session, timeout_ms: int, *, limit_s: float = 5.0) -> None:
    """How commits wait, where they do: before others see them, and for how long at most."""
    source, _ = await prepare(session, limit_s=limit_s)
    await session.run(f"SET GLOBAL {source}wait_point = AFTER_SYNC", limit_s=limit_s)
    await session.run(f"SET GLOBAL {source}timeout = {timeout_ms}", limit_s=limit_s)


async def set_replica(session: Session, on: bool, *, limit_s: float = 10.0) -> None:
    """Have it give word of what it receives, or not: told to its source when it connects, so the
    I/O thread is begun anew. Nothing where there is no such setting."""
    rows = await session.rows("SHOW GLOBAL VARIABLES LIKE 'rpl_semi_sync%'", limit_s=limit_s)
    if prefix := _prefix(_named(rows), _REPLICA):
        await session.run(f"SET GLOBAL {prefix}enabled = {int(on)}", limit_s=limit_s)
        await stop_receiving(session, limit_s=limit_s)
        await mysql_server.start_replica(session, limit_s=limit_s)


async def waiting(session: Session, *, limit_s: float = 2.0) -> list[int]:
    """The threads that wait for a replica's word."""
    rows = await session.rows(_WAITING, limit_s=limit_s)
    return [int(r["ID"]) for r in rows]


async def set_source(session: Session, on: bool, *, limit_s: float = 2.0) -> None:
    """Have commits wait for a replica's word, or not. Nothing where there is no such setting."""
    rows = await session.rows("SHOW GLOBAL VARIABLES LIKE 'rpl_semi_sync%'", limit_s=limit_s)
    if prefix := _prefix(_named(rows), _SOURCE):
        await session.run(f"SET GLOBAL {prefix}enabled = {int(on)}", limit_s=limit_s)


async def stop_receiving(session: Session, *, limit_s: float = 8.0) -> None:
    """Stop the I/O thread. One of MariaDB that acknowledges first logs in to its source, to end its
    thread there, and waits 5 s for one that hangs: 1 s is the shortest that it can be told."""
    variables = _named(await session.rows(_KILL, limit_s=limit_s))
    if not variables:
        await mysql_server.stop_receiving(session, limit_s=limit_s)
        return
    (name, was), = variables.items()
    stop, put_back = dialect(session.flavour).stop_receiving, f"SET GLOBAL {name} = {int(was)}"
    # As one statement: the server does all of it, also when we do not live to see that.
    await session.run(
        f"BEGIN NOT ATOMIC DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN {put_back}; RESIGNAL; END;"
        f" SET GLOBAL {name} = 1; {stop}; {put_back}; END", limit_s=limit_s)


async def cut_receiving(session: Session, *, limit_s: float = 8.0) -> None:
    """Have nothing more come from the source. As `stop_receiving`, but a thread of MariaDB that
    gives word is killed, and not waited for: it reads nothing more, and what is left of it is to
    tell a source that hangs, for a second. A START would find it there; STOP waits for it."""
    found = await look(session) if session.flavour.mariadb else None
    if found is None or not found.receiving:
        await stop_receiving(session, limit_s=limit_s)
        return
    speaks, until = dialect(session.flavour), clock.mono() + limit_s
    variables = _named(await session.rows(_KILL, limit_s=limit_s))
    for name in variables:
        await session.run(f"SET GLOBAL {name} = 1", limit_s=limit_s)
    try:
        for row in await session.rows(_RECEIVERS, limit_s=limit_s):
            try:
                await session.run(f"KILL {int(row['ID'])}", limit_s=limit_s)
            except MysqlError as error:
                if error.code != NO_SUCH_THREAD:
                    raise
        # What it was at when it was killed is in the relay log when its position does not move.
        still_since, position = clock.mono(), ""
        while clock.mono() - still_since < STILL_S or await receives(session):
            status = await session.rows(speaks.replica_status, limit_s=limit_s)
            now = str([(r.get("Gtid_IO_Pos"), r.get("Read_Master_Log_Pos")) for r in status])
            if now != position:
                still_since, position = clock.mono(), now
            if clock.mono() > until:
                await stop_receiving(session, limit_s=limit_s)
                return
            await asyncio.sleep(STILL_S / 5)
    finally:
        for name, was in variables.items():
            if session.broken is None:
                await session.run(f"SET GLOBAL {name} = {int(was)}", limit_s=limit_s)


async def receives(session: Session, *, limit_s: float = 3.0) -> bool:
    """Whether an I/O thread may still take something from a source: one that was killed, and has
    not ended, does not. MariaDB only."""
    return bool(await session.rows(_RECEIVERS, limit_s=limit_s))


async def stop_applying(session: Session, *, limit_s: float = 5.0) -> None:
    """Stop all threads of replication, but for an I/O thread that `cut_receiving` has killed: that
    one is not waited for."""
    if not session.flavour.mariadb:
        await _end_waiting_for_rest(session, limit_s)
    elif not await receives(session):
        await session.run(dialect(session.flavour).stop_applying, limit_s=limit_s)
        return
    await mysql_server.stop_replica(session, limit_s=limit_s)


async def _end_waiting_for_rest(session: Session, limit_s: float) -> None:
    """Kill the applier that has read all, and has of a transaction only the beginning: at a STOP,
    MySQL's with workers waits a minute for the rest, which does not come. What it began is rolled
    back, as by a STOP."""
    found = await mysql_server.replica_status(session)
    if all((c.source_file, c.read_position) == (c.applied_file, c.applied_position)
           for c in found):
        return
    ids = [int(row["ID"]) for row in await session.rows(_AT_THE_END, limit_s=limit_s)]
    for each in ids:
        with contextlib.suppress(MysqlError):  # not ours to end: STOP waits for it
            await mysql_server.kill(session, each)
    until = clock.mono() + limit_s
    # A STOP that comes before it has ended would have it wait after all.
    while ids and any(c.sql_running for c in await mysql_server.replica_status(session)):
        if clock.mono() > until:
            return
        await asyncio.sleep(STILL_S / 5)


def _prefix(names: dict[str, str], prefixes: tuple[str, ...]) -> str:
    return next((p for p in prefixes if p + "enabled" in names), "")


def _named(rows: list[Row]) -> dict[str, str]:
    return {str(r["Variable_name"]).lower(): str(r["Value"]) for r in rows}
