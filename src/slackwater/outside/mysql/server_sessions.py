"""Which session of a server is at the other end of which socket of this host. Reads only.

By TCP the server tells the client's address and port. By unix socket it tells neither; there the
way is: session -> the server's descriptor -> its socket -> the other end, which the kernel tells.
The descriptor is in Performance Schema (`socket_instances`), or, in MariaDB without it, in the call
in which the session's thread waits for the client: poll(2), whose argument is read (4 bytes).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from slackwater.facts.doctor.server import ServerSession
from slackwater.outside import sock_diag
from slackwater.outside.mysql.session import MysqlError, Row, Session
from slackwater.outside.processes import is_server
from slackwater.outside.waiting import waits_for

_ATTRIBUTES = (
    "SELECT PROCESSLIST_ID AS ID, ATTR_VALUE AS IT FROM performance_schema.session_connect_attrs"
    " WHERE ATTR_NAME = '_pid'"
)
_DESCRIPTORS = (
    "SELECT t.PROCESSLIST_ID AS ID, s.SOCKET_ID AS IT FROM performance_schema.socket_instances s"
    " JOIN performance_schema.threads t USING (THREAD_ID)"
    " WHERE s.EVENT_NAME = 'wait/io/socket/sql/client_connection' AND t.PROCESSLIST_ID IS NOT NULL"
)
_THREADS = "SELECT ID, TID AS IT FROM information_schema.PROCESSLIST WHERE TID IS NOT NULL"
_SOCKET = re.compile(r"socket:\[(\d+)\]")


async def sessions(
    session: Session, variables: Mapping[str, str], *, is_here: bool, limit_s: float = 5.0
) -> tuple[ServerSession, ...]:
    """The client sessions of a server. `is_here`: it runs on this host, so that its own sockets
    can be looked at. What may not be seen is left out."""
    rows = await session.rows("SHOW PROCESSLIST", limit_s=limit_s)
    pids = await _numbers(session, _ATTRIBUTES, limit_s)
    found = {int(r["Id"]): ServerSession(int(r["Id"]), r["User"] or "", r["Host"] or "",
                                         pids.get(int(r["Id"]), 0), asleep_s=_asleep(r))
             for r in rows}
    if is_here and any(":" not in one.host for one in found.values()):
        pid = pid_of(variables)
        descriptors = await _numbers(session, _DESCRIPTORS, limit_s)
        if not descriptors:
            threads = await _numbers(session, _THREADS, limit_s)
            descriptors = {number: waits for number, thread in threads.items()
                           if (waits := waits_for(pid, thread)) is not None}
        for number, peer in _peers(pid, descriptors).items():
            if number in found:
                found[number] = replace(found[number], peer=peer)
    return tuple(found.values())


def _asleep(row: Row) -> int | None:
    return int(row["Time"]) if row["Command"] == "Sleep" and row["Time"] is not None else None


async def _numbers(session: Session, sql: str, limit_s: float) -> dict[int, int]:
    """ID -> a number; {} where this server has no such table, or does not show it to us."""
    try:
        rows = await session.rows(sql, limit_s=limit_s)
    except MysqlError:
        return {}
    return {int(r["ID"]): int(r["IT"]) for r in rows if str(r["IT"]).isdigit()}


def pid_of(variables: Mapping[str, str]) -> int:
    """The server's process by its own file; 0 where that cannot be read."""
    path = Path(variables.get("datadir", ""), variables.get("pid_file", ""))
    try:
        pid = int(path.read_text())
    except (OSError, ValueError):
        return 0
    return pid if is_server(pid) else 0  # not so where it is the number inside of a container


def _peers(pid: int, descriptors: Mapping[int, int]) -> dict[int, int]:
    """ID -> the inode of the client's end, of sessions by unix socket."""
    own: dict[int, int] = {}  # the server's end -> ID
    for number, descriptor in descriptors.items():
        with contextlib.suppress(OSError):
            target = str(Path(f"/proc/{pid}/fd/{descriptor}").readlink())
            if match := _SOCKET.fullmatch(target):
                own[int(match[1])] = number
    try:
        return {own[u.inode]: u.peer for u in sock_diag.unix() if u.inode in own and u.peer}
    except OSError:
        return {}
