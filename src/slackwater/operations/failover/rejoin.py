"""Bring a server that was failed over from back, as the passive of its pair."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from slackwater import clock
from slackwater.config import host_port
from slackwater.errors import Refused, StepFailed
from slackwater.facts.failover import PARKED_PORT
from slackwater.operations import canary, pair_lock
from slackwater.operations.alter.server import convert_again
from slackwater.operations.balancer_file import file_active, write_file
from slackwater.operations.failover import gives_word, own_transactions
from slackwater.operations.failover.failover import resume as resume
from slackwater.operations.failover.fence_old import NO_WAIT, close_for_good
from slackwater.operations.keep_alive import caught_up
from slackwater.operations.pair_asked import PairAsked
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.switchover.after import ARRIVAL_LIMIT_S, ProveIt
from slackwater.outside.mysql import semi_sync
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import Session
from slackwater.plan import journal
from slackwater.plan.journal import Past
from slackwater.plan.step import Plan, Seen, Step
from slackwater.plan.wait import wait_until

CLOSE = "rejoin-close"
STAYS = "it does what a passive server does; there is nothing to go back to"
BACK_LIMIT_S = 20.0
CLOSE_TRIES = 10


@dataclass(frozen=True)
class Asked(PairAsked):
    """`old` comes back, `new` takes the writes and goes on to do so."""

    catch_up_s: float


def plan(pair: str, asked: Asked) -> Plan[PairWorld]:
    """The list of steps; the same for the same request."""
    old, new, balancers = asked.old, asked.new, asked.balancers
    return Plan(
        "rejoin",
        f"bring {old} back into pair {pair} as the passive server behind {new}",
        (
            LockPair(old, new),
            CloseReturned(old, new),
            NothingOfItsOwn(old, new),
            Follow(old, new, asked.catch_up_s),
            FollowBack(new, old),
            WaitAgain(old, new),
            KeepActive(balancers, new, old),
            ProveIt(balancers, new, old),
        ),
        asked.arguments(pair),
    )


def plan_again(arguments: dict[str, Any]) -> Plan[PairWorld]:
    """The plan of a journal, from its `arguments`."""
    return plan(*Asked.read(arguments))


def close_plan(pair: str, asked: Asked) -> Plan[PairWorld]:
    """What comes before the data of the old server is copied anew."""
    old, new = asked.old, asked.new
    return Plan(
        CLOSE,
        f"close {old} of pair {pair}, and save what it has of its own",
        (LockPair(old, new), CloseReturned(old, new), SaveOwn(old, new)),
        asked.arguments(pair),
        onward="`slackwater pair rejoin --copy-again` again goes on with it",
    )


def close_again(arguments: dict[str, Any]) -> Plan[PairWorld]:
    """The same, of a journal."""
    return close_plan(*Asked.read(arguments))


@dataclass(frozen=True)
class LockPair(Step[PairWorld]):
    """Take slackwater's lock on {old} and {new}"""

    old: str
    new: str

    async def do(self, world: PairWorld) -> None:
        for name in (self.old, self.new):
            if not await pair_lock.take(world, name):
                raise Refused("cannot begin", [
                    f"another slackwater works on this pair (its lock is on {name})"
                ])
        if not await mysql_server.is_writable(await world.session(self.new)):
            raise Refused("cannot begin", [f"{self.new} no longer accepts writes"])

    async def verify(self, world: PairWorld) -> Seen:
        owned = [await pair_lock.owned(world, name) for name in (self.old, self.new)]
        return Seen.DONE if all(owned) else Seen.NOT_DONE

    async def undo(self, world: PairWorld) -> None:
        for name in (self.old, self.new):
            await pair_lock.release(world, name)


@dataclass(frozen=True)
class CloseReturned(Step[PairWorld]):
    """Make {old} read-only and close its clients' sessions: {new} takes the writes"""

    old: str
    new: str
    no_undo: ClassVar[str] = "two servers that accept writes are never wanted"
    stays: ClassVar[bool] = True
    limit_s: ClassVar[float] = 1.5 * CLOSE_TRIES + 10.0

    async def do(self, world: PairWorld) -> None:
        # Nobody waits for it here, and it may have just woken up with much to finish.
        session = await world.session(self.old)
        await close_for_good(world, self.old, session, tries=CLOSE_TRIES)

    async def verify(self, world: PairWorld) -> Seen:
        session = await world.session(self.old)
        return Seen.NOT_DONE if await mysql_server.is_writable(session) else Seen.DONE


