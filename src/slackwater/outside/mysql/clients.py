"""The client sessions of a server: who is there, who rests, who is in a transaction; closing."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from slackwater.errors import OutsideError
from slackwater.facts import statement_text
from slackwater.facts.server import ClientSession
from slackwater.outside.mysql.abilities import Abilities, abilities
from slackwater.outside.mysql.close_resting import NO_SUCH_THREAD, NOT_OURS
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.session import MysqlError, Session

# Sessions looked at and then closed in one go: few, so that the last is not far from its look.
CHUNK = 16

_ACTIVE = re.compile(r"^---TRANSACTION \S+, ACTIVE (?:\([^)]*\) )?(\d+) sec", re.M)
_THREAD = re.compile(r"^(?:MySQL|MariaDB) thread id (\d+)", re.M)
_CUT_SHORT = "... truncated..."


async def client_sessions(
    session: Session, exclude_ids: Collection[int] = (), *, limit_s: float = 5.0
) -> list[ClientSession]:
    """All client sessions but this one and `exclude_ids`, in one round trip.

    Not in it: replication and its dump threads, the event scheduler, the server's own threads.
    Who has not logged in yet is in it (command "Connect"), and so is who is being ended
    ("Killed"). `idle_ms` is None for the busy, and where the server cannot tell yet.
    """
    able = await abilities(session)
    rows = await session.rows(dialect(session.flavour).clients(able.own_thread), limit_s=limit_s)
    return [_session(row) for row in rows if int(row["ID"]) not in exclude_ids]


def _session(row: dict[str, Any]) -> ClientSession:
    command, idle_ms, running = row["COMMAND"], row["IDLE_MS"], row["RUNNING_S"]
    resting = command == "Sleep" and idle_ms is not None
    return ClientSession(
        id=int(row["ID"]),
        user=row["USER"] or "",
        host=row["HOST"] or "",
        db=row["DB"] or "",
        command=command or "",
        state=row["STATE"] or "",
        info=statement_text.statement(row["INFO"] or ""),
        idle_ms=max(0.0, float(idle_ms)) if resting else None,
        last_command=(row["LAST_COMMAND"] or "").rpartition("/")[2],
        running_s=None if running is None else float(running),
    )


async def appliers(session: Session, *, limit_s: float = 5.0) -> list[ClientSession]:
    """Replication's own threads that apply a statement now (row events of MySQL show none)."""
    rows = await session.rows(dialect(session.flavour).appliers, limit_s=limit_s)
    return [_session(row) for row in rows]


async def appliers_idle(session: Session, *, limit_s: float = 5.0) -> bool:
    """Whether replication's threads have applied all there is: the SQL thread has read the whole
    relay log, and its workers wait for it. Of a server whose I/O thread is stopped."""
    return not await session.value(dialect(session.flavour).busy_appliers, limit_s=limit_s)


async def open_transactions(session: Session, *, limit_s: float = 5.0) -> dict[int, float]:
    """Sessions in a transaction now, with its age in seconds (whole ones but on MySQL 8+).

    Live, unlike information_schema.INNODB_TRX, which is a copy up to 100 ms old that every
    reader keeps from being renewed. From Performance Schema where its transaction events are on
    (MySQL 8+, or `watch_transactions`): then a mere BEGIN counts. Else from SHOW ENGINE INNODB
    STATUS: in MariaDB a transaction counts from its first statement that touches an InnoDB table,
    in MySQL from its first one that writes or locks. When InnoDB cut that list short
    (a megabyte of transactions) INNODB_TRX has to do.
    """
    sql = _transactions_sql((await abilities(session)).transactions)
    return await _transactions(session, await session.rows(sql, limit_s=limit_s), limit_s)


async def clients_and_transactions(
    session: Session, *, limit_s: float = 5.0
) -> tuple[list[ClientSession], dict[int, float]]:
    """`client_sessions`, and then `open_transactions`, in one round trip."""
    results = await session.many(_look_sql(session, await abilities(session)), limit_s=limit_s)
    return await _looked(session, results, limit_s)


def _look_sql(session: Session, able: Abilities) -> str:
    speaks = dialect(session.flavour)
    transactions = _transactions_sql(able.transactions)
    return f"{speaks.looking}{speaks.clients(able.own_thread)};{transactions}"


