"""The only loop in slackwater that sleeps until something becomes true."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from slackwater import clock
from slackwater.errors import StepFailed

Look = TypeVar("Look")


async def wait_until(
    look: Callable[[], Awaitable[Look]],
    ready: Callable[[Look], bool],
    *,
    what: str,
    limit_s: float,
    every_s: float = 0.05,
) -> Look:
    """Look every `every_s` seconds until `ready(look)`, at most `limit_s` seconds.

    Returns the look that was ready. Raises StepFailed with the last look in its text when the
    limit ends. What `look` raises goes through: only the caller knows whether to look again.
    """
    until = clock.mono() + limit_s
    while True:
        seen = await look()
        if ready(seen):
            return seen
        if clock.mono() >= until:
            raise StepFailed(f"{what}: not within {limit_s:g} s; last seen: {seen}")
        await asyncio.sleep(min(every_s, max(0.0, until - clock.mono())))
