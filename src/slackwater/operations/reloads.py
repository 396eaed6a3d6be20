"""Balancers that are reloaded meanwhile: the new process does what its file said, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from slackwater import clock
from slackwater.operations.pair_world import PairWorld
from slackwater.outside.haproxy.haproxy import HAProxy
from slackwater.outside.haproxy.reloading import reload_under_way

RELOAD_LIMIT_S = 10.0
RELOAD_PAUSE_S = 0.02
SLOW = "being_reloaded"  # a figure: the balancers where that was not outlasted


async def outlast_reloads(
    world: PairWorld, balancers: Iterable[str], tell: Callable[[HAProxy], Awaitable[object]]
) -> None:
    """`tell` each of them once, and again while another process is about to take its place: one
    that read its file before that was written does what it said then. Past the limit it is a word
    for the report: another HAProxy there may have such a process."""

    async def outlast(name: str) -> bool:
        balancer, end = world.balancers[name], clock.mono() + RELOAD_LIMIT_S
        while True:
            pid = (await balancer.look()).pid
            under_way = await reload_under_way(world.hosts[name], pid)
            await tell(balancer)
            if not under_way and (await balancer.look()).pid == pid:
                return True
            if clock.mono() > end:
                return False
            await asyncio.sleep(RELOAD_PAUSE_S)

    names = list(balancers)
    outlasted = await asyncio.gather(*map(outlast, names))
    slow = [name for name, ended in zip(names, outlasted, strict=True) if not ended]
    world.figures.pop(SLOW, None)
    if slow:
        world.figures[SLOW] = slow


async def send_to(balancer: HAProxy, new: str, old: str, *, wait: bool = True) -> None:
    """A balancer that was reloaded before its file was written sends clients to the old server
    again: not to it, and who came in meanwhile does not stay there. `wait`: see close_sessions."""
    state = await balancer.look()
    if state.active != new and not state.holding:
        await balancer.release(to=new)
        await balancer.close_sessions(old, wait=wait)