async def _looked(
    session: Session, results: list[list[dict[str, Any]]], limit_s: float
) -> tuple[list[ClientSession], dict[int, float]]:
    *_, sessions, found = results
    return [_session(row) for row in sessions], await _transactions(session, found, limit_s)


def _transactions_sql(events: bool) -> str:
    if not events:
        return "SHOW ENGINE INNODB STATUS"
    return (
        "SELECT t.PROCESSLIST_ID AS ID, x.TIMER_WAIT / 1e12 AS AGE"
        " FROM performance_schema.events_transactions_current x"
        " JOIN performance_schema.threads t ON t.THREAD_ID = x.THREAD_ID"
        " WHERE x.STATE = 'ACTIVE' AND t.PROCESSLIST_ID IS NOT NULL"
        " AND t.PROCESSLIST_ID <> CONNECTION_ID()"
    )


async def _transactions(
    session: Session, rows: list[dict[str, Any]], limit_s: float
) -> dict[int, float]:
    if rows and "Status" in rows[0]:
        if _CUT_SHORT not in rows[0]["Status"]:
            return parse_innodb_status(rows[0]["Status"])
        rows = await session.rows(
            "SELECT trx_mysql_thread_id AS ID, TIMESTAMPDIFF(SECOND, trx_started, SYSDATE()) AS AGE"
            " FROM information_schema.INNODB_TRX",
            limit_s=limit_s,
        )
    return {int(row["ID"]): float(row["AGE"] or 0) for row in rows if row["ID"]}


def parse_innodb_status(text: str) -> dict[int, float]:
    """Thread ids and ages in seconds of the active transactions in SHOW ENGINE INNODB STATUS.

    One without a thread (a prepared XA transaction after its session's end) is left out.
    """
    found: dict[int, float] = {}
    # The deadlock section shows transactions of the past in other words; the list begins here.
    _, _, listed = text.partition("LIST OF TRANSACTIONS FOR EACH SESSION:")
    for part in listed.split("\n---TRANSACTION ")[1:]:
        active = _ACTIVE.match("---TRANSACTION " + part)
        thread = _THREAD.search(part)
        if active and thread:
            found[int(thread[1])] = float(active[1])
    return found


async def close_idle_and_look(
    session: Session,
    ids: Sequence[int],
    idle_ms: float,
    *,
    after_ping_ms: float = 0.0,
    limit_s: float = 5.0,
) -> tuple[list[int], list[ClientSession], dict[int, float]]:
    """`close_idle`, and then `clients_and_transactions`: of up to CHUNK ids in one round trip."""
    look = _look_sql(session, await abilities(session))
    closed, results = await _close(session, ids, idle_ms, after_ping_ms, limit_s, then=look)
    if not results:
        results = await session.many(look, limit_s=limit_s)
    return closed, *await _looked(session, results, limit_s)


async def close_idle(
    session: Session,
    ids: Sequence[int],
    idle_ms: float,
    *,
    after_ping_ms: float = 0.0,
    limit_s: float = 5.0,
) -> list[int]:
    """Close those of `ids` that have been asleep for at least `idle_ms`; returns them.

    One whose last command was a ping has probably just been taken from its pool and is about to
    be used: it must have slept for `after_ping_ms`. Only MySQL's Performance Schema tells.

    The server itself looks and closes, in one packet for CHUNK sessions, so that a client that
    begins a statement is almost never hit. Where Performance Schema has transaction events, a
    session in a transaction is left alone too; on MariaDB whoever has not rested since this
    session's last `clients_and_transactions`, which is where the caller sees transactions.
    MySQL without Performance Schema knows idle times in whole seconds: it then closes less.
    """
    closed, _ = await _close(session, ids, idle_ms, after_ping_ms, limit_s)
    return closed


async def resting(
    session: Session,
    ids: Sequence[int],
    idle_ms: float,
    *,
    after_ping_ms: float = 0.0,
    limit_s: float = 5.0,
) -> list[int]:
    """Those of `ids` that `close_idle` would close now."""
    able = await abilities(session)
    sql = dialect(session.flavour).resting(
        ids, idle_ms, after_ping_ms, able.own_thread, able.transactions)
    return [int(row["ID"]) for row in await session.rows(sql, limit_s=limit_s)]


