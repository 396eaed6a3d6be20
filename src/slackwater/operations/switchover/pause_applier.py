"""Keep the old server's own applier still while its tables are locked: together they can hang."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from slackwater.operations.pair_world import PairWorld
from slackwater.outside.mysql import alter as mysql_alter
from slackwater.plan.step import Seen, Step

PAUSED = "applier paused"  # noted on disk right before it is stopped


@dataclass(frozen=True)
class PauseApplier(Step[PairWorld]):
    """Stop the parallel applier of {old}, if it has one that its lock could hang with (MariaDB)"""

    old: str
    limit_s: ClassVar[float] = 10.0

    async def do(self, world: PairWorld) -> None:
        session = await world.session(self.old)
        if await mysql_alter.can_hang_with_a_lock(session):
            world.note(PAUSED, True)
            await mysql_alter.stop_applier(session, limit_s=self.limit_s)

    async def verify(self, world: PairWorld) -> Seen:
        hangs = await mysql_alter.can_hang_with_a_lock(await world.session(self.old))
        return Seen.NOT_DONE if hangs else Seen.DONE

    async def undo(self, world: PairWorld) -> None:
        # On the way forward FollowNew starts it.
        if world.notes.get(PAUSED):
            await mysql_alter.start_applier(await world.session(self.old))
