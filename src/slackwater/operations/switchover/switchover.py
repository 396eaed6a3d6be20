"""Move the writes of an active-passive pair to the other server, behind its balancers."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass
from typing import Any, ClassVar

from slackwater import clock
from slackwater.errors import OutsideError, StepFailed
from slackwater.facts.pair import CANARY
from slackwater.operations.pair_asked import PairAsked, still_configured
from slackwater.operations.pair_lock import claim, claim_late, owned
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.reopen import PROMOTING, end_broken, reopen_old, surely_read_only, unlock
from slackwater.operations.switchover import end_by_balancer, settle_sessions
from slackwater.operations.switchover.after import CloseLeftovers, FollowNew, Persist, ProveIt
from slackwater.operations.switchover.before import (
    MakeCanary,
    RehearseCatchUp,
    TakeLocks,
)
from slackwater.operations.switchover.close_idle import CloseIdle
from slackwater.operations.switchover.let_in import (
    LONGEST_WAIT_S,
    close_let_in,
    note_before,
)
from slackwater.operations.switchover.pause_applier import PauseApplier
from slackwater.operations.switchover.settle_sessions import SettleSessions
from slackwater.outside.haproxy.haproxy import HAProxy
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan.journal import Past
from slackwater.plan.step import Plan, Seen, Step

# Past the fence the rest takes some milliseconds; with less left of the hold, do not begin it.
HOLD_LEFT_TO_COMMIT_S = 0.25
CALM_S = 0.02


@dataclass(frozen=True)
class Asked(PairAsked):
    """What was asked for: from and to are server names; limits in seconds."""

    hold_limit_s: float
    grace_s: float
    lag_s: float


def plan(pair: str, asked: Asked) -> Plan[PairWorld]:
    """The list of steps; the same for the same request."""
    old, new, balancers = asked.old, asked.new, asked.balancers
    return Plan(
        "switchover",
        f"switch pair {pair} over from {old} to {new}",
        (
            TakeLocks(old, new),
            MakeCanary(old),
            RehearseCatchUp(old, new, asked.lag_s),
            CloseIdle(old),
            PauseApplier(old),
            HoldClients(balancers, old, new, asked.hold_limit_s),
            SettleSessions(old, balancers, asked.grace_s),
            FenceWrites(old),
            WaitForReplay(new, old),
            FenceForGood(old, new),
            AimHold(balancers, new, old),
            PromoteNew(old, new),
            SendClients(balancers, new),
            CloseLeftovers(old, new, balancers),
            Persist(balancers, new, old),
            FollowNew(old, new, asked.replicas),
            ProveIt(balancers, new, old),
        ),
        asked.arguments(pair),
    )


def plan_again(arguments: dict[str, Any]) -> Plan[PairWorld]:
    """The plan of a journal, from its `arguments`."""
    return plan(*Asked.read(arguments))


@dataclass(frozen=True)
class HoldClients(Step[PairWorld]):
    """Hold clients at {balancers} for at most {hold_limit_s} s, to be let in to {old}."""

    balancers: tuple[str, ...]
    old: str
    new: str
    hold_limit_s: float
    undo_limit_s: ClassVar[float] = 5.0 + LONGEST_WAIT_S

    async def do(self, world: PairWorld) -> Seen:
        # Our machine may have slept meanwhile: then others were free to switch over, and clients
        # would be let in to a server that is no longer the active one.
        if lost := [n for n in (self.old, self.new) if not await owned(world, n)]:
            raise StepFailed(f"our lock on {' and '.join(lost)} is lost (it ends with its session):"
                             " others may have been at work since")
        # Past the commit point it is too late to find out that a balancer has no way there.
        await world.each_balancer(self.balancers, lambda b: b.reach(self.new))
        # The pin is taken before the clock starts: it is a connection, and may take its time.
        await world.each_balancer(self.balancers, lambda b: b.prepare_hold(active=self.old))
        await world.each_balancer(self.balancers, lambda b: b.connect_ahead())
        await note_before(world, self.new, self.balancers, clock.unix() + self.hold_limit_s)
        world.ways = await end_by_balancer.ways(world, self.old, self.balancers)
        # What we did up to here cost the machine time: let it first serve who had to wait for that.
        await asyncio.sleep(CALM_S)
        world.looked = await settle_sessions.look(world, self.old)
        gc.disable()  # a pause of the collector would be a pause of the clients
        world.held_since = clock.mono()
        world.held_until = world.held_since + self.hold_limit_s
        deadline = clock.unix() + self.hold_limit_s
        await world.each_balancer(
            self.balancers,
            lambda b: b.hold(active=self.old, back=self.old, deadline=deadline),
        )
        return Seen.DONE  # the reply to each hold has the servers' states in it

    async def verify(self, world: PairWorld) -> Seen:
        # A hold of another, or one whose pin was lost, lets clients in to the old server.
        held = await world.each_balancer(self.balancers, _held_by_us)
        return Seen.DONE if all(held.values()) else Seen.NOT_DONE

    async def undo(self, world: PairWorld) -> None:
        await reopen_old(world, self.old, self.new)
        try:
            await world.each_balancer(self.balancers, lambda b: b.release(to=self.old))
        finally:
            _hold_ended(world)
        # Whom a hold that ended by itself had let in to the read-only server: a pool would stay.
        await world.each_balancer(self.balancers, lambda b: b.close_sessions(self.new))
        await close_let_in(world, self.new, self.balancers)


@dataclass(frozen=True)
class FenceWrites(Step[PairWorld]):
    """Lock all tables on {old}, in a session that the server ends by itself"""

    old: str
    undone_with: ClassVar[str] = "HoldClients"  # after a crash of ours the lock is gone anyway

    async def do(self, world: PairWorld) -> Seen:
        lock = world.servers[self.old].lock
        if lock is None:
            raise StepFailed(f"no session was prepared for the lock on {self.old}")
        left = world.hold_left_s()
        if left < HOLD_LEFT_TO_COMMIT_S:
            raise StepFailed(f"only {left:.2f} s are left of the hold: too late to begin")
        # Should we disappear, the server frees the lock by itself, no later than the clients.
        position = await mysql_server.lock_all(
            lock, held_s=max(1, int(left)), limit_s=min(1.0, left)
        )
        world.notes["position"] = position  # of no use after a crash: the lock is gone then
        world.figures["position"] = position
        return Seen.DONE  # the session that has the lock answered

    async def verify(self, world: PairWorld) -> Seen:
        # The lock lives as long as its session: one that answers still has it.
        # Before the position is noted, that session is open but has no lock yet.
        lock = world.servers[self.old].lock
        if lock is None or lock.broken or "position" not in world.notes:
            return Seen.NOT_DONE
        await lock.rows("SELECT 1", limit_s=1)
        return Seen.DONE

    async def undo(self, world: PairWorld) -> None:
        await unlock(world, self.old)


@dataclass(frozen=True)
class WaitForReplay(Step[PairWorld]):
    """Wait until {new} has applied everything that {old} has written"""

    new: str
    old: str
    no_undo: ClassVar[str] = "it only waits"

    async def do(self, world: PairWorld) -> Seen:
        session = await world.session(self.new)
        left = max(0.1, world.hold_left_s() - HOLD_LEFT_TO_COMMIT_S)
        waited, held = await asyncio.gather(
            mysql_server.wait_executed(session, world.notes["position"], limit_s=left),
            world.each_balancer(world.balancers, _held_by_us),
        )
        # A balancer that was reloaded lets clients in: they wait for the lock, which is freed now.
        # Once the server is read-only they would get an error.
        if lost := [name for name, ours in held.items() if not ours]:
            raise StepFailed(f"the hold at {', '.join(lost)} is no longer in force")
        if not waited:
            raise StepFailed(f"{self.new} did not catch up with {self.old} within {left:.1f} s")
        return Seen.DONE

    async def verify(self, world: PairWorld) -> Seen:
        session = await world.session(self.new)
        reached = await mysql_server.has_executed(session, world.notes["position"])
        held = await world.each_balancer(world.balancers, _held_by_us)
        return Seen.DONE if reached and all(held.values()) else Seen.NOT_DONE


@dataclass(frozen=True)
class FenceForGood(Step[PairWorld]):
    """Make {old} read-only while its tables are still locked"""

    old: str
    new: str
    undone_with: ClassVar[str] = "HoldClients"  # which lets {old} accept writes again, too

    async def do(self, world: PairWorld) -> Seen:
        lock = world.servers[self.old].lock
        left = world.hold_left_s()
        if lock is None or left < HOLD_LEFT_TO_COMMIT_S:
            raise StepFailed(f"only {left:.2f} s are left of the hold: too late to begin")
        # In the very session that holds the lock: if the lock was lost, this cannot succeed.
        return Seen.NOT_DONE if await mysql_server.set_read_only(lock, True) else Seen.DONE

    async def verify(self, world: PairWorld) -> Seen:
        session = await world.session(self.old)
        return Seen.NOT_DONE if await mysql_server.is_writable(session) else Seen.DONE

    async def undo(self, world: PairWorld) -> None:
        await reopen_old(world, self.old, self.new)


@dataclass(frozen=True)
class AimHold(Step[PairWorld]):
    """From here clients held at {balancers} go to {new} should we disappear"""

    balancers: tuple[str, ...]
    new: str
    old: str
    undone_with: ClassVar[str] = "HoldClients"  # which lets clients in to {old}

    async def do(self, world: PairWorld) -> Seen:
        await world.each_balancer(self.balancers, lambda b: b.aim(back=self.new, ahead=True))
        return Seen.DONE  # aim looks in the same reply

    async def verify(self, world: PairWorld) -> Seen:
        async def aimed(balancer: HAProxy) -> bool:
            state = await balancer.look()
            return balancer.holds(state) and state.hold is not None and state.hold.back == self.new

        found = await world.each_balancer(self.balancers, aimed)
        return Seen.DONE if all(found.values()) else Seen.NOT_DONE

    async def undo(self, world: PairWorld) -> None:
        await surely_read_only(world, self.new)

        async def aim_back(balancer: HAProxy) -> None:
            # A hold that ended by itself, or that a killed slackwater put, is no longer aimed by
            # anybody: what follows here reopens the old server and sends clients there.
            if await _held_by_us(balancer):
                await balancer.aim(back=self.old)

        await world.each_balancer(self.balancers, aim_back)


@dataclass(frozen=True)
class PromoteNew(Step[PairWorld]):
    """Let {new} accept writes; {old} no longer does"""

    old: str
    new: str
    commit: ClassVar[bool] = True
    no_undo: ClassVar[str] = "once it may have accepted writes, going back would lose them"

    async def do(self, world: PairWorld) -> Seen:
        await claim_late(world)
        # Looked at again, because after a crash others may have been here.
        session = await world.session(self.new)
        async with asyncio.TaskGroup() as both:
            closed = both.create_task(world.writable(self.old))
            held_up = both.create_task(mysql_server.commits_held_up(session, CANARY))
        if closed.result() is not False:
            raise StepFailed(f"{self.old} is not surely read-only, so {self.new} stays read-only")
        if held_up.result():
            raise StepFailed(f"somebody locks all tables on {self.new} (FLUSH TABLES WITH READ "
                             "LOCK, a backup): clients would wait there for its end")
        # That this step was begun is on disk: recover looks at the server in any case.
        world.note(PROMOTING, self.new, sync=False)
        return Seen.DONE if await mysql_server.set_read_only(session, False) else Seen.NOT_DONE

    async def verify(self, world: PairWorld) -> Seen:
        await end_broken(world, self.new)
        writable = await world.writable(self.new)
        if writable:
            return Seen.DONE
        if PROMOTING not in world.notes:
            return Seen.NOT_DONE  # it was never told to
        if writable is None or world.hold_left_s() <= 0:
            return Seen.UNKNOWN  # past the hold, clients may have been let in to it
        return Seen.NOT_DONE

    async def passed(self, world: PairWorld) -> Seen:
        """After a crash: it accepted writes if it does now, or has what the old one lacks."""
        await claim_late(world)
        writable = await world.writable(self.new)
        if writable:
            return Seen.DONE
        if writable is None:
            return Seen.UNKNOWN
        try:
            new_has = await mysql_server.executed_text(await world.session(self.new))
            old_session = await world.session(self.old)
            lossless = await mysql_server.has_executed(old_session, new_has)
        except OutsideError:
            return Seen.UNKNOWN
        return Seen.NOT_DONE if lossless else Seen.DONE


@dataclass(frozen=True)
class SendClients(Step[PairWorld]):
    """Let clients in to {new} at {balancers}"""

    balancers: tuple[str, ...]
    new: str
    no_undo: ClassVar[str] = "only forward"

    async def do(self, world: PairWorld) -> None:
        try:
            await world.each_balancer(self.balancers, lambda b: b.release(to=self.new, ahead=True))
        finally:
            _hold_ended(world)
        # `verify` looks anew: a balancer that was reloaded just now has not heard of it.

    async def verify(self, world: PairWorld) -> Seen:
        states = await world.each_balancer(self.balancers, lambda b: b.look())
        sent = all(s.active == self.new and not s.holding for s in states.values())
        return Seen.DONE if sent else Seen.NOT_DONE


async def _held_by_us(balancer: HAProxy) -> bool:
    return await balancer.holds_now()


def _hold_ended(world: PairWorld) -> None:
    gc.enable()
    if world.held_since is not None and "hold_ms" not in world.figures:
        world.figures["hold_ms"] = round((clock.mono() - world.held_since) * 1000, 2)
    world.held_until = None


async def resume(world: PairWorld, past: Past) -> None:
    """Before recovering: everything that the journal names is still in the configuration, and the
    pair's locks are ours. Raises ConfigError, or Refused.
    """
    still_configured(world, past)
    arguments = past.planned["arguments"]
    world.figures.update({"from": arguments["old"], "to": arguments["new"]})
    for event in past.events:
        if event["event"] == "ended" and "hold_ms" in event:
            world.figures["hold_ms"] = event["hold_ms"]
    await claim(world)
