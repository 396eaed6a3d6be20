"""What goes on beside a statement that runs for hours: sessions kept alive, progress told."""

from __future__ import annotations

import asyncio

from slackwater import clock
from slackwater.errors import SlackwaterError
from slackwater.facts.duration import seconds_text
from slackwater.operations.keep_alive import keep_alive
from slackwater.operations.pair_world import PairWorld
from slackwater.outside.mysql import alter as mysql_alter
from slackwater.outside.mysql.session import Session
from slackwater.rules.alter_run import time_left_s

LOOK_EVERY_S = 0.5
TELL_EVERY_S = 5.0


async def watch(
    world: PairWorld, server: str, worker: Session, statement: str, limit_s: float
) -> None:
    """Run a statement in `worker`, and tell how far it is. Raises what it raised."""
    begun = told = clock.mono()
    running = asyncio.ensure_future(worker.alone(statement, limit_s=limit_s))
    try:
        while not running.done():
            await asyncio.wait({running}, timeout=LOOK_EVERY_S)
            if running.done():
                break
            await keep_alive(world)
            if clock.mono() - told >= TELL_EVERY_S:
                told = clock.mono()
                await _tell(world, server, worker.connection_id, clock.mono() - begun)
        await running
    finally:
        if not running.done():
            running.cancel()
            await asyncio.wait({running}, timeout=2)


async def _tell(world: PairWorld, server: str, worker: int, took_s: float) -> None:
    try:
        seen = await mysql_alter.progress(await world.session(server), worker)
    except SlackwaterError:
        return  # the statement's own error says more
    if seen is None:
        return
    text = f"{server}: {seen.stage or 'at work'}, for {seconds_text(took_s)}"
    left = None
    if seen.part is not None:
        left = time_left_s(seen.part, took_s)
        text += f", {seen.part:.0%}"
        text += f", {seconds_text(left)} left" if left is not None else ""
    world.tell({"at": clock.unix(), "event": "told", "text": text, "server": server,
                "percent": None if seen.part is None else round(seen.part * 100, 1),
                "left_s": None if left is None else round(left, 1)})
