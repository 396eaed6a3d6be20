"""How fast a copy may go: as fast as its source's own commits do not get slow by it.

Beside the copy a session asks the source, many times a second, to have its redo log on disk
(FLUSH LOCAL ENGINE LOGS): that writes nothing of its own, and takes as long as the wait for the
processor and the disk that a commit has there just now. When that is too long, the copy stops until
it is not, and then goes on slower; while all is well, it gets faster by and by. A source that
answers late before anything is copied is busy with other things: there, late is twice that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from slackwater import clock
from slackwater.errors import SlackwaterError
from slackwater.facts.server import ServerAddress
from slackwater.outside.mysql.session import Session, heed_cancelling

ASK = "FLUSH LOCAL ENGINE LOGS"
ASK_EVERY_S = 0.02
FIRST_LIMIT_S = 5.0
SLOWER, FASTER = 0.6, 1.15
FASTER_EVERY_S = 0.5
LEAST = 4 << 20  # bytes a second: a copy ends some day
FIRST = 20  # answers, before anything is copied
REST_S = 0.1  # after a slow answer, for what is queued on the disk
STOP_S = 1.0  # at once; if the source is late still, the copy goes on at the least rate
MEASURE_S = 0.5


class Pace:
    """`rate`: bytes a second that are allowed now; 0: nobody has asked for less yet."""

    def __init__(self, slow_s: float) -> None:
        self.slow_s = slow_s
        self.rate = 0.0
        self.slowest_s = 0.0
        self.brakes = 0
        self.held_s = 0.0
        self._moved, self._since, self._seen = 0, clock.mono(), 0.0
        self._go = asyncio.Event()
        self._go.set()
        self._free_at = self._next = self._least_at = self._stopped_at = 0.0
        self._first: list[float] = []
        self.known = asyncio.Event()  # what it answers without a copy
        self._changed = clock.mono()
        self.asked_at = 0.0  # the question that is not answered yet; 0: none

    @property
    def late(self) -> bool:
        """The source's last answers were too slow, or the one that is waited for is already."""
        waits = self.asked_at and clock.mono() - self.asked_at > self.slow_s
        return bool(waits) or not self._go.is_set()

    def answered(self, took_s: float) -> None:
        """What the source took for one answer."""
        now, self.asked_at = clock.mono(), 0.0
        if not self.known.is_set():
            self._first.append(took_s)
            if len(self._first) >= FIRST:
                self.slow_s = max(self.slow_s, 2 * sorted(self._first)[int(FIRST * 0.9)])
                self.known.set()
            return
        self.slowest_s = max(self.slowest_s, took_s)
        if took_s > self.slow_s:
            self._brake(now)
            return
        if not self._go.is_set() and now >= self._free_at:
            self._go.set()
        if self.rate and now - self._changed > FASTER_EVERY_S:
            self.rate, self._changed = self.rate * FASTER, now

    def _brake(self, now: float) -> None:
        self._free_at = now + REST_S
        if self._go.is_set() or now - self._changed > FASTER_EVERY_S:
            was = self.rate or self._seen or self._moved / max(now - self._since, 0.05)
            self.rate, self._changed = max(LEAST, was * SLOWER), now
            self.brakes += 1
        if self._go.is_set():
            self._stopped_at = now
        self._go.clear()

    async def moved(self, size: int) -> None:
        """Count it, and wait for as long as the source's answers ask for."""
        begun = now = clock.mono()
        self._moved += size
        if now - self._since > MEASURE_S:
            self._seen = self._moved / (now - self._since)
            self._moved, self._since = 0, now
        if not self._go.is_set():
            self._least_at = max(now, self._least_at) + size / LEAST
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(self._least_at, self._stopped_at + STOP_S) - now):
                    await self._go.wait()
        if self.rate:  # of all who move something, together
            now = clock.mono()
            self._next = max(now, self._next) + size / self.rate
            await asyncio.sleep(self._next - now)
        self.held_s += clock.mono() - begun

    def reached(self, total: int) -> None:
        """Of a copy that others make: how far it is."""
        now = clock.mono()
        if now - self._since > MEASURE_S:
            self._seen = max(0, total - self._moved) / (now - self._since)
            self._moved, self._since = total, now

    def forget(self) -> None:
        """Nobody asks the source any more: go on."""
        self.rate = 0.0
        self.asked_at = 0.0
        self.known.set()
        self._go.set()

    @property
    def figures(self) -> dict[str, float]:
        """For the report."""
        return {"slow_ms": round(self.slow_s * 1000, 1), "brakes": self.brakes,
                "held_s": round(self.held_s, 1),
                "slowest_answer_ms": round(self.slowest_s * 1000, 1)}


@contextlib.asynccontextmanager
async def paced(at: ServerAddress, slow_s: float) -> AsyncIterator[Pace | None]:
    """A pace by this source's answers; None for `slow_s` 0. Where the source does not answer the
    question (a privilege is missing), nothing is slowed down."""
    if not slow_s:
        yield None
        return
    pace = Pace(slow_s)
    asking = asyncio.ensure_future(_ask(at, pace))
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LIMIT_S):
                await pace.known.wait()
        pace.known.set()
        yield pace
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking


async def _ask(at: ServerAddress, pace: Pace) -> None:
    with contextlib.suppress(SlackwaterError):
        async with await Session.open(at) as session:
            while True:
                heed_cancelling()  # a login may have taken it
                pace.asked_at = begun = clock.mono()
                await session.run(ASK, limit_s=60)
                pace.answered(clock.mono() - begun)
                await asyncio.sleep(ASK_EVERY_S)
    pace.forget()  # the copy itself will notice a source that is gone
