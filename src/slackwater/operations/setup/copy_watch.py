"""What people see of a copy under way, and what keeps the operation's own sessions alive in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from slackwater import clock
from slackwater.operations.keep_alive import keep_alive
from slackwater.operations.servers_world import SESSION_WAIT_TIMEOUT_S, ServersWorld
from slackwater.outside.mysql.logical_copy import Progress
from slackwater.outside.mysql.pace import Pace

SHOW_EVERY_S = 2.0
MIB = 2**20


class Watch:
    """Tells how far a copy is, every few seconds; `figures` are for the report."""

    def __init__(self, world: ServersWorld, source: str, target: str) -> None:
        self._tell, self._source, self._target = world.tell, source, target
        self._shown = clock.mono()
        self.progress = Progress(0)
        self.table = ""
        self.figures: dict[str, Any] = {}
        self.pace: Pace | None = None

    def show(self) -> None:
        """Tell, if it is time."""
        if clock.mono() - self._shown < SHOW_EVERY_S:
            return
        self._shown = clock.mono()
        now = self.progress
        share = f" of about {now.total / MIB:.0f}" if now.total else ""
        left = f", {now.left_s():.0f} s left" if now.total > now.bytes else ""
        at = f", at {self.table}" if self.table else ""
        if self.pace is not None and self.pace.rate:
            at += f"; slowed down for {self._source}, which answered late {self.pace.brakes} times"
        self._tell({
            "at": clock.unix(), "event": "told", "bytes": now.bytes, "total": now.total,
            "rate": round(now.rate), "left_s": round(now.left_s()),
            "text": f"{self._target}: {now.bytes / MIB:.0f}{share} MiB, "
                    f"{now.rate / MIB:.1f} MiB/s{left}{at}",
        })


@contextlib.asynccontextmanager
async def awake(world: ServersWorld) -> AsyncIterator[None]:
    """Keep the sessions that hold the operation's locks from being ended for their silence.

    Meanwhile nobody else may use them.
    """

    over = asyncio.Event()

    async def ping() -> None:
        # Never cut off in a statement: that would end the very session.
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SESSION_WAIT_TIMEOUT_S / 4):
                    await over.wait()
                    return
            await keep_alive(world)

    pinging = asyncio.ensure_future(ping())
    try:
        yield
    finally:
        over.set()
        await pinging
