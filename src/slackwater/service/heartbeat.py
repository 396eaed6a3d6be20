"""The heartbeat: a pair's writable server, or a source, has a row of its own written a few times a
second.

A task for each such server writes to it on every tick, on the condition (checked by the
server, in the statement itself) that it is open for writes. So it needs no idea of who is active, a
switchover moves it by itself, and a read-only server is never written to. A server that goes away
is connected to again, once a second, for as long as it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from slackwater import clock
from slackwater.config import Config
from slackwater.errors import OutsideError
from slackwater.facts.server import ServerAddress
from slackwater.operations.servers_world import server_address
from slackwater.outside.mysql import heartbeat as mysql_heartbeat
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import MysqlError, Session

BEAT_LIMIT_S = 2.0
RECONNECT_S = 1.0
FIRST_LIMIT_S = 10.0  # then READY is told, whether a server is there or not
_NOT_THERE = frozenset({1146, 1049})
# Behind FLUSH TABLES WITH READ LOCK for so long: the beat is late, let it go.
_LOCK_WAIT_S = 1
_REFUSED = frozenset({1205, 1290, 1836})  # locked, or read-only (super_read_only)

Say = Callable[[str], None]


@dataclass
class Pulse:
    """One server's heartbeat, as this service knows it."""

    server: str
    state: str = "not connected"  # or "writing", "read-only", or an error
    beats: int = 0  # written by this process


class Heartbeat:
    """The service. `run` returns when `stop` is set."""

    def __init__(self, config: Config, pair: str, *, interval_s: float, say: Say) -> None:
        group = config.group(pair)
        password = config.password()
        self._at = [server_address(config, n, password) for n in group.heads]
        self.pulses = {n: Pulse(n) for n in group.heads}
        self.stop = asyncio.Event()
        self._interval_s, self._say = interval_s, say
        self._tried: set[str] = set()

    async def run(self) -> None:
        """Beat until `stop`. Tells systemd when every server was tried once, and that it lives."""
        tasks = [asyncio.create_task(self._server(at)) for at in self._at]
        try:
            await self._first()
            notify(f"READY=1\nSTATUS={self.status()}")
            while not await self._stopped(1.0):
                notify(f"WATCHDOG=1\nSTATUS={self.status()}")
        finally:
            notify("STOPPING=1")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def status(self) -> str:
        """One line: what each server does."""
        return "; ".join(f"{p.server}: {p.state}" for p in self.pulses.values())

    async def _first(self) -> None:
        ends = clock.mono() + FIRST_LIMIT_S
        while len(self._tried) < len(self._at) and clock.mono() < ends:
            if await self._stopped(0.02):
                return

    async def _stopped(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self.stop.wait()
        except TimeoutError:
            return False

    async def _server(self, at: ServerAddress) -> None:
        """One server, for ever."""
        while True:
            try:
                session = await Session.open(at, limit_s=3.0, program="slackwater heartbeat")
                try:
                    await self._beat_on(session)
                finally:
                    await session.close()
            except OutsideError as error:
                self._now(at.name, str(error))
            self._tried.add(at.name)
            await asyncio.sleep(RECONNECT_S)

    async def _beat_on(self, session: Session) -> None:
        name = session.at.name
        await session.run(f"SET SESSION lock_wait_timeout={_LOCK_WAIT_S},"
                          f"SESSION innodb_lock_wait_timeout={_LOCK_WAIT_S}", limit_s=2.0)
        server_id, found, _ = await mysql_heartbeat.own(session)
        number = found[server_id].number if server_id in found else 0
        due = clock.mono()
        while True:
            if await self._one(session, number + 1):
                number += 1
                self.pulses[name].beats += 1
                self._now(name, "writing")
            elif self.pulses[name].state == "writing" or name not in self._tried:
                self._now(name, "read-only")
            self._tried.add(name)
            due = max(due + self._interval_s, clock.mono())
            await asyncio.sleep(due - clock.mono())

    async def _one(self, session: Session, number: int) -> bool:
        try:
            return await mysql_heartbeat.beat(session, number, limit_s=BEAT_LIMIT_S)
        except MysqlError as error:
            if error.code in _REFUSED:
                return False
            if error.code not in _NOT_THERE or not await mysql_server.is_writable(session):
                if error.code in _NOT_THERE:
                    return False  # it will come by replication
                raise
        await mysql_heartbeat.create(session)
        return False

    def _now(self, server: str, state: str) -> None:
        if self.pulses[server].state != state:
            self.pulses[server].state = state
            self._say(f"{server}: {state}")


def notify(text: str) -> None:
    """Tell systemd (sd_notify); nothing happens where nobody listens."""
    place = os.environ.get("NOTIFY_SOCKET")
    if not place:
        return
    # "@" stands for the zero byte of an abstract socket.
    address = "\0" + place[1:] if place.startswith("@") else place
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.sendto(text.encode(), address)