async def _close(
    session: Session, ids: Sequence[int], idle_ms: float, after_ping_ms: float, limit_s: float,
    *, then: str = "",
) -> tuple[list[int], list[list[dict[str, Any]]]]:
    """Those closed, and the results of the last packet, `then` at its end; none where that packet
    failed, or there was none."""
    able = await abilities(session)
    sql = dialect(session.flavour).close_idle
    closed: list[int] = []
    results: list[list[dict[str, Any]]] = []
    for start in range(0, len(ids), CHUNK):
        left = list(ids[start : start + CHUNK])
        behind = f";{then}" if then and start + CHUNK >= len(ids) else ""
        while left:
            packet = sql(left, idle_ms, after_ping_ms, able.own_thread, able.transactions)
            try:
                results = await session.many(packet + behind, limit_s=limit_s)
            except MysqlError as error:
                if error.code not in (NO_SUCH_THREAD, NOT_OURS):
                    raise
                left, results = await _behind_the_failed(session, left, closed), []
                continue
            closed += _closed(results)
            break
    return closed, results


def _closed(results: list[list[dict[str, Any]]]) -> list[int]:
    """One answer of a packet that closes says who was closed."""
    return _ids(next((r[0]["CLOSED"] for r in results if r and "CLOSED" in r[0]), None))


async def _behind_the_failed(session: Session, tried: list[int], closed: list[int]) -> list[int]:
    """One could not be closed (it had just gone, or is not ours to end), which ended the packet:
    note what was closed before it, and return what is left to try."""
    row = (await session.rows("SELECT @sw_at AS LAST, @sw_closed AS CLOSED"))[0]
    closed += _ids(row["CLOSED"])
    return tried[tried.index(int(row["LAST"])) + 1 :]


def _ids(text: str | bytes | None) -> list[int]:
    if isinstance(text, bytes):
        text = text.decode()
    return [int(i) for i in (text or "").split(",") if i]


async def kill(session: Session, session_id: int, *, limit_s: float = 5.0) -> bool:
    """End a session, whatever it does; False when there is none of this id (any more).

    True says that the server has been told; a session in a long rollback stays for a while.
    Raises MysqlError 1095 when it is not ours to end (MySQL 8+: an account with SYSTEM_USER).
    """
    try:
        await session.run(f"KILL {int(session_id)}", limit_s=limit_s)
    except MysqlError as error:
        if error.code == NO_SUCH_THREAD:
            return False
        raise
    return True


async def end_session(session: Session, session_id: int, *, limit_s: float = 5.0) -> bool:
    """End a session; True as long as the server still has it. To be repeated until False."""
    return await kill(session, session_id, limit_s=limit_s)


async def kill_dump_threads(session: Session, *, limit_s: float = 5.0) -> int:
    """End the threads that send the binary log to replicas; how many there were.

    MySQL stops about 12 s later while one is left, even that of a replica long gone. Stop the
    replicas first: they come back at once.
    """
    rows = await session.rows(
        "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'",
        limit_s=limit_s,
    )
    return sum([await kill(session, int(row["ID"]), limit_s=limit_s) for row in rows])


async def dump_ports(session: Session, *, limit_s: float = 5.0) -> set[int]:
    """TCP ports at the other end of the connections by which replicas are served."""
    rows = await session.rows(
        "SELECT HOST FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'",
        limit_s=limit_s,
    )
    ends = (str(row["HOST"] or "").rpartition(":")[2] for row in rows)
    return {int(end) for end in ends if end.isdigit()}


async def programs(
    session: Session, ids: Sequence[int], *, limit_s: float = 5.0
) -> dict[int, str]:
    """What programs these sessions say they are, where the server keeps that.

    Empty without Performance Schema, as in MariaDB by default. Not for a hot path.
    """
    if not ids:
        return {}
    wanted = ",".join(map(str, map(int, ids)))
    try:
        rows = await session.rows(
            "SELECT PROCESSLIST_ID AS ID, ATTR_NAME AS NAME, ATTR_VALUE AS VALUE"
            " FROM performance_schema.session_connect_attrs"
            " WHERE ATTR_NAME IN ('program_name', '_client_name')"
            f" AND PROCESSLIST_ID IN ({wanted}) ORDER BY ATTR_NAME",
            limit_s=limit_s,
        )
    except OutsideError as error:
        if isinstance(error, MysqlError):
            return {}  # no such table, or not for us
        raise
    # "program_name" sorts behind "_client_name" and so wins.
    return {int(row["ID"]): str(row["VALUE"]) for row in rows if row["VALUE"]}
