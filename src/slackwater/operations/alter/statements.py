"""Steps that run the change on a server that no client uses, or take it back there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from slackwater.operations.alter import rotation, store
from slackwater.operations.alter import server as alter_server
from slackwater.operations.alter.record import keeping
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.switchover.after import FORWARD
from slackwater.plan.step import Seen, Step


@dataclass(frozen=True)
class _RunAll(Step[PairWorld]):
    """Run the statements on {server}"""

    active: str
    server: str
    change: str
    limit_s: ClassVar[float] = alter_server.LONGEST_S

    async def do(self, world: PairWorld) -> None:
        await alter_server.run_all(world, self.active, self.server, self.change)

    async def verify(self, world: PairWorld) -> Seen:
        change = await store.current(world, self.active, self.change)
        return Seen.DONE if change.complete(self.server) else Seen.NOT_DONE


@dataclass(frozen=True)
class AlterPassive(_RunAll):
    """Run the statements on {server}, which no client uses, and not in its binary log"""

    undo_limit_s: ClassVar[float] = alter_server.LONGEST_S

    async def undo(self, world: PairWorld) -> None:
        await _undo(world, self.active, self.server, self.change)


@dataclass(frozen=True)
class AlterReplicas(Step[PairWorld]):
    """Run them on {replicas} too, one after the other, each out of its balancer's rotation"""

    active: str
    replicas: tuple[str, ...]
    change: str
    limit_s: ClassVar[float] = alter_server.LONGEST_S
    undo_limit_s: ClassVar[float] = alter_server.LONGEST_S

    async def do(self, world: PairWorld) -> None:
        for server in self.replicas:
            change = await store.current(world, self.active, self.change)
            if not change.complete(server):
                await rotation.leave(world, self.active, server, self.change)
            await alter_server.run_all(world, self.active, server, self.change)
            await rotation.come_back(world, self.active, server, self.change)

    async def verify(self, world: PairWorld) -> Seen:
        change = await store.current(world, self.active, self.change)
        well = all(map(change.complete, self.replicas)) and not change.drained
        return Seen.DONE if well else Seen.NOT_DONE

    async def undo(self, world: PairWorld) -> None:
        for server in self.replicas:
            await rotation.leave_to_undo(world, self.active, server, self.change)
            await _undo(world, self.active, server, self.change)
            await rotation.come_back(world, self.active, server, self.change)


@dataclass(frozen=True)
class AlterOther(_RunAll):
    """Run the statements on {server}, which no client uses now, and not in its binary log"""

    forward_tries: ClassVar[int] = 1
    no_undo: ClassVar[str] = FORWARD


@dataclass(frozen=True)
class RestoreSchema(Step[PairWorld]):
    """Give {servers} the old schema again"""

    active: str
    servers: tuple[str, ...]
    change: str
    given: tuple[str, ...]
    strict: bool = True
    limit_s: ClassVar[float] = alter_server.LONGEST_S
    forward_tries: ClassVar[int] = 1
    no_undo: ClassVar[str] = FORWARD

    async def do(self, world: PairWorld) -> None:
        for server in self.servers:
            change = await store.current(world, self.active, self.change)
            replica = server in change.replicas
            if replica and change.touched(server):
                await rotation.leave(world, self.active, server, self.change)
            await alter_server.take_back(world, self.active, server, self.change, self.given,
                                         strict=self.strict)
            if replica:
                await rotation.come_back(world, self.active, server, self.change)

    async def verify(self, world: PairWorld) -> Seen:
        change = await store.current(world, self.active, self.change)
        left = any(map(change.touched, self.servers)) or bool(change.drained)
        return Seen.NOT_DONE if left else Seen.DONE


async def _undo(world: PairWorld, active: str, server: str, change_id: str) -> None:
    change = await store.read(await world.session(active), change_id)
    if change is None or not change.open:
        return
    if await keeping(world):
        await alter_server.end_or_wait(world, active, server, change_id, end=False)
        await alter_server.make_whole(world, change, server)
        return
    await alter_server.take_back(world, active, server, change_id)
