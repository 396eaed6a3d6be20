"""Steps around the change: locks, catching up, and looks at what would be lost or differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.errors import StepFailed
from slackwater.operations import pair_lock
from slackwater.operations.alter import store
from slackwater.operations.alter.look import lost_values
from slackwater.operations.alter.record import must_be_defined_alike
from slackwater.operations.keep_alive import SLICE_S, keep_alive
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.reopen import reopen_old
from slackwater.operations.switchover.after import FORWARD
from slackwater.operations.switchover.before import BEGAN, take_both
from slackwater.outside.mysql import alter as mysql_alter
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan.step import Seen, Step


@dataclass(frozen=True)
class TakePair(Step[PairWorld]):
    """Take slackwater's lock on {active} and {passive}, and open every session that is needed"""

    active: str
    passive: str

    async def do(self, world: PairWorld) -> None:
        await take_both(world, self.active, self.passive)

    async def verify(self, world: PairWorld) -> Seen:
        owned = [await pair_lock.owned(world, n) for n in (self.active, self.passive)]
        return Seen.DONE if all(owned) else Seen.NOT_DONE

    async def undo(self, world: PairWorld) -> None:
        # One that died since comes back read-only, and "undone" would not be true.
        if BEGAN in world.notes and not await world.writable(self.active):
            if not await pair_lock.owned(world, self.active):
                raise StepFailed(f"{self.active} does not accept writes, and our lock is lost")
            await reopen_old(world, self.active, self.passive)
        for name in (self.active, self.passive):
            await pair_lock.release(world, name)


@dataclass(frozen=True)
class StayActive(Step[PairWorld]):
    """See that {active} accepts writes: one that was restarted meanwhile does not by itself"""

    active: str
    passive: str
    no_undo: ClassVar[str] = FORWARD

    async def do(self, world: PairWorld) -> None:
        await reopen_old(world, self.active, self.passive)

    async def verify(self, world: PairWorld) -> Seen:
        return Seen.DONE if await world.writable(self.active) else Seen.NOT_DONE


@dataclass(frozen=True)
class CatchUp(Step[PairWorld]):
    """Wait until {servers} have caught up with {source}"""

    source: str
    servers: tuple[str, ...]
    lag_s: float
    limit_s: ClassVar[float] = 86400.0
    forward_tries: ClassVar[int] = 1
    no_undo: ClassVar[str] = "it only waits"

    async def do(self, world: PairWorld) -> Seen:
        for server in self.servers:
            while not await self._near(world, server):
                await keep_alive(world)
                status = await mysql_server.replica_status(await world.session(server))
                stopped = [e for s in status if not s.sql_running for e in (s.sql_error or "-",)]
                if stopped:
                    raise StepFailed(f"{server}: replication stopped: {'; '.join(stopped)}")
        return Seen.DONE

    async def _near(self, world: PairWorld, server: str) -> bool:
        source, replica = await world.session(self.source), await world.session(server)
        wanted = await mysql_server.executed_text(source)
        began = clock.mono()
        reached = await mysql_server.wait_executed(replica, wanted, limit_s=SLICE_S)
        return reached and clock.mono() - began <= max(self.lag_s, 0.5)

    async def verify(self, world: PairWorld) -> Seen:
        near = [await self._near(world, s) for s in self.servers]
        return Seen.DONE if all(near) else Seen.NOT_DONE


@dataclass(frozen=True)
class NothingIsLost(Step[PairWorld]):
    """Look on {active} for values that {other} could not take: none may be there"""

    active: str
    other: str
    change: str
    accept_loss: bool
    stop: bool  # the applier of `other`, first: what comes later is applied to the new schema
    limit_s: ClassVar[float] = 3600.0
    undo_limit_s: ClassVar[float] = 30.0

    async def do(self, world: PairWorld) -> Seen:
        change = await store.current(world, self.active, self.change)
        if self.stop:
            await mysql_alter.stop_applier(await world.session(self.other))
        # One that has the new schema can take them, and data statements have begun to write them.
        if not self.accept_loss and not change.complete(self.other):
            reasons = await lost_values(world, self.active, change)
            if reasons:
                raise StepFailed("; ".join(reasons))
        return Seen.DONE

    async def verify(self, world: PairWorld) -> Seen:
        return Seen.NOT_DONE  # only the look itself is a proof

    async def undo(self, world: PairWorld) -> None:
        if self.stop:
            await mysql_alter.start_applier(await world.session(self.other))


@dataclass(frozen=True)
class SameOnBoth(Step[PairWorld]):
    """See that both servers and the replicas have the same definitions"""

    active: str
    servers: tuple[str, ...]
    change: str
    limit_s: ClassVar[float] = 60.0
    no_undo: ClassVar[str] = "it only looks"

    async def do(self, world: PairWorld) -> Seen:
        change = await store.current(world, self.active, self.change)
        await must_be_defined_alike(world, self.active, change)
        return Seen.DONE

    async def verify(self, world: PairWorld) -> Seen:
        return await self.do(world)