@dataclass(frozen=True)
class NothingOfItsOwn(Step[PairWorld]):
    """Make sure that {old} has nothing that {new} never had"""

    old: str
    new: str
    no_undo: ClassVar[str] = "it only looks"
    limit_s: ClassVar[float] = 300.0

    async def do(self, world: PairWorld) -> Seen:
        if more := await own_transactions.extra(world, self.old, self.new):
            told = await own_transactions.show(world, self.old, self.new, more, keep=True)
            world.figures["extra"] = told
            raise StepFailed(told["words"], hint=copy_again(self.old))
        return Seen.DONE  # that was the look

    async def verify(self, world: PairWorld) -> Seen:
        more = await own_transactions.extra(world, self.old, self.new)
        return Seen.NOT_DONE if more else Seen.DONE


@dataclass(frozen=True)
class SaveOwn(Step[PairWorld]):
    """Save what {old} has and {new} never had, before its data is thrown away"""

    old: str
    new: str
    no_undo: ClassVar[str] = "it only reads, and saves what it found"
    limit_s: ClassVar[float] = 300.0

    async def do(self, world: PairWorld) -> Seen:
        if more := await own_transactions.extra(world, self.old, self.new):
            told = await own_transactions.show(world, self.old, self.new, more, keep=True)
            world.figures["extra"] = told
            world.tell({"at": clock.unix(), "event": "told", "text": told["words"]})
            if not told["saved"]:
                raise StepFailed(
                    f"{told['words']}, so its data is not thrown away",
                    hint=f"keep its binary logs yourself, and have {self.old} forget them (RESET "
                         "MASTER; RESET BINARY LOGS AND GTIDS since MySQL 8.2); then again")
        return Seen.DONE  # it is in the file

    async def verify(self, world: PairWorld) -> Seen:
        return Seen.NOT_DONE  # cheap to do again


def copy_again(old: str) -> str:
    """What leads on for a server that has transactions of its own."""
    return (f"look at them, bring over by hand what you want to keep, then copy the data of {old} "
            "anew: `slackwater pair rejoin --copy-again`")


@dataclass(frozen=True)
class Follow(Step[PairWorld]):
    """Have {old} replicate from {new} by GTID, and catch up within {catch_up_s} s"""

    old: str
    new: str
    catch_up_s: float
    no_undo: ClassVar[str] = STAYS

    @property
    def limit_s(self) -> float:  # type: ignore[override]
        return self.catch_up_s + 20.0

    async def do(self, world: PairWorld) -> None:
        session, new = await world.session(self.old), await world.session(self.new)
        channels = await mysql_server.replica_status(session)
        if len(channels) != 1:
            raise StepFailed(f"{self.old} has {len(channels)} replication channels, not one",
                             hint="set replication up with `slackwater pair setup`")
        await convert_again(world, self.new, self.old)
        await mysql_server.stop_replica(session)
        # What it wrote itself, when it was active, it has as well: it need not be sent again, and
        # the new server may not even have those logs any more.
        has = await mysql_server.executed_text(session)
        await mysql_server.set_replicated_position(session, has)
        await point(world, session, channels[0].source_host, channels[0].source_port, self.new)
        await mysql_server.start_replica(session)
        number = await canary.send(new, "rejoin")
        world.notes[canary.key("rejoin")] = number
        reached = await mysql_server.executed_text(new)
        if not await caught_up(world, self.old, reached, limit_s=self.catch_up_s):
            status = (await mysql_server.replica_status(session))[0]
            why = "; ".join(status.errors) or f"it is at {status.executed_gtids}"
            raise StepFailed(f"{self.old} has not caught up with {self.new} within "
                             f"{self.catch_up_s:g} s: {why}")
        await canary.expect(session, "rejoin", number, at=self.old, limit_s=ARRIVAL_LIMIT_S)

    async def verify(self, world: PairWorld) -> Seen:
        session = await world.session(self.old)
        number = world.notes.get(canary.key("rejoin"))
        status = await mysql_server.replica_status(session)
        there = number is not None and await canary.arrived(session, "rejoin", number)
        return Seen.DONE if there and all(s.running for s in status) else Seen.NOT_DONE


