"""A pair of servers and a balancer in memory, with the plan of a small switchover.

The world itself counts what must never be: two writable servers at once, and clients held by
nobody's will at the end.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from slackwater.errors import StepFailed
from slackwater.plan import journal
from slackwater.plan.faults import Faults
from slackwater.plan.journal import Journal
from slackwater.plan.report import Report
from slackwater.plan.runner import Runner
from slackwater.plan.step import Plan, Seen, Step


class World:
    """Servers a (active) and b; `held`: clients wait; `sent`: where new clients go."""

    def __init__(self) -> None:
        self.figures: dict[str, Any] = {}
        self.writable = {"a": True, "b": False}
        self.locked = self.held = self.tidy = False
        self.caught_up = False
        self.sent = "a"
        self.both_writable = 0
        self.changes: list[str] = []
        self.dead: set[str] = set()  # names of steps whose world cannot be asked

    def set_writable(self, name: str, on: bool) -> None:
        if self.writable[name] != on:
            self.changes.append(f"{name} {'writable' if on else 'read-only'}")
        self.writable[name] = on
        self.both_writable += all(self.writable.values())

    def change(self, **values: Any) -> None:
        for key, value in values.items():
            if getattr(self, key) != value:
                self.changes.append(f"{key}={value}")
                setattr(self, key, value)

    @property
    def state(self) -> tuple[object, ...]:
        return (tuple(self.writable.items()), self.locked, self.held, self.sent, self.tidy)

    def copy(self) -> World:
        """The world as it stays behind when its operator is killed."""
        other = World()
        other.__dict__.update(self.__dict__, writable=dict(self.writable), figures={},
                              changes=[], dead=set())
        return other


BEFORE = World().state
AFTER = ((("a", False), ("b", True)), False, False, "b", True)


def _seen(yes: bool) -> Seen:
    return Seen.DONE if yes else Seen.NOT_DONE


class _Step(Step[World]):
    limit_s: ClassVar[float] = 1.0
    undo_limit_s: ClassVar[float] = 1.0

    async def goal(self, world: World) -> bool:
        raise NotImplementedError

    async def verify(self, world: World) -> Seen:
        if self.name in world.dead:
            raise OSError("cannot look")
        return _seen(await self.goal(world))


@dataclass(frozen=True)
class Hold(_Step):
    """Hold clients"""

    async def do(self, world: World) -> None:
        world.change(held=True)

    async def goal(self, world: World) -> bool:
        return world.held

    async def undo(self, world: World) -> None:
        world.change(held=False)


@dataclass(frozen=True)
class Wait(_Step):
    """Wait until b has everything"""

    no_undo: ClassVar[str] = "it only waits"

    async def do(self, world: World) -> None:
        world.caught_up = True

    async def goal(self, world: World) -> bool:
        return world.caught_up


@dataclass(frozen=True)
class Fence(_Step):
    """Lock {old} and make it read-only"""

    old: str = "a"

    async def do(self, world: World) -> None:
        world.change(locked=True)
        world.set_writable(self.old, False)

    async def goal(self, world: World) -> bool:
        return not world.writable[self.old]

    async def undo(self, world: World) -> None:
        if world.writable["b"]:
            raise StepFailed("b may be accepting writes")
        world.change(locked=False)
        world.set_writable(self.old, True)


@dataclass(frozen=True)
class Promote(_Step):
    """Let b accept writes"""

    commit: ClassVar[bool] = True
    no_undo: ClassVar[str] = "it may have accepted writes"

    async def do(self, world: World) -> None:
        if world.writable["a"]:
            raise StepFailed("a still accepts writes")
        world.set_writable("b", True)

    async def goal(self, world: World) -> bool:
        return world.writable["b"]


@dataclass(frozen=True)
class Send(_Step):
    """Let clients in to b"""

    no_undo: ClassVar[str] = "only forward"

    async def do(self, world: World) -> None:
        world.change(sent="b", held=False)

    async def goal(self, world: World) -> bool:
        return world.sent == "b" and not world.held


@dataclass(frozen=True)
class Tidy(_Step):
    """Leave nothing behind"""

    no_undo: ClassVar[str] = "only forward"

    async def do(self, world: World) -> None:
        world.change(tidy=True, locked=False)

    async def goal(self, world: World) -> bool:
        return world.tidy and not world.locked


STEPS = (Hold(), Wait(), Fence(), Promote(), Send(), Tidy())
NAMES = [s.name for s in STEPS]
COMMIT = NAMES.index("Promote")


def plan(steps: tuple[Step[World], ...] = STEPS) -> Plan[World]:
    """The small switchover, or a plan of these steps."""
    return Plan("small", "switch from a to b", steps, {})


async def no_reasons() -> list[str]:
    """A guard that lets everything begin."""
    return []


def new_journal(directory: Path) -> Journal:
    """A journal that has said what is planned."""
    record = Journal.create(directory, "small")
    record.write("planned", operation="small", arguments={}, **journal.process())
    return record


def make(
    directory: Path, world: World, *, inject: str = "", steps: tuple[Step[World], ...] = STEPS,
    unwind_limit_s: float = 5.0,
) -> tuple[Runner[World], list[dict[str, Any]]]:
    """A runner with its own journal, and the list that its events go to."""
    told: list[dict[str, Any]] = []
    runner = Runner(plan(steps), world, new_journal(directory), tell=told.append,
                    faults=Faults.parse(inject), unwind_limit_s=unwind_limit_s)
    return runner, told


def walk(directory: Path, world: World, **given: Any) -> Report:
    """Run a plan to its end."""
    runner, _ = make(directory, world, **given)
    try:
        return asyncio.run(runner.run(no_reasons))
    finally:
        runner.journal.close()


def recover(path: Path, world: World) -> Report:
    """What `slackwater recover` does with a journal."""
    past = journal.read(path)
    record = Journal.reopen(path)
    runner = Runner(plan(), world, record, tell=lambda event: None)
    try:
        return asyncio.run(runner.recover(past))
    finally:
        record.close()
