"""What follows the promotion: prove it, keep the old one out, and say what may be missing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from slackwater.config import host_port
from slackwater.errors import OutsideError, StepFailed
from slackwater.facts import errant
from slackwater.facts.failover import PARKED_PORT
from slackwater.facts.server import ServerFacts
from slackwater.operations import canary
from slackwater.operations.failover import missing
from slackwater.operations.failover.fence_old import FENCED, fenced_now
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.reloads import RELOAD_LIMIT_S, outlast_reloads, send_to
from slackwater.operations.switchover.after import ARRIVAL_LIMIT_S, FORWARD
from slackwater.operations.through import through
from slackwater.outside import process
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan.step import Seen, Step

LATE_LOOK_S = 0.6


@dataclass(frozen=True)
class ProveClients(Step[PairWorld]):
    """Write a row through {balancers}: {new} answers there"""

    balancers: tuple[str, ...]
    new: str
    old: str
    no_undo: ClassVar[str] = "one row in our own table"
    limit_s: ClassVar[float] = 8.0 + RELOAD_LIMIT_S

    async def do(self, world: PairWorld) -> None:
        world.figures.setdefault("traffic_ms", round(process.age_s() * 1000))
        session = await world.session(self.new)
        if not await canary.exists(session):
            await canary.create(session)
        # Those that NameNew did not outlast; `old` may hang.
        await outlast_reloads(
            world, self.balancers, lambda b: send_to(b, self.new, self.old, wait=False))
        expected = await mysql_server.server_id(session)
        await asyncio.gather(*(self._travel(world, b, expected) for b in self.balancers))

    async def _travel(self, world: PairWorld, balancer: str, expected: int) -> None:
        async with through(world, balancer) as client:
            answers = await mysql_server.server_id(client)
            if answers != expected:
                raise StepFailed(f"behind {balancer} answers server id {answers}, not {self.new}")
            road = canary.road(balancer)
            world.notes[canary.key(road)] = await canary.send(client, road)

    async def verify(self, world: PairWorld) -> Seen:
        session = await world.session(self.new)
        for road in map(canary.road, self.balancers):
            number = world.notes.get(canary.key(road))
            if number is None or not await canary.arrived(session, road, number):
                return Seen.NOT_DONE
        return Seen.DONE


@dataclass(frozen=True)
class ParkSource(Step[PairWorld]):
    """Have {new} look for {old} nowhere, so that a restart does not bring changes of it"""

    new: str
    old: str
    no_undo: ClassVar[str] = FORWARD

    async def do(self, world: PairWorld) -> None:
        session = await world.session(self.new)
        channels = await mysql_server.replica_status(session)
        if not channels or channels[0].source_port == PARKED_PORT:
            return
        await mysql_server.stop_replica(session)
        # Its account and password stay, for `pair rejoin`.
        await mysql_server.point_source(session, channels[0].source_host, PARKED_PORT)

    async def verify(self, world: PairWorld) -> Seen:
        channels = await mysql_server.replica_status(await world.session(self.new))
        parked = all(c.source_port == PARKED_PORT and not c.io_running for c in channels)
        return Seen.DONE if parked else Seen.NOT_DONE


@dataclass(frozen=True)
class MoveReplicas(Step[PairWorld]):
    """Have the replicas {replicas} follow {new}"""

    replicas: tuple[str, ...]
    new: str
    no_undo: ClassVar[str] = FORWARD
    limit_s: ClassVar[float] = ARRIVAL_LIMIT_S + 10

    async def do(self, world: PairWorld) -> None:
        if not self.replicas:
            return
        new = await world.session(self.new)
        number = await canary.send(new, "follow")
        world.notes[canary.key("follow")] = number

        async def seen(name: str) -> ServerFacts:
            return await mysql_server.look(await world.session(name), name)

        all_of = await asyncio.gather(*map(seen, self.replicas), return_exceptions=True)
        facts = await seen(self.new)  # asked last: they receive what it is writing

        async def one(name: str, its: ServerFacts | BaseException) -> None:
            if isinstance(its, BaseException):
                raise its
            session = await world.session(name)
            if ahead := errant.extra(its.variables, facts.variables, its.flavour):
                raise StepFailed(
                    f"replica {name} has received transactions that {self.new} never had: "
                    f"{ahead.text}", hint=f"look at them in its binary log; then copy {name} anew")
            host, port = host_port(world.config.servers[self.new].address)
            if [(c.source_host, c.source_port) for c in its.replication] != [(host, port)]:
                await mysql_server.stop_replica(session)
                await mysql_server.point_source(session, host, port)
            await mysql_server.start_replica(session)
            await canary.expect(session, "follow", number, at=name, limit_s=ARRIVAL_LIMIT_S)

        results = await asyncio.gather(*map(one, self.replicas, all_of), return_exceptions=True)
        if failed := [str(r) for r in results if isinstance(r, BaseException)]:
            raise StepFailed("; ".join(failed))

    async def verify(self, world: PairWorld) -> Seen:
        number = world.notes.get(canary.key("follow"))
        for name in self.replicas:
            session = await world.session(name)
            if number is None or not await canary.arrived(session, "follow", number):
                return Seen.NOT_DONE
        return Seen.DONE


@dataclass(frozen=True)
class FenceLate(Step[PairWorld]):
    """Look once more at {old}: make it read-only if it has come back, and end what is left of it"""

    old: str
    balancers: tuple[str, ...]
    no_undo: ClassVar[str] = FORWARD
    limit_s: ClassVar[float] = 12.0

    async def do(self, world: PairWorld) -> Seen:
        await world.each_balancer(self.balancers, lambda b: b.close_sessions(self.old, wait=False))
        try:
            closed = await fenced_now(world, self.old, limit_s=LATE_LOOK_S)
        except OutsideError as error:
            closed, world.figures["old_answers"] = None, str(error)
        how = world.notes.get(FENCED, "")
        world.figures[FENCED] = (
            "it is read-only, and its clients' sessions are closed" if closed else how)
        if not closed:
            world.figures["next"] = (
                f"when {self.old} comes back, `slackwater pair rejoin` makes it read-only first of "
                "all; until then see that nobody connects to it past the balancers (it has not "
                "been made read-only)"
            )
        return Seen.DONE

    async def verify(self, world: PairWorld) -> Seen:
        return Seen.DONE if FENCED in world.figures else Seen.NOT_DONE


@dataclass(frozen=True)
class TellMissing(Step[PairWorld]):
    """Find out what {old} had committed and {new} never received"""

    old: str
    new: str
    no_undo: ClassVar[str] = "it only reads, and saves what it found"
    limit_s: ClassVar[float] = 300.0
    forward_tries: ClassVar[int] = 1

    async def do(self, world: PairWorld) -> Seen:
        world.figures["missing"] = await missing.tell(world, self.old, self.new)
        world.note("missing", world.figures["missing"])
        return Seen.DONE

    async def verify(self, world: PairWorld) -> Seen:
        if told := world.notes.get("missing"):
            world.figures["missing"] = told
            return Seen.DONE
        return Seen.NOT_DONE