async def point(world: PairWorld, session: Session, host: str, port: int, to: str) -> None:
    """Have the (stopped) replica look for `to`; what it is configured with stays if it leads there,
    since a server may have another address for its partner than for its clients."""
    _, wanted = host_port(world.config.servers[to].address)
    if port in (0, PARKED_PORT):
        await mysql_server.point_source(session, host, wanted)


@dataclass(frozen=True)
class FollowBack(Step[PairWorld]):
    """Have {new} replicate from {old} again, so that the next switchover finds both ways"""

    new: str
    old: str
    no_undo: ClassVar[str] = STAYS
    limit_s: ClassVar[float] = BACK_LIMIT_S + 15

    async def do(self, world: PairWorld) -> None:
        session = await world.session(self.new)
        status = (await mysql_server.replica_status(session))[0]
        if not status.running or status.source_port == PARKED_PORT:
            await mysql_server.stop_replica(session)
            await point(world, session, status.source_host, status.source_port, self.old)
            await convert_again(world, self.new, self.new)
            await mysql_server.start_replica(session)

        async def state() -> str:
            found = (await mysql_server.replica_status(session))[0]
            if found.running:
                return "running"
            return "; ".join(found.errors) or found.io_state

        await wait_until(state, lambda s: s == "running", limit_s=BACK_LIMIT_S,
                         what=f"{self.new} replicating from {self.old}")

    async def verify(self, world: PairWorld) -> Seen:
        status = await mysql_server.replica_status(await world.session(self.new))
        return Seen.DONE if status and all(s.running for s in status) else Seen.NOT_DONE


@dataclass(frozen=True)
class WaitAgain(Step[PairWorld]):
    """Have commits wait for the other server's word again, where the failover had ended that"""

    old: str
    new: str
    no_undo: ClassVar[str] = STAYS
    limit_s: ClassVar[float] = 2 * gives_word.CONNECTED_LIMIT_S + 30

    async def do(self, world: PairWorld) -> Seen:
        names = told_not_to_wait(journal.read_all(world.config.state_directory), world.name)
        names |= {*world.notes.get(NO_WAIT, [])}
        waits: dict[str, bool] = {}
        for name, other in ((self.old, self.new), (self.new, self.old)):
            session = await world.session(name)
            if name in names:
                await gives_word.begin(await world.session(other), session, name)
                await semi_sync.set_source(session, True)
                world.figures.setdefault("semi_sync_on", []).append(name)
            found = await semi_sync.look(session)
            waits[name] = found is not None and found.source
        if any(waits.values()):
            world.figures["semi_sync_off"] = [n for n, on in waits.items() if not on]
        return Seen.DONE  # the servers said so

    async def verify(self, world: PairWorld) -> Seen:
        return Seen.NOT_DONE  # cheap to do again


def told_not_to_wait(past: Iterable[Past], pair: str) -> set[str]:
    """The servers of this pair that nobody has told to wait again since its last rejoin. `past`:
    all journals, oldest first: each names only those that it found waiting."""
    names: set[str] = set()
    for one in past:
        operation = one.planned.get("operation")
        if one.planned.get("pair") != pair or operation not in ("failover", "rejoin", CLOSE):
            continue
        if operation == "rejoin" and one.outcome == "done":
            names.clear()
        else:
            names |= {*one.notes.get(NO_WAIT, [])}
    return names


@dataclass(frozen=True)
class KeepActive(Step[PairWorld]):
    """See that {balancers} and their files send clients to {new} only"""

    balancers: tuple[str, ...]
    new: str
    old: str
    no_undo: ClassVar[str] = "it is so already, unless somebody changed it"
    limit_s: ClassVar[float] = 15.0

    async def do(self, world: PairWorld) -> None:
        states = await world.each_balancer(self.balancers, lambda b: b.look())
        wrong = [n for n, s in states.items() if s.active != self.new]
        await world.each_balancer(wrong, lambda b: b.release(to=self.new))
        await world.each_balancer(self.balancers, lambda b: b.tidy(active=self.new))
        for name in self.balancers:
            if await file_active(world, name) != self.new:
                await write_file(world, name, self.new)
        world.figures["rejoined"] = f"{self.old} is the passive server of the pair again"

    async def verify(self, world: PairWorld) -> Seen:
        states = await world.each_balancer(self.balancers, lambda b: b.look())
        files = [await file_active(world, n) for n in self.balancers]
        right = all(a == self.new for a in [*(s.active for s in states.values()), *files])
        return Seen.DONE if right else Seen.NOT_DONE
