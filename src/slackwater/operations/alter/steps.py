"""The steps of a schema change beside those of the switchover in its middle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.errors import StepFailed
from slackwater.facts.alter_state import (
    ALTERING,
    FINISHED,
    FINISHING,
    HALF_DONE,
    REVERTED,
    UNDONE,
    Change,
)
from slackwater.operations import pair_lock
from slackwater.operations.alter import server as alter_server
from slackwater.operations.alter import store
from slackwater.operations.alter.look import lost_values
from slackwater.operations.alter.watch import keep_alive
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.reopen import reopen_old
from slackwater.operations.switchover.after import FORWARD
from slackwater.operations.switchover.before import BEGAN, take_both
from slackwater.outside.mysql import alter as mysql_alter
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan.step import Seen, Step

SLICE_S = 5.0


async def keeping(world: PairWorld) -> bool:
    """Whether what is done is kept: the same command was given again."""
    return bool(world.notes.get(alter_server.CARRY_ON))


async def _untouched(world: PairWorld, active: str, change_id: str) -> Change | None:
    """The change if nothing of it is left on any server; raises StepFailed if something is."""
    change = await store.read(await world.session(active), change_id)
    if change is None:
        return None
    left = [s for s in (change.first, *change.replicas) if change.touched(s)]
    if left:
        raise StepFailed(f"{', '.join(left)} keep(s) what was changed there")
    return change


@dataclass(frozen=True)
class RecordChange(Step[PairWorld]):
    """Write down on {active} what is to be changed, for both servers to know"""

    active: str
    change: str  # its id
    document: str  # facts.alter_state.Change, by store.to_text

    async def do(self, world: PairWorld) -> None:
        session = await world.session(self.active)
        await store.create(session)
        wanted = store.from_text(self.document)
        was = await store.read(session, self.change)
        if was is None:
            await store.write(world, self.active, wanted)
        elif was.state != ALTERING:
            await store.update(world, self.active, self.change, state=ALTERING)

    async def verify(self, world: PairWorld) -> Seen:
        found = await store.read(await world.session(self.active), self.change)
        return Seen.DONE if found is not None and found.state == ALTERING else Seen.NOT_DONE

    async def undo(self, world: PairWorld) -> None:
        if await keeping(world):
            return
        change = await _untouched(world, self.active, self.change)
        if change is None:
            return
        for server, was in change.conversions.items():
            if (await mysql_alter.conversions(await world.session(server)))[1] != was:
                raise StepFailed(f"{server} still has other conversions than before")
        await store.update(world, self.active, self.change, state=UNDONE)


@dataclass(frozen=True)
class SetConversions(Step[PairWorld]):
    """Let replication convert types on {servers}, as the verdict says: {modes}"""

    active: str
    change: str
    servers: tuple[str, ...]
    modes: tuple[str, ...]
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
        change = await store.current(world, self.active, self.change)
        for server in self.servers:
            _, now = await mysql_alter.conversions(await world.session(server))
            if change.lacks(server, now):
                return Seen.NOT_DONE
        return Seen.DONE

    async def undo(self, world: PairWorld) -> None:
        if await keeping(world):
            return
        change = await _untouched(world, self.active, self.change)
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
class AlterPassive(Step[PairWorld]):
    """Run the statements on {server}, which no client uses, and not in its binary log"""

    active: str
    server: str
    change: str
    limit_s: ClassVar[float] = alter_server.LONGEST_S
    undo_limit_s: ClassVar[float] = alter_server.LONGEST_S

    async def do(self, world: PairWorld) -> None:
        await alter_server.run_all(world, self.active, self.server, self.change)

    async def verify(self, world: PairWorld) -> Seen:
        change = await store.current(world, self.active, self.change)
        return Seen.DONE if change.complete(self.server) else Seen.NOT_DONE

    async def undo(self, world: PairWorld) -> None:
        await _undo(world, self.active, self.server, self.change)


async def _undo(world: PairWorld, active: str, server: str, change_id: str) -> None:
    change = await store.read(await world.session(active), change_id)
    if change is None or not change.open:
        return
    if await keeping(world):
        await alter_server.end_or_wait(world, active, server, change_id, end=False)
        await alter_server.make_whole(world, change, server)
        return
    await alter_server.take_back(world, active, server, change_id)


@dataclass(frozen=True)
class AlterReplicas(Step[PairWorld]):
    """Run them on {replicas} too: nothing reaches a replica through the binary log"""

    active: str
    replicas: tuple[str, ...]
    change: str
    limit_s: ClassVar[float] = alter_server.LONGEST_S
    undo_limit_s: ClassVar[float] = alter_server.LONGEST_S

    async def do(self, world: PairWorld) -> None:
        for server in self.replicas:
            world.tell({"at": clock.unix(), "event": "told",
                        "text": f"{server}: slackwater knows of no balancer for it; who reads "
                                "there may wait for the ALTER"})
            await alter_server.run_all(world, self.active, server, self.change)

    async def verify(self, world: PairWorld) -> Seen:
        change = await store.current(world, self.active, self.change)
        return Seen.DONE if all(map(change.complete, self.replicas)) else Seen.NOT_DONE

    async def undo(self, world: PairWorld) -> None:
        for server in self.replicas:
            await _undo(world, self.active, server, self.change)


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
        change = await store.current(world, self.active, self.change)
        for server in self.servers:
            _, now = await mysql_alter.conversions(await world.session(server))
            if change.lacks(server, now):
                return Seen.NOT_DONE
        return Seen.DONE


@dataclass(frozen=True)
class Mark(Step[PairWorld]):
    """Write down on {active}: {state}"""

    active: str
    change: str
    state: str
    no_undo: ClassVar[str] = FORWARD

    async def do(self, world: PairWorld) -> None:
        change = await store.current(world, self.active, self.change)
        more = {}
        if self.state == HALF_DONE:
            more["after"] = await mysql_alter.definitions(
                await world.session(self.active), change.database, change.tables
            )
        await store.update(world, self.active, self.change, state=self.state, **more)
        world.figures["state"] = self.state

    async def verify(self, world: PairWorld) -> Seen:
        found = await store.current(world, self.active, self.change)
        return Seen.DONE if found.state == self.state else Seen.NOT_DONE


@dataclass(frozen=True)
class MarkHalfDone(Mark):
    """Write down on {active}: half done, it has the new schema and is active"""

    state: str = HALF_DONE


@dataclass(frozen=True)
class MarkReverted(Mark):
    """Write down on {active}: reverted, it is active again with the old schema"""

    state: str = REVERTED


@dataclass(frozen=True)
class BeginToRestore(Mark):
    """Write down on {active}: it keeps the old schema, and the passive gets it back"""

    state: str = REVERTED
    commit: ClassVar[bool] = True
    no_undo: ClassVar[str] = "giving the old schema back can be repeated until it is done"


@dataclass(frozen=True)
class MarkFinished(Mark):
    """Write down on {active}: finished"""

    state: str = FINISHED


@dataclass(frozen=True)
class MarkUndone(Mark):
    """Write down on {active}: undone, everywhere"""

    state: str = UNDONE


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
        if not self.accept_loss:
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
class BeginToFinish(Step[PairWorld]):
    """Write down on {active}: {other} is being changed"""

    active: str
    other: str
    change: str
    commit: ClassVar[bool] = True
    no_undo: ClassVar[str] = "from here on the way back is closed, and finishing can be repeated"

    async def do(self, world: PairWorld) -> None:
        await store.update(world, self.active, self.change, state=FINISHING)

    async def verify(self, world: PairWorld) -> Seen:
        found = await store.read(await world.session(self.active), self.change)
        at_it = found is not None and found.state in (FINISHING, FINISHED)
        return Seen.DONE if at_it else Seen.NOT_DONE


@dataclass(frozen=True)
class AlterOther(Step[PairWorld]):
    """Run the statements on {server}, which no client uses now, and not in its binary log"""

    active: str
    server: str
    change: str
    limit_s: ClassVar[float] = alter_server.LONGEST_S
    forward_tries: ClassVar[int] = 1
    no_undo: ClassVar[str] = FORWARD

    async def do(self, world: PairWorld) -> None:
        await alter_server.run_all(world, self.active, self.server, self.change)

    async def verify(self, world: PairWorld) -> Seen:
        change = await store.current(world, self.active, self.change)
        return Seen.DONE if change.complete(self.server) else Seen.NOT_DONE


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
        texts = {
            s: await mysql_alter.definitions(
                await world.session(s), change.database, change.tables
            ) for s in (self.active, *self.servers)
        }
        wanted = texts[self.active]
        wrong = [f"{table} on {s}" for s in self.servers for table in change.tables
                 if texts[s][table] != wanted[table]]
        if wrong:
            raise StepFailed(f"not as on {self.active}: {', '.join(wrong)}")
        return Seen.DONE

    async def verify(self, world: PairWorld) -> Seen:
        return await self.do(world)


@dataclass(frozen=True)
class RestoreSchema(Step[PairWorld]):
    """Give {servers} the old schema again"""

    active: str
    servers: tuple[str, ...]
    change: str
    given: tuple[str, ...]
    limit_s: ClassVar[float] = alter_server.LONGEST_S
    forward_tries: ClassVar[int] = 1
    no_undo: ClassVar[str] = FORWARD

    async def do(self, world: PairWorld) -> None:
        for server in self.servers:
            await alter_server.take_back(world, self.active, server, self.change, self.given)

    async def verify(self, world: PairWorld) -> Seen:
        change = await store.current(world, self.active, self.change)
        return Seen.NOT_DONE if any(map(change.touched, self.servers)) else Seen.DONE


@dataclass(frozen=True)
class PutBackConversions(Step[PairWorld]):
    """Put replication's conversions on {servers} back to what they were"""

    active: str
    servers: tuple[str, ...]
    change: str
    limit_s: ClassVar[float] = 60.0
    no_undo: ClassVar[str] = FORWARD

    async def do(self, world: PairWorld) -> Seen:
        change = await store.current(world, self.active, self.change)
        await put_back(world, change, self.servers)
        return Seen.DONE

    async def verify(self, world: PairWorld) -> Seen:
        change = await store.current(world, self.active, self.change)
        for server in self.servers:
            _, now = await mysql_alter.conversions(await world.session(server))
            if now != change.conversions.get(server, now):
                return Seen.NOT_DONE
        return Seen.DONE
