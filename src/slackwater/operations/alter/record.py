"""Steps that write down, for both servers to know, how far a schema change is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

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
from slackwater.operations.alter import server as alter_server
from slackwater.operations.alter import store
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.switchover.after import FORWARD
from slackwater.outside.mysql import alter as mysql_alter
from slackwater.plan.step import Seen, Step

SKIP = "skip data"  # noted when the data statements that are left are not wanted any more


async def keeping(world: PairWorld) -> bool:
    """Whether what is done is kept: the same command was given again."""
    return bool(world.notes.get(alter_server.CARRY_ON))


async def untouched(world: PairWorld, active: str, change_id: str) -> Change | None:
    """The change if nothing of it is left on any server; raises StepFailed if something is."""
    change = await store.read(await world.session(active), change_id)
    if change is None:
        return None
    left = [s for s in (change.first, change.other, *change.replicas) if change.touched(s)]
    if left:
        raise StepFailed(f"{', '.join(left)} keep(s) what was changed there")
    return change


async def must_be_alike(world: PairWorld, active: str, change_id: str) -> Change:
    """The change. Raises StepFailed while a server lacks what another has: past the commit point a
    step that failed does not keep the next ones from being tried."""
    change = await store.current(world, active, change_id)
    if change.apart:
        raise StepFailed(f"{', '.join(change.apart)} and the others have different schemas still")
    await must_be_defined_alike(world, active, change)
    return change


async def must_be_defined_alike(world: PairWorld, active: str, change: Change) -> None:
    """Raises StepFailed where a table of the change is not defined as on the active."""
    servers = (change.first, change.other, *change.replicas)
    texts = {
        s: await mysql_alter.definitions(await world.session(s), change.database, change.tables)
        for s in servers
    }
    wrong = [f"{table} on {s}" for s in servers for table in change.tables
             if texts[s][table] != texts[active][table]]
    if wrong:
        raise StepFailed(f"not as on {active}: {', '.join(wrong)}")


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
        change = await untouched(world, self.active, self.change)
        if change is None:
            return
        for server, was in change.conversions.items():
            if (await mysql_alter.conversions(await world.session(server)))[1] != was:
                raise StepFailed(f"{server} still has other conversions than before")
        await store.update(world, self.active, self.change, state=UNDONE)


@dataclass(frozen=True)
class RecordData(Step[PairWorld]):
    """Write down on {active} what is to be done to rows"""

    active: str
    change: str
    document: str
    commit: ClassVar[bool] = True
    no_undo: ClassVar[str] = "what a chunk has done stays, and the rest can be gone on with"

    async def do(self, world: PairWorld) -> None:
        session = await world.session(self.active)
        await store.create(session)
        if await store.read(session, self.change) is None:
            await store.write(world, self.active, store.from_text(self.document))

    async def verify(self, world: PairWorld) -> Seen:
        found = await store.read(await world.session(self.active), self.change)
        return Seen.NOT_DONE if found is None else Seen.DONE


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
    skip_data: bool = False

    async def do(self, world: PairWorld) -> None:
        change = await must_be_alike(world, self.active, self.change)
        skips = self.skip_data or bool(world.notes.get(SKIP))
        if change.filled < len(change.data) and not skips:
            raise StepFailed(f"{len(change.data) - change.filled} data statement(s) are not done")
        await super().do(world)


@dataclass(frozen=True)
class MarkUndone(Mark):
    """Write down on {active}: undone, everywhere"""

    state: str = UNDONE

    async def do(self, world: PairWorld) -> None:
        await must_be_alike(world, self.active, self.change)
        await super().do(world)


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
