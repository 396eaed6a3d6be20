"""Wait for what a source has written to be applied by a replica, for as long as that comes on."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.errors import StepFailed
from slackwater.operations.keep_alive import keep_alive
from slackwater.operations.setup import follow
from slackwater.operations.setup.look import SetupWorld
from slackwater.operations.setup.slices import Slices, gently
from slackwater.outside.mysql import alter as mysql_alter
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan.step import Seen, Step
from slackwater.plan.wait import wait_until
from slackwater.rules.setup.replica_errors import explain

CATCH_UP_S = 6 * 3600.0  # a long copy leaves much to catch up with
STILL_S = 120.0  # without any progress, it is not a matter of patience
TELL_EVERY_S = 5.0
NEAR_S, LESS = 1.0, 0.9
THERE_S = 0.05  # a replica that is not far behind has it by then
CLOSE_S, CLOSE_LIMIT_S = 0.4, 10.0  # what is left then is applied at once, and hardly felt
LOOK_EVERY_S = 0.25  # each look costs the replica what it could apply meanwhile


@dataclass(frozen=True)
class CatchUp(Step[SetupWorld]):
    """Wait until {replica} has applied what {source} has written, up to about a second{how}"""

    replica: str
    source: str
    slow_ms: float = 0.0  # an answer of the source's that takes longer slows it down; 0: none
    limit_s: ClassVar[float] = CATCH_UP_S + 60
    no_undo: ClassVar[str] = "it only waits; a replica that it slowed down applies again"

    @property
    def name(self) -> str:
        return f"CatchUp.{self.replica}"

    @property
    def how(self) -> str:
        """For people."""
        return f", no faster than {self.source} bears" if self.slow_ms else ""

    async def do(self, world: SetupWorld) -> Seen:
        waits = follow.waits(world, self.replica)
        if await self._there_already(world):
            if waits:
                await mysql_alter.start_applier(await world.session(self.replica))
            return Seen.DONE
        async with gently(world, self.replica, self.source, self.slow_ms, waits=waits) as slices:
            if slices is not None:
                if await self._nearer(world, CLOSE_S, slices):
                    return Seen.DONE
                slices.let_go()  # so gently it never gets there
            await self._nearer(world, NEAR_S, slices)
        return Seen.DONE

    async def _there_already(self, world: SetupWorld) -> bool:
        """As after the copy of an idle source: nothing is to be measured or slowed down."""
        written = await mysql_server.logged_text(await world.session(self.source))
        world.notes[self.name] = written
        return await mysql_server.wait_executed(
            await world.session(self.replica), written, limit_s=THERE_S)

    async def _nearer(self, world: SetupWorld, near_s: float, slices: Slices | None) -> bool:
        """Once it takes no longer than `near_s` to apply what the source had written a moment ago:
        True; False when it gets no nearer, and never will: the source has written on meanwhile."""
        last_s, until = math.inf, math.inf
        while True:
            begun = clock.mono()
            await self._once(world, slices)
            took_s = clock.mono() - begun
            if took_s < near_s:
                return True
            if took_s < NEAR_S:  # a matter of moments
                until = min(until, clock.mono() + CLOSE_LIMIT_S)
                if clock.mono() > until:
                    return False
            elif took_s > LESS * last_s:
                return False
            last_s = took_s

    async def _once(self, world: SetupWorld, slices: Slices | None) -> None:
        written = await mysql_server.logged_text(await world.session(self.source))
        world.notes[self.name] = written
        replica = await world.session(self.replica)

        async def there() -> bool:
            if slices is not None and slices.refused is not None:
                raise StepFailed(
                    f"{self.replica} does not begin to apply what it has from {self.source}: "
                    f"{slices.refused}",
                    hint="mend that (`slackwater pair grants` tells what an account needs), and "
                         "give the same command again")
            return await mysql_server.has_executed(replica, written)

        await until_there(world, self.replica, self.source, there, every_s=LOOK_EVERY_S)

    async def verify(self, world: SetupWorld) -> Seen:
        if self.name not in world.notes:
            return Seen.NOT_DONE
        replica = await world.session(self.replica)
        has = await mysql_server.has_executed(replica, world.notes[self.name])
        applies = all(c.sql_running for c in await mysql_server.replica_status(replica))
        return Seen.DONE if has and applies else Seen.NOT_DONE


async def until_there(
    world: SetupWorld, replica: str, source: str, there: Callable[[], Awaitable[bool]], *,
    every_s: float,
) -> None:
    """Wait until `there`, which asks the replica's own session. Raises StepFailed when replication
    has an error, or applies nothing any more."""
    session = await world.session(replica)
    moved = told = clock.mono()
    had = ""

    async def look() -> bool:
        nonlocal moved, told, had
        if await there():
            return True
        channels = await mysql_server.replica_status(session)
        for channel in channels:
            if channel.errors:
                raise StepFailed(explain(replica, source, channel.errors[0]))
        now, has = clock.mono(), await mysql_server.executed_text(session)
        if has != had:
            had, moved = has, now
        # One long transaction (an ALTER, say) is progress that nobody sees from outside.
        elif now - moved > STILL_S and await mysql_server.appliers_idle(session):
            raise StepFailed(f"what was written on {source} does not arrive on {replica}: nothing "
                             f"was applied there for {STILL_S:g} s")
        if now - told > TELL_EVERY_S:
            told = now
            behind = [c.seconds_behind for c in channels if c.seconds_behind is not None]
            lag = f": {max(behind)} s behind" if behind else ""
            world.tell({"at": clock.unix(), "event": "told",
                        "text": f"{replica} is catching up with {source}{lag}"})
            await keep_alive(world)
        return False

    await wait_until(look, bool, what=f"what was written on {source} arriving on {replica}",
                     limit_s=CATCH_UP_S, every_s=every_s)
