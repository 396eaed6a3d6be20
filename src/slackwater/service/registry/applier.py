"""Brings one balancer to what it shall be: at once where it can be, else in few reloads.

Level-triggered: it always goes for the whole truth of now, so that nothing is lost by a failure; a
balancer that does not take it is tried again, later and later, and never stops the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from slackwater import clock
from slackwater.errors import SlackwaterError
from slackwater.facts.members import PoolView
from slackwater.outside.registry.balancer import Balancer
from slackwater.rules.registry.pace import Pace

STILL_EVERY_S = 10.0
LONGEST_PAUSE_S = 30.0


class Applier:
    """`applied` is the revision that is in effect; `trouble` why it is not the newest, or ""."""

    def __init__(
        self, balancer: Balancer, views: Callable[[], tuple[int, Sequence[PoolView]]],
        progress: Callable[[], None], pace: Pace,
    ) -> None:
        self.balancer, self._views, self._progress = balancer, views, progress
        self._pace = pace
        self.applied = self.settled = 0
        self.trouble = ""
        self.reloads = 0
        self.not_before = 0.0  # on clock.mono(): the balancer is left as it is until then
        self._told = asyncio.Event()
        self._first = self._last = 0.0
        self._reloaded = -1e9
        self._failed = 0

    def tell(self) -> None:
        """Something changed."""
        now = clock.mono()
        if self.settled >= self.applied and not self._told.is_set():
            self._first = now
        self._last = now
        self._told.set()

    async def run(self) -> None:
        """For ever."""
        while (left_s := self.not_before - clock.mono()) > 0:
            self.trouble = "left as it is while members come back, as none was known at the start"
            await asyncio.sleep(left_s)
        while True:
            try:
                async with asyncio.timeout(STILL_EVERY_S):
                    await self._told.wait()
            except TimeoutError:
                pass
            still = not self._told.is_set()
            self._told.clear()
            try:
                await (self._see_still() if still else self._apply())
                self.trouble, self._failed = "", 0
            except (SlackwaterError, OSError) as error:
                await self._pause(error)

    async def _see_still(self) -> None:
        await self.balancer.still(self._views()[1])

    async def _apply(self) -> None:
        await self._at_once()
        if self.settled >= self._views()[0]:
            return
        while wait_s := self._pace.wait_s(self._first, self._last, self._reloaded, clock.mono()):
            # What changes meanwhile is done at once where it can be.
            try:
                async with asyncio.timeout(wait_s):
                    await self._told.wait()
            except TimeoutError:
                continue
            self._told.clear()
            await self._at_once()
        revision, views = self._views()
        begun = clock.mono()
        if await self.balancer.settle(views):
            self.reloads, self._reloaded = self.reloads + 1, begun
        self.settled = self.applied = max(self.settled, revision)
        self._progress()

    async def _at_once(self) -> None:
        revision, views = self._views()
        if revision > self.applied and await self.balancer.at_once(views):
            self.applied = revision
            self._progress()

    async def _pause(self, error: Exception) -> None:
        self.trouble = f"{error}"
        self._failed += 1
        self._progress()
        pause_s = min(LONGEST_PAUSE_S, 0.5 * 2 ** min(self._failed, 10))
        try:
            async with asyncio.timeout(pause_s):
                await self._told.wait()
                # Not for each newcomer at once, when the balancer says no to all.
                await asyncio.sleep(min(1.0, pause_s))
        except TimeoutError:
            pass
        self._told.set()
