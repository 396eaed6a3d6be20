"""The servers that a comparison reads, and how it waits for one to be where another was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from slackwater import clock
from slackwater.errors import OutsideError, SlackwaterError
from slackwater.facts.heartbeat import By
from slackwater.facts.replication import ReplicaStatus
from slackwater.facts.server import ServerAddress
from slackwater.operations import heartbeat
from slackwater.outside.mysql import compare as mysql_compare
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.rules.compare import Load, Pace, must_wait

Tell = Callable[[str], None]
STATEMENT_S = 20.0  # after which a server ends a statement of ours by itself
LOOK_EVERY_S = 0.5
RECONNECT_S = 60.0


class CannotTell(SlackwaterError):
    """The comparison cannot go on, and not because of what it compares."""


class Interrupted(SlackwaterError):
    """Somebody asked it to stop."""


class Side:
    """One server: a session to read in, one to look and wait in, one to lock rows in."""

    def __init__(self, name: str, at: ServerAddress) -> None:
        self.name, self.at = name, at
        self.writable = False  # as it was at the start
        self.data: Session
        self.control: Session
        self.lock: Session | None = None

    async def open(self) -> None:
        """Open both sessions. Raises OutsideError, CannotTell."""
        self.data = await Session.open(self.at)
        self.control = await Session.open(self.at)
        await self.ready(self.data)

    async def ready(self, session: Session) -> None:
        """Prepare a session for reading. Raises CannotTell."""
        if fault := await mysql_compare.prepare(session, statement_s=STATEMENT_S):
            raise CannotTell(f"{self.at.where}: {fault}")

    async def locking(self) -> Session:
        """The session in which rows are locked."""
        if self.lock is None or self.lock.broken:
            self.lock = await Session.open(self.at)
            await self.ready(self.lock)
        return self.lock

    async def renew(self) -> None:
        """New sessions in place of those that were cut, within a minute."""
        ends = clock.mono() + RECONNECT_S
        for session in (self.data, self.control):
            session.drop("replaced by a new one")
        while True:
            try:
                return await self.open()
            except MysqlError:
                raise
            except OutsideError:
                if clock.mono() > ends:
                    raise
            await asyncio.sleep(1.0)

    async def close(self) -> None:
        """Say goodbye; never raises."""
        for name in ("lock", "control", "data"):
            session = getattr(self, name, None)
            if session is not None:
                await session.close()


@dataclass
class Meeting:
    """The reference and the others, and everything that is waited for."""

    reference: Side
    others: list[Side]
    pace: Pace
    wait_s: float  # how long another server may take to reach a position
    tell: Tell
    stop: asyncio.Event
    may_lock: bool = True  # whether the account may lock rows on the reference
    rested_s: float = 0.0  # for load and lag, in all
    _looked: float = 0.0

    async def reach(self, other: Side, position: str) -> None:
        """Wait until `other` has all of a position. Raises CannotTell, Interrupted."""
        ends = clock.mono() + self.wait_s
        while not await mysql_compare.wait_applied(other.control, position, limit_s=1.0):
            self.go_on()
            channels = await self._replicating(other)
            if clock.mono() > ends:
                delay = max(c.delay_s for c in channels)
                meant = f" (it is told to lag by {delay} s)" if delay else ""
                raise CannotTell(
                    f"{other.at.where}: not within {self.wait_s:g} s where "
                    f"{self.reference.name} was{meant}", hint="a larger --wait")
            self.tell(f"waiting for {other.name} to catch up")

    async def _replicating(self, other: Side) -> tuple[ReplicaStatus, ...]:
        """How a server that lacks something replicates. Raises CannotTell when it does not."""
        channels = await mysql_server.replica_status(other.control)
        stopped = [c for c in channels if not c.sql_running or c.io_state == "No"]
        if not channels or stopped:
            why = "; ".join(e for c in stopped for e in c.errors) or "nobody started it"
            raise CannotTell(
                f"{other.at.where}: it lacks transactions of {self.reference.name}, and its "
                f"replication does not run ({why})", hint="`slackwater status` shows more")
        return channels

    async def same_roles(self) -> None:
        """Raises CannotTell when a server was opened or closed for writes since the start."""
        for side in (self.reference, *self.others):
            if await mysql_server.is_writable(side.control) != side.writable:
                raise CannotTell(f"{side.at.where}: it was switched over meanwhile",
                                 hint="compare again with --resume")

    def go_on(self) -> None:
        """Raises Interrupted when that was asked for."""
        if self.stop.is_set():
            raise Interrupted("interrupted")

    async def rest(self, seconds: float) -> None:
        """Rest so long, or until somebody asks to stop."""
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self.stop.wait()
            except TimeoutError:
                pass
        self.go_on()

    async def quiet(self) -> None:
        """Wait while load or lag forbid reading; looks twice a second at most."""
        self.go_on()
        if clock.mono() - self._looked < LOOK_EVERY_S:
            return
        await self.same_roles()
        begun = clock.mono()
        while why := must_wait(await self._load(), self.pace):
            self.tell(f"resting: {why}")
            await self.rest(LOOK_EVERY_S)
        self.rested_s += clock.mono() - begun
        self._looked = clock.mono()

    async def _load(self) -> Load:
        running = await mysql_compare.running(self.reference.control)
        lags = {o.name: await self._lag_s(o) for o in self.others}
        return Load(running, lags)

    async def _lag_s(self, other: Side) -> float | None:
        """How far it is behind, what it is told to lag taken off. Raises CannotTell when it does
        not replicate: it would be waited for in vain."""
        lag = await heartbeat.lag(self.reference.control, other.control, patience_s=0.0)
        if lag.by is By.POSITION and lag.ms is not None:
            return lag.ms / 1000
        channels = await self._replicating(other)
        found = lag.ms / 1000 if lag.ms is not None else max(
            (float(c.seconds_behind) for c in channels if c.seconds_behind is not None),
            default=None)
        return None if found is None else max(0.0, found - max(c.delay_s for c in channels))
