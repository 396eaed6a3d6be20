"""On the way back: whom a hold that ended by itself let in to the new server, which is read-only.

A balancer that was reloaded since no longer knows of them: they are in its old process, which ends
its hold where that was aimed, and which no socket asks any more. So the server ends them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection

from slackwater import clock
from slackwater.errors import OutsideError
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.switchover.after import ended, leftovers

BEFORE = "before the hold"
LONGEST_WAIT_S = 9.0  # for the end of a hold that nobody can end: limits.hold is 8 s at most
SERVED_S = 0.5  # a Lua task lets clients in, and they log in


async def note_before(
    world: PairWorld, new: str, balancers: Collection[str], deadline: float
) -> None:
    """What tells them later: the balancers' processes, and our session there, whose id is less."""
    states = await world.each_balancer(balancers, lambda b: b.look())
    world.note(BEFORE, {
        "session": (await world.session(new)).connection_id, "deadline": deadline,
        "pids": {name: state.pid for name, state in states.items()},
    }, sync=False)


async def close_let_in(world: PairWorld, new: str, balancers: Collection[str]) -> None:
    """End who came to `new` since, where a balancer was reloaded."""
    before = world.notes.get(BEFORE)
    if before is None:
        return
    states = await world.each_balancer(balancers, lambda b: b.look())
    if all(state.pid == before["pids"].get(name) for name, state in states.items()):
        return
    left_s = before["deadline"] + SERVED_S - clock.unix()
    if world.recovering and left_s > 0:  # else who waits in the old process was let go
        await asyncio.sleep(min(left_s, LONGEST_WAIT_S))
    with contextlib.suppress(OutsideError):  # one that cannot be asked may be gone
        session = await world.session(new)
        for found in await leftovers(world, new, session):
            if found.id > before["session"]:
                await ended(session, found)
