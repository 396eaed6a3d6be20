"""Close what rests in pools for long, before anybody waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.switchover import settle_sessions
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan.step import Seen, Step
from slackwater.rules import settle

AT_ONCE = 20  # sessions a packet; between two we look at the clock
SPEND_S = 5.0  # for this at most: who is left is closed while clients are held, as all once were


@dataclass(frozen=True)
class CloseIdle(Step[PairWorld]):
    """Close the sessions on {old} that have rested for {rest_s} s or more, if they are many"""

    # Closing one takes a server 0.1 ms, and MySQL since 8.0 up to 4: it waits, turning round and
    # round, until the thread has woken, which the scheduler of a machine with few cores puts
    # behind it. In the hold of a site with a hundred pooled connections that was most of the hold.

    old: str
    rest_s: float = settle.LONG_REST_S
    limit_s: ClassVar[float] = SPEND_S + 10.0
    no_undo: ClassVar[str] = "a closed session cannot be reopened; its client connects again"

    async def do(self, world: PairWorld) -> None:
        seen = await settle_sessions.look(world, self.old)
        idle = settle.long_idle(seen.sessions, seen.transactions, self.rest_s)
        session = await world.session(self.old)
        closed: list[int] = []
        end = clock.mono() + SPEND_S
        for start in range(0, len(idle), AT_ONCE):
            if clock.mono() >= end:
                break
            closed += await mysql_server.close_idle(
                session, idle[start : start + AT_ONCE], self.rest_s * 1000)
        world.figures["sessions_closed_early"] = len(closed)

    async def verify(self, world: PairWorld) -> Seen:
        # Nothing depends on it: whoever is left is closed in the hold.
        return Seen.DONE if "sessions_closed_early" in world.figures else Seen.NOT_DONE
