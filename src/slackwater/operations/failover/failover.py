"""Make the passive server of a pair the active one when the active is dead or cut off."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

from slackwater import clock
from slackwater.errors import OutsideError, Refused, StepFailed
from slackwater.facts.pair import CANARY
from slackwater.operations import canary, pair_lock
from slackwater.operations.balancer_file import file_active, install_checked, write_file
from slackwater.operations.failover import missing
from slackwater.operations.failover.after import (
    FenceLate,
    MoveReplicas,
    ParkSource,
    ProveClients,
    TellMissing,
)
from slackwater.operations.failover.fence_old import NO_WAIT, FenceOld, stop_waiting
from slackwater.operations.failover.receive_rest import ApplyReceived, StopReceiving
from slackwater.operations.pair_asked import PairAsked, still_configured
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.reloads import RELOAD_LIMIT_S, outlast_reloads
from slackwater.operations.reopen import PROMOTING, end_broken, surely_read_only
from slackwater.operations.switchover.switchover import SendClients
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import Session
from slackwater.plan.journal import Past
from slackwater.plan.step import Plan, Seen, Step

ROUND_S, ROUNDS = 0.01, 4  # looks at sessions that are to end


@dataclass(frozen=True)
class Asked(PairAsked):
    """What was asked for: from and to are server names; `apply_s`: how long what was received may
    take to be applied; `sight`: how the old server looked from here, in words."""

    apply_s: float
    sight: str


def plan(pair: str, asked: Asked) -> Plan[PairWorld]:
    """The list of steps; the same for the same request."""
    old, new, balancers = asked.old, asked.new, asked.balancers
    return Plan(
        "failover",
        f"fail pair {pair} over from {old} ({asked.sight}) to {new}",
        (
            LockPassive(old, new),
            CutOff(balancers, old, new),
            NameNew(balancers, new, old),
            FenceOld(old, new),
            StopReceiving(new, old),
            ApplyReceived(new, asked.apply_s),
            Promote(old, new, balancers),
            SendClients(balancers, new),
            ProveClients(balancers, new, old),
            ParkSource(new, old),
            *([MoveReplicas(asked.replicas, new)] if asked.replicas else []),
            FenceLate(old, balancers),
            TellMissing(old, new),
        ),
        asked.arguments(pair),
    )


def plan_again(arguments: dict[str, Any]) -> Plan[PairWorld]:
    """The plan of a journal, from its `arguments`."""
    return plan(*Asked.read(arguments))


@dataclass(frozen=True)
class LockPassive(Step[PairWorld]):
    """Take slackwater's lock on {new}, and on {old} if it answers"""

    old: str
    new: str

    async def do(self, world: PairWorld) -> None:
        world.note("failing over", self.new)
        for name in _answering(world, self.old, self.new):
            if not await pair_lock.take(world, name):
                raise Refused("cannot begin", [
                    f"another slackwater works on this pair (its lock is on {name})"
                ])
        if await mysql_server.is_writable(await world.session(self.new)):
            raise Refused("cannot begin", [f"{self.new} accepts writes: others were at work"])

    async def verify(self, world: PairWorld) -> Seen:
        return Seen.DONE if await pair_lock.owned(world, self.new) else Seen.NOT_DONE

    async def undo(self, world: PairWorld) -> None:
        for name in _answering(world, self.old, self.new):
            await pair_lock.release(world, name)


def _answering(world: PairWorld, *names: str) -> list[str]:
    return [n for n in names if n not in world.unreachable]


@dataclass(frozen=True)
class CutOff(Step[PairWorld]):
    """Cut {old} off at {balancers}: no new client, and no session that was open"""

    balancers: tuple[str, ...]
    old: str
    new: str

    async def do(self, world: PairWorld) -> Seen:
        states = await world.each_balancer(self.balancers, lambda b: b.look())
        world.note("sent to old", [n for n, s in states.items() if s.active == self.old])
        await world.each_balancer(self.balancers, lambda b: b.cut_off(self.old))
        world.notes["cut at"] = clock.unix()

        # HAProxy ends a session when it comes round to it, but not one whose client has gone: that
        # waits for a server which says nothing, and no client can be told anything by it.
        counts: list[int] = []
        while len(counts) < ROUNDS or (counts[-1] and counts[-1] != counts[-ROUNDS]):
            await asyncio.sleep(ROUND_S)
            closed = await world.each_balancer(
                self.balancers, lambda b: b.close_sessions(self.old, wait=False))
            counts.append(sum(closed.values()))
            if not counts[-1]:
                break
        world.figures["left_by_their_clients"] = counts[-1]
        return Seen.DONE  # those were the looks

    async def verify(self, world: PairWorld) -> Seen:
        return Seen.DONE if not await still_sent(world, self.balancers, self.old) else Seen.NOT_DONE

    async def undo(self, world: PairWorld) -> None:
        await surely_read_only(world, self.new)
        back = [n for n in self.balancers if n in world.notes.get("sent to old", [])]
        await world.each_balancer(back, lambda b: b.release(to=self.old))


