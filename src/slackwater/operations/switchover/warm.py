"""Threads for the clients that are let in: a server that had none for a while has given its own up.

MariaDB keeps the threads of sessions that have ended for five minutes at most. A passive has none,
and would make one for each client that waited, all at once: half of the longest wait at 1,000 new
connections a second. On MySQL no difference was measured.
"""

from __future__ import annotations

import asyncio

from slackwater.errors import OutsideError
from slackwater.operations.pair_world import PairWorld
from slackwater.outside.mysql.session import Session
from slackwater.outside.mysql.threads import Threads, threads

MOST = 40  # sessions at a time
LIMIT_S = 1.0  # for all of them: they are opened together


async def warm(world: PairWorld, old: str, new: str) -> None:
    """Have `new` keep as many threads as `old` has, by sessions that are opened together and ended.
    Where that goes wrong, clients wait a little longer: no reason to end a switchover."""
    try:
        one, other = await world.session(old), await world.session(new)
        if not other.flavour.mariadb:
            return
        count = missing(await threads(one), await threads(other))
    except OutsideError:
        return
    at = world.servers[new].at
    said = await asyncio.gather(
        *(Session.open(at, limit_s=LIMIT_S) for _ in range(count)), return_exceptions=True)
    await asyncio.gather(*(s.close() for s in said if isinstance(s, Session)))


def missing(old: Threads, new: Threads) -> int:
    """How many `new` lacks, of those that it would keep; half of its room is left to others."""
    wanted = min(old.kept + old.in_use, new.kept_at_most, MOST, new.room // 2)
    return max(0, wanted - new.kept)
