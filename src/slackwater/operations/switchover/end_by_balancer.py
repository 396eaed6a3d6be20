"""End sessions by way of their balancers: all at once, where a server ends one after the other.

A session's balancer is told by its own end of the connection, by which the server names it. Whose
own end is not what the server sees (address translation, PROXY protocol) has no such way, and its
server ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import chain

from slackwater.errors import OutsideError
from slackwater.facts.server import ClientSession
from slackwater.operations.pair_world import PairWorld, Way
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import Session
from slackwater.rules import settle

LIMIT_S = 0.1  # clients wait: one that does not answer by then is not asked again


async def ways(world: PairWorld, old: str, balancers: Collection[str]) -> dict[str, Way]:
    """The way of each session on {old}, by its client as that server names it. None of a balancer
    that does not tell, of many thousands perhaps: then the server ends them."""

    async def told(name: str) -> dict[str, str]:
        with contextlib.suppress(OutsideError):
            return await world.balancers[name].sessions.ways(old)
        return {}

    found = dict(zip(balancers, await asyncio.gather(*map(told, balancers)), strict=True))
    # Two balancers behind address translation may have the same own end.
    seen = Counter(chain.from_iterable(found.values()))
    return {
        own: Way(own, name, pointer)
        for name, pointers in found.items() for own, pointer in pointers.items()
        if seen[own] == 1
    }


async def end_resting(
    world: PairWorld, old: str, session: Session, sessions: Sequence[ClientSession],
    rest_ms: float,
) -> set[int]:
    """End those of `sessions` of {old} that have rested for `rest_ms` by now, and have a way;
    returns their ids. `session` is ours, there.

    Between these looks and the end is as long as one command to a balancer takes, for all of them.
    Who ends by itself then leaves its pointer to the next: not for sessions that do so often.
    """
    known = {s.id: world.ways[s.host] for s in sessions if s.host in world.ways}
    if not known:
        return set()
    rest, there = await asyncio.gather(
        mysql_server.resting(session, list(known), rest_ms, after_ping_ms=settle.YOUNG_REST_MS),
        _still_there(world, old, known.values()),
        return_exceptions=True,
    )
    for failed in (rest, there):
        if isinstance(failed, BaseException):
            raise failed
    assert isinstance(rest, list) and isinstance(there, set)
    ended = await _end(world, {known[i] for i in rest} & there)
    return {i for i in rest if known[i] in ended}


async def _still_there(world: PairWorld, old: str, known: Collection[Way]) -> set[Way]:
    """Those of `known` that are what they were before the hold."""

    async def look(name: str, mine: list[Way]) -> set[Way]:
        found = await world.balancers[name].sessions.ways(
            old, [w.pointer for w in mine], limit_s=LIMIT_S)
        return {w for w in mine if found.get(w.own) == w.pointer}

    return await _each(world, known, look)


async def _end(world: PairWorld, chosen: Collection[Way]) -> set[Way]:
    async def end(name: str, mine: list[Way]) -> set[Way]:
        sessions = world.balancers[name].sessions
        all_were = await sessions.end([w.pointer for w in mine], limit_s=LIMIT_S)
        return set(mine) if all_were else set()

    return await _each(world, chosen, end)


async def _each(
    world: PairWorld, ways: Collection[Way],
    act: Callable[[str, list[Way]], Awaitable[set[Way]]],
) -> set[Way]:
    """Act on `ways`, on all balancers at once. With whom that fails no way is left: their servers
    tell whether they are there, and end them."""
    by_balancer = defaultdict[str, list[Way]](list)
    for way in ways:
        by_balancer[way.balancer].append(way)

    async def one(name: str, mine: list[Way]) -> set[Way]:
        done = set[Way]()
        with contextlib.suppress(OutsideError):
            done = await act(name, mine)
        for way in set(mine) - done:
            world.ways.pop(way.own, None)
        return done

    return set[Way]().union(*await asyncio.gather(*map(one, by_balancer, by_balancer.values())))
