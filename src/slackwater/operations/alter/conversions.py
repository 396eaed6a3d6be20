"""Steps that let replication convert types between two schemas, as long as both are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from slackwater.facts.alter_state import Change
from slackwater.operations.alter import server as alter_server
from slackwater.operations.alter import store
from slackwater.operations.alter.record import keeping, must_be_alike, untouched
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.switchover.after import FORWARD
from slackwater.outside.mysql import alter as mysql_alter
from slackwater.plan.step import Seen, Step


@dataclass(frozen=True)
class SetConversions(Step[PairWorld]):
    """Let replication convert types on {servers}, as the verdict says: {modes}"""

    active: str
    change: str
    servers: tuple[str, ...]
    modes: tuple[str, ...]
    stay: bool = False  # the change is half done, and needs them whatever becomes of this
    limit_s: ClassVar[float] = 60.0

    async def do(self, world: PairWorld) -> Seen:
        change = await store.current(world, self.active, self.change)
        before = dict(change.conversions)
        for server in self.servers:
            if server not in before:
                before[server] = (await mysql_alter.conversions(await world.session(server)))[1]
        change = await store.update(
            world, self.active, self.change, conversions=before
        )
        for server in self.servers:
            await alter_server.convert(await world.session(server), change.modes(server))
        return Seen.DONE  # each server answered

    async def verify(self, world: PairWorld) -> Seen:
        return await _converted(world, self.active, self.change, self.servers)

    async def undo(self, world: PairWorld) -> None:
        if self.stay or await keeping(world):
            return
        change = await untouched(world, self.active, self.change)
        if change is not None:
            await put_back(world, change, self.servers)


async def put_back(world: PairWorld, change: Change, servers: tuple[str, ...]) -> None:
    """The conversions as they were."""
    for server in servers:
        if server in change.conversions:
            session = await world.session(server)
            if (await mysql_alter.conversions(session))[1] != change.conversions[server]:
                await mysql_alter.stop_applier(session)
                try:
                    await mysql_alter.set_conversions(session, change.conversions[server])
                finally:
                    await mysql_alter.start_applier(session)


@dataclass(frozen=True)
class KeepConversions(Step[PairWorld]):
    """Make sure that {servers} still convert types: a restart would have forgotten it"""

    active: str
    servers: tuple[str, ...]
    change: str
    limit_s: ClassVar[float] = 30.0
    no_undo: ClassVar[str] = FORWARD

    async def do(self, world: PairWorld) -> None:
        change = await store.current(world, self.active, self.change)
        for server in self.servers:
            session = await world.session(server)
            await alter_server.convert(session, change.modes(server))
            await mysql_alter.start_applier(session)

    async def verify(self, world: PairWorld) -> Seen:
        return await _converted(world, self.active, self.change, self.servers)


@dataclass(frozen=True)
class PutBackConversions(Step[PairWorld]):
    """Put replication's conversions on {servers} back to what they were"""

    active: str
    servers: tuple[str, ...]
    change: str
    limit_s: ClassVar[float] = 60.0
    no_undo: ClassVar[str] = FORWARD

    async def do(self, world: PairWorld) -> Seen:
        change = await must_be_alike(world, self.active, self.change)
        await put_back(world, change, self.servers)
        return Seen.DONE

    async def verify(self, world: PairWorld) -> Seen:
        change = await store.current(world, self.active, self.change)
        for server in self.servers:
            _, now = await mysql_alter.conversions(await world.session(server))
            if now != change.conversions.get(server, now):
                return Seen.NOT_DONE
        return Seen.DONE


async def _converted(
    world: PairWorld, active: str, change_id: str, servers: tuple[str, ...]
) -> Seen:
    """Whether replication converts there what this change needs."""
    change = await store.current(world, active, change_id)
    for server in servers:
        _, now = await mysql_alter.conversions(await world.session(server))
        if change.lacks(server, now):
            return Seen.NOT_DONE
    return Seen.DONE
