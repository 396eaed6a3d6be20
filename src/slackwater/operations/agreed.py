"""Is a pair as it should be, whatever became of the operation that was left unfinished on it?"""

from __future__ import annotations

import asyncio

from slackwater.errors import SlackwaterError
from slackwater.operations import canary
from slackwater.operations.look import look
from slackwater.operations.pair_world import PairWorld
from slackwater.rules.agreement import agreement

ROAD = "agreed"
ARRIVAL_LIMIT_S = 5.0


async def agreed(world: PairWorld) -> str | None:
    """The server that everyone agrees on and that serves: who comes in through a balancer is
    answered by it, nobody is held, and a row written on it arrives at all the others.

    None when one of that is not so, or cannot be seen.
    """
    seen = await look(world)
    active = agreement(seen).active
    held = any(b.state.holding or b.state.hold for b in seen.balancers.values())
    if active is None or held or any(b.answers != active for b in seen.balancers.values()):
        return None
    others = [n for n in seen.servers if n != active]
    return active if await _arrives(world, active, others) else None


async def _arrives(world: PairWorld, active: str, others: list[str]) -> bool:
    async def at(name: str, number: int) -> None:
        session = await world.session(name)
        await canary.expect(session, ROAD, number, at=name, limit_s=ARRIVAL_LIMIT_S)

    try:
        session = await world.session(active)
        if not await canary.exists(session):
            await canary.create(session)
        number = await canary.send(session, ROAD)
        await asyncio.gather(*(at(n, number) for n in others))
    except SlackwaterError:
        return False
    return True