async def still_sent(world: PairWorld, balancers: tuple[str, ...], server: str) -> list[str]:
    """The balancers that would still send a client to that server."""
    states = await world.each_balancer(balancers, lambda b: b.look())
    return [name for name, state in states.items() if state.servers[server].usable]


@dataclass(frozen=True)
class NameNew(Step[PairWorld]):
    """Write {new} as the active server into the files of {balancers}, for when they restart"""

    balancers: tuple[str, ...]
    new: str
    old: str
    limit_s: ClassVar[float] = 15.0 + RELOAD_LIMIT_S
    undo_limit_s: ClassVar[float] = 15.0 + RELOAD_LIMIT_S

    async def do(self, world: PairWorld) -> Seen:
        # Before it accepts writes: a balancer that restarts a moment later must not find the old.
        was = {b: await file_active(world, b) for b in self.balancers}
        world.note("files", was)
        await asyncio.gather(*(install_checked(world, b, self.new) for b in self.balancers))
        # One that restarts right now, and has read the old file, would send clients to both.
        await outlast_reloads(world, self.balancers, lambda b: b.cut_off(self.old))
        return Seen.DONE  # each was checked, and moved into its place

    async def verify(self, world: PairWorld) -> Seen:
        active = [await file_active(world, b) for b in self.balancers]
        return Seen.DONE if all(a == self.new for a in active) else Seen.NOT_DONE

    async def undo(self, world: PairWorld) -> None:
        was = world.notes.get("files", {})
        back = [b for b in self.balancers if was.get(b) == self.old]
        await asyncio.gather(*(write_file(world, b, self.old) for b in back))
        # One that has read the file as it was would send clients to the new server, which is
        # read-only. Where they are sent now is told by the undo of CutOff.
        await outlast_reloads(world, back, lambda b: b.look())


@dataclass(frozen=True)
class Promote(Step[PairWorld]):
    """Let {new} accept writes; no balancer sends anybody to {old}"""

    old: str
    new: str
    balancers: tuple[str, ...]
    commit: ClassVar[bool] = True
    no_undo: ClassVar[str] = "once it may have accepted writes, going back would lose them"

    async def do(self, world: PairWorld) -> None:
        session = await world.session(self.new)
        async with asyncio.TaskGroup() as all_at_once:
            sent = all_at_once.create_task(still_sent(world, self.balancers, self.old))
            held_up = all_at_once.create_task(_commits_held_up(session))
        if sent.result():
            raise StepFailed(f"{', '.join(sent.result())} may still send clients to {self.old}, so "
                             f"{self.new} stays read-only")
        if held_up.result():
            raise StepFailed(f"somebody locks all tables on {self.new} (FLUSH TABLES WITH READ "
                             "LOCK, a backup): clients would wait there for its end")
        await self._wait_for_no_replica(world)
        await missing.note_had(world, self.new)
        world.note(PROMOTING, self.new)
        await mysql_server.set_read_only(session, False)

    async def _wait_for_no_replica(self, world: PairWorld) -> None:
        """Since StopReceiving, unless somebody switched it on: a commit would wait for ever."""
        await stop_waiting(world, self.new, await world.session(self.new))
        if self.new in world.notes.get(NO_WAIT, []):
            world.figures["semi_sync_off"] = self.new

    async def verify(self, world: PairWorld) -> Seen:
        await end_broken(world, self.new)
        writable = await world.writable(self.new)
        if writable:
            return Seen.DONE
        if PROMOTING not in world.notes:
            return Seen.NOT_DONE  # it was never told to
        return Seen.UNKNOWN if writable is None else Seen.NOT_DONE

    async def passed(self, world: PairWorld) -> Seen:
        """After a crash: it accepted writes if it does now, or has more than then."""
        await pair_lock.claim_late(world)
        writable = await world.writable(self.new)
        if writable:
            return Seen.DONE
        if writable is None:
            return Seen.UNKNOWN
        if PROMOTING not in world.notes:
            return Seen.NOT_DONE
        try:
            has = await mysql_server.executed_text(await world.session(self.new))
        except OutsideError:
            return Seen.UNKNOWN
        return Seen.NOT_DONE if has == world.notes.get("had") else Seen.DONE


async def _commits_held_up(session: Session) -> bool:
    """Asked by our own table; without one (no switchover was ever made) it cannot be asked."""
    return await canary.exists(session) and await mysql_server.commits_held_up(
        session, CANARY)


async def resume(world: PairWorld, past: Past) -> None:
    """Before recovering: what the journal names is still in the configuration, and the pair's locks
    are ours. Raises ConfigError, or Refused.
    """
    still_configured(world, past)
    arguments = past.planned["arguments"]
    world.figures.update({"from": arguments["old"], "to": arguments["new"]})
    await pair_lock.claim(world)
