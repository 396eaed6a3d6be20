"""What is prepared while clients are still served: locks, the canary's table, a rehearsal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.errors import OutsideError, Refused, StepFailed
from slackwater.facts.pair import CANARY
from slackwater.operations import canary, pair_lock
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.reopen import reopen_old
from slackwater.operations.servers_world import SESSION_WAIT_TIMEOUT_S
from slackwater.operations.switchover.warm import warm
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan.step import Seen, Step

BEGAN = "began"  # noted once the locks are ours and the roles as planned, or a server is lost


async def take_both(world: PairWorld, old: str, new: str) -> None:
    """Take the pair's locks, and note that `old` is the one that accepts writes. Raises Refused."""
    try:
        await _take_both(world, old, new)
    except OutsideError:
        world.note(BEGAN, True)  # it accepted writes when the plan was made: see undo
        raise
    world.note(BEGAN, True)


async def _take_both(world: PairWorld, old: str, new: str) -> None:
    for name in (old, new):
        await world.servers[name].open()  # the spare one too, which undoing may need
        if not await pair_lock.take(world, name):
            raise Refused("cannot begin", [
                f"another slackwater works on this pair (its lock is on {name})"
            ])
    # The plan was made before the locks were ours: somebody may have switched over since.
    old_writable, new_writable = [await world.writable(n) for n in (old, new)]
    if old_writable is None or new_writable is None:
        raise StepFailed("cannot tell which server accepts writes")
    if not old_writable or new_writable:
        raise Refused("cannot begin", [
            f"{old} is no longer the one server that accepts writes: others were at work "
            "since the plan was made"
        ])


@dataclass(frozen=True)
class TakeLocks(Step[PairWorld]):
    """Take slackwater's lock on {old} and {new}, and open every session that is needed"""

    old: str
    new: str

    async def do(self, world: PairWorld) -> None:
        await take_both(world, self.old, self.new)
        # MySQL 5.7 shows open transactions live only with an instrument that is off by default.
        world.note("watching", await mysql_server.watch_transactions(await world.session(self.old)))
        old = world.servers[self.old]
        old.lock = await old.fresh()
        # It must outlive rehearsal and grace; FenceWrites shortens this to the rest of the hold.
        await mysql_server.prepare_lock(
            old.lock, wait_timeout_s=SESSION_WAIT_TIMEOUT_S, lock_wait_timeout_s=1
        )
        await pair_lock.mark(world, old.lock, "lock")

    async def verify(self, world: PairWorld) -> Seen:
        owned = [await pair_lock.owned(world, name) for name in (self.old, self.new)]
        roles = [await world.writable(name) for name in (self.old, self.new)]
        return Seen.DONE if all(owned) and roles == [True, False] else Seen.NOT_DONE

    async def undo(self, world: PairWorld) -> None:
        # The old server accepted writes when we began. One that died since comes back read-only,
        # and "undone" would not be true. Without our lock, somebody else may be at work on it.
        if BEGAN in world.notes and not await world.writable(self.old):
            if not await pair_lock.owned(world, self.old):
                raise StepFailed(f"{self.old} does not accept writes, and our lock on it is lost")
            await reopen_old(world, self.old, self.new)
        await stop_watching(world, self.old)
        for name in (self.old, self.new):
            await pair_lock.release(world, name)


@dataclass(frozen=True)
class MakeCanary(Step[PairWorld]):
    """Make sure that {old} has slackwater's own table, slackwater.canary"""

    old: str
    no_undo: ClassVar[str] = "a small table of our own that the next operation uses again"

    async def do(self, world: PairWorld) -> None:
        session = await world.session(self.old)
        if not await canary.exists(session):
            await canary.create(session)

    async def verify(self, world: PairWorld) -> Seen:
        there = await canary.exists(await world.session(self.old))
        return Seen.DONE if there else Seen.NOT_DONE


@dataclass(frozen=True)
class RehearseCatchUp(Step[PairWorld]):
    """Rehearse: a row written on {old} arrives on {new} within {lag_s} s; {new} readies threads"""

    old: str
    new: str
    lag_s: float
    no_undo: ClassVar[str] = "one row in our own table"

    @property
    def limit_s(self) -> float:  # type: ignore[override]
        return self.lag_s + 3.0

    async def do(self, world: PairWorld) -> None:
        old, new = await world.session(self.old), await world.session(self.new)
        number = await canary.send(old, "rehearsal")
        world.notes[canary.key("rehearsal")] = number
        begun = clock.mono()
        reached = await mysql_server.executed_text(old)
        if not await mysql_server.wait_executed(new, reached, limit_s=self.lag_s):
            raise StepFailed(
                f"{self.new} is more than {self.lag_s:g} s behind {self.old}; nothing was held"
            )
        # MariaDB counts a transaction as executed a moment before its rows can be seen.
        await canary.expect(new, "rehearsal", number, at=self.new, limit_s=self.lag_s)
        if await mysql_server.commits_held_up(new, CANARY):
            raise StepFailed(f"somebody locks all tables on {self.new}; nothing was held")
        world.figures["rehearsal_ms"] = round((clock.mono() - begun) * 1000, 2)
        await warm(world, self.old, self.new)

    async def verify(self, world: PairWorld) -> Seen:
        # Its table alone proves nothing: it is there since the first switchover.
        number = world.notes.get(canary.key("rehearsal"))
        if number is None:
            return Seen.NOT_DONE
        there = await canary.arrived(await world.session(self.new), "rehearsal", number)
        return Seen.DONE if there else Seen.NOT_DONE


async def stop_watching(world: PairWorld, old: str) -> None:
    """Switch off again what TakeLocks switched on in Performance Schema; a restart does too."""
    if world.notes.get("watching"):
        await mysql_server.unwatch_transactions(await world.session(old))
