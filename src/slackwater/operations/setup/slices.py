"""A replica catches up no faster than its source's commits bear, where both share a machine.

A replica that is far behind applies with all it has: threads, processor, disk. On a machine of its
own nobody feels that; beside its source it made commits there wait for 0.2 to 0.4 s (MySQL 9.7, two
cores). So it applies in slices: after each its SQL thread is stopped until the source answers in
time. As long as the source does, slices get longer, and soon they are not ended any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from slackwater import clock
from slackwater.errors import SlackwaterError
from slackwater.facts.replication import has_one_source
from slackwater.facts.server import ServerAddress
from slackwater.operations.servers_world import admin_address
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside.mysql import alter as mysql_alter
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.pace import Pace, paced
from slackwater.outside.mysql.session import MysqlError, Session, heed_cancelling

FIRST_S, LEAST_S = 0.05, 0.03
LONGER, BY_AND_BY, SHORTER = 1.5, 1.05, 0.6
FREE_S = 2.0  # a slice of this length goes on for as long as the source answers in time
REST_S, REST_LIMIT_S = 0.05, 1.0
LOOK_EVERY_S = 0.005
STOP_LIMIT_S = 6 * 3600.0  # what is being applied ends first: an ALTER, for example
START_LIMIT_S = 10.0
STOPPED_EVERY_S = 0.1
BEGIN_LIMIT_S = 1.0
GENTLE_S = 3600.0  # a catching up that takes longer has a limit of its own to think of
AGAIN_S = 1.0


class Slices:
    """How long the replica at this address may apply at once, and how often it was stopped."""

    def __init__(self, at: ServerAddress, *, waits: bool = False) -> None:
        self._at = at
        self._slice_s = FIRST_S
        self._bound_s = math.inf  # where slices have been too long, they get longer only slowly
        self._gentle_until = clock.mono() + GENTLE_S
        self._stopped = waits  # its SQL thread, by us
        self._stopping = False  # the server has given up waiting for that: it stops when it can
        self._least_s = LEAST_S  # of a slice, however late the source
        self._had = ""  # the replica, as this slice began
        self.refused: MysqlError | None = None  # why the server does not start it, asked twice
        self.rests = 0

    def let_go(self) -> None:
        """From now on it applies as fast as it can."""
        self._gentle_until = -math.inf

    async def begin(self) -> None:
        """Stop it, for a look at how its source answers without."""
        if self._stopped:
            return
        with contextlib.suppress(SlackwaterError):  # whoever needs the replica will say so
            async with await Session.open(self._at) as session:
                if await _applies(session):
                    await self._stop(session)

    async def run(self, pace: Pace, beginning: asyncio.Future[None]) -> None:
        """After `beginning`, until cancelled; a session that is lost is opened again."""
        await beginning
        before: MysqlError | None = None
        while True:
            last, before = before, None
            with contextlib.suppress(SlackwaterError):
                async with await Session.open(self._at) as session:
                    try:
                        await self._start(session)
                    except MysqlError as error:
                        before = error
                        self.refused = error if last else None
                        raise
                    self.refused = None
                    self._had = await mysql_server.executed_text(session)
                    while await self._one(session, pace):
                        pass
                    return
            heed_cancelling()
            await asyncio.sleep(AGAIN_S)

    async def end(self) -> None:
        """It applies, if it was us who stopped it. Raises OutsideError."""
        if self._stopped:
            async with await Session.open(self._at) as session:
                if self._stopping:  # until it has, a start does nothing
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(START_LIMIT_S):
                            await self._ended(session)
                await self._start(session)

    async def _one(self, session: Session, pace: Pace) -> bool:
        """A slice and a rest; False when somebody else, or an error, has stopped it."""
        heed_cancelling()  # a login may have taken it
        begun = clock.mono()
        await asyncio.sleep(self._least_s)
        await _until(lambda: pace.late, self._slice_s - self._least_s)
        if pace.late:
            self._slice_s = self._bound_s = max(LEAST_S, (clock.mono() - begun) * SHORTER)
        else:
            self._bound_s *= BY_AND_BY
            self._slice_s = min(self._slice_s * LONGER, self._bound_s)
        if begun > self._gentle_until or (not pace.late and self._slice_s > FREE_S):
            return True
        if not await _applies(session):
            return False
        if await mysql_server.executed_text(session) == self._had:
            return True  # what is half done would be rolled back: a long one would never get done
        await self._stop(session)
        await asyncio.sleep(REST_S)
        await _until(lambda: not pace.late, REST_LIMIT_S)
        # Late after a long rest too: perhaps it is not the replica that makes its source late.
        self._least_s = min(REST_LIMIT_S, self._least_s * 2) if pace.late else LEAST_S
        if await _failed(session):
            self._stopped = False  # a start would hide the error for a moment, and end the same
            return False
        self._had = await mysql_server.executed_text(session)
        await self._start(session)
        return True

    async def _stop(self, session: Session) -> None:
        self._stopped = True
        self.rests += 1
        try:
            await mysql_alter.stop_applier(session, limit_s=STOP_LIMIT_S)
        except MysqlError:  # MySQL's rpl_stop_replica_timeout: it stops all the same, later
            self._stopping = True
            await self._ended(session)

    async def _ended(self, session: Session) -> None:
        while await _applies(session):
            await asyncio.sleep(STOPPED_EVERY_S)
        self._stopping = False

    async def _start(self, session: Session) -> None:
        if self._stopped:
            await mysql_alter.start_applier(session, limit_s=START_LIMIT_S)
            self._stopped = False


async def _until(true: Callable[[], bool], limit_s: float) -> None:
    until = clock.mono() + limit_s
    while not true() and clock.mono() < until:
        await asyncio.sleep(LOOK_EVERY_S)


async def _applies(session: Session) -> bool:
    channels = await mysql_server.replica_status(session)
    return has_one_source(channels) and channels[0].sql_running


async def _failed(session: Session) -> bool:
    return any(c.sql_error for c in await mysql_server.replica_status(session))


@contextlib.asynccontextmanager
async def gently(
    world: SetupWorld, replica: str, source: str, slow_ms: float, *, waits: bool = False
) -> AsyncIterator[Slices | None]:
    """Meanwhile the replica applies in slices; afterwards it applies. `waits`: its SQL thread has
    not been started yet, which is for us to do. None, and nothing of this, for `slow_ms` 0."""
    if not slow_ms:
        yield None
        return
    slices = Slices(admin_address(world.config, replica), waits=waits)
    beginning = asyncio.ensure_future(slices.begin())
    try:
        # What is being applied may be an ALTER. The caller has sessions to keep alive meanwhile.
        await asyncio.wait({beginning}, timeout=BEGIN_LIMIT_S)
        async with paced(admin_address(world.config, source), slow_ms / 1000) as pace:
            assert pace is not None  # slow_ms is not 0
            slicing = asyncio.ensure_future(slices.run(pace, beginning))
            try:
                yield slices
            finally:
                await _cancel(slicing)
    except BaseException:
        await _cancel(beginning)
        # What happened is worth more, and who is asked twice to end does not leave it stopped.
        with contextlib.suppress(SlackwaterError, asyncio.CancelledError):
            await _to_its_end(slices.end())
        raise
    await _to_its_end(slices.end())


async def _cancel(task: asyncio.Future[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _to_its_end(what: Coroutine[Any, Any, None]) -> None:
    """Do it, and be cancelled only then."""
    doing, cancelled = asyncio.ensure_future(what), False
    while not doing.done():
        try:
            await asyncio.shield(doing)
        except asyncio.CancelledError:
            cancelled = True
    doing.result()
    if cancelled:
        raise asyncio.CancelledError
