"""What follows the commit point: close what is left, replicate back, persist, prove."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import ClassVar

from slackwater.errors import SlackwaterError, StepFailed
from slackwater.facts.server import ClientSession
from slackwater.operations import canary
from slackwater.operations.balancer_file import file_active, install_checked
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.reloads import RELOAD_LIMIT_S, outlast_reloads, send_to
from slackwater.operations.switchover.before import stop_watching
from slackwater.operations.switchover.pause_applier import PAUSED
from slackwater.operations.through import through
from slackwater.outside.haproxy.haproxy import HAProxy
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.close_resting import NOT_OURS
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.plan.step import Seen, Step
from slackwater.plan.wait import wait_until

FORWARD = "after the commit point there is only forward"
ARRIVAL_LIMIT_S = 10.0
MADE = "connections made"  # to the old server, when that was so; of this process alone
CLOSED = "leftovers closed"  # remembered once every session on the old server was closed


@dataclass(frozen=True)
class CloseLeftovers(Step[PairWorld]):
    """Free the lock on {old} and close whatever still holds on to it"""

    old: str
    new: str
    balancers: tuple[str, ...]
    no_undo: ClassVar[str] = FORWARD

    async def do(self, world: PairWorld) -> None:
        server = world.servers[self.old]
        lock, server.lock = server.lock, None
        if lock is not None:
            await lock.close()
        # Side by side: a balancer that is gone keeps nobody on the server, nor a server that hangs
        # anybody on a balancer; and whom the server closes ends there by himself.
        ends = await asyncio.gather(
            self._on_balancers(world), self._on_server(world), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        await stop_watching(world, self.old)
        world.remember(CLOSED, self.old)
        world.notes[MADE] = await mysql_server.connections_made(await server.session())

    async def _on_balancers(self, world: PairWorld) -> None:
        async def close(balancer: HAProxy) -> None:
            await send_to(balancer, self.new, self.old)
            await balancer.close_sessions(self.old)

        await world.each_balancer(self.balancers, close)
        await world.each_balancer(self.balancers, lambda b: b.tidy(active=self.new))

    async def _on_server(self, world: PairWorld) -> None:
        session = await world.servers[self.old].session()
        told = {
            s.id for s in await leftovers(world, self.old, session) if await ended(session, s)
        }
        # Only those: others may come past the balancers at any time; they find it read-only.
        await wait_until(
            lambda: leftovers(world, self.old, session),
            lambda found: told.isdisjoint(s.id for s in found),
            what=f"client sessions ending on {self.old}", limit_s=2, every_s=0.01,
        )

    async def verify(self, world: PairWorld) -> Seen:
        # That nobody may write there says nothing of who is still there. Who came past the
        # balancers was closed if `do` came to its end; who came by one, it can tell now.
        if world.notes.get(CLOSED) != self.old:
            return Seen.NOT_DONE
        states = await world.each_balancer(self.balancers, lambda b: b.look())
        left = sum(s.sessions_at(self.old) for s in states.values())
        return Seen.NOT_DONE if left else Seen.DONE


@dataclass(frozen=True)
class FollowNew(Step[PairWorld]):
    """Make sure that {old} and the replicas follow {new}: a row written there arrives"""

    old: str
    new: str
    replicas: tuple[str, ...]
    no_undo: ClassVar[str] = FORWARD
    limit_s: ClassVar[float] = ARRIVAL_LIMIT_S + 3

    async def do(self, world: PairWorld) -> None:
        await self._start(world, await world.session(self.old))
        number = await canary.send(await world.session(self.new), "follow")
        world.notes[canary.key("follow")] = number

        async def follows(name: str) -> None:
            session = await world.session(name)
            await canary.expect(session, "follow", number, at=name, limit_s=ARRIVAL_LIMIT_S)

        await asyncio.gather(*(follows(n) for n in (self.old, *self.replicas)))

    async def _start(self, world: PairWorld, old: Session) -> None:
        before = await mysql_server.connections_made(old)
        await mysql_server.start_replica(old)
        if PAUSED in world.notes and MADE in world.notes:
            # MariaDB counts the applier's threads as connections; all are there when it answers.
            world.notes[MADE] += await mysql_server.connections_made(old) - before

    async def verify(self, world: PairWorld) -> Seen:
        status = await mysql_server.replica_status(await world.session(self.old))
        running = bool(status) and all(s.io_running and s.sql_running for s in status)
        arrived = [await _arrived(world, n, "follow") for n in (self.old, *self.replicas)]
        return Seen.DONE if running and all(arrived) else Seen.NOT_DONE


@dataclass(frozen=True)
class Persist(Step[PairWorld]):
    """Write {new} as the active server into the configuration files of {balancers}"""

    balancers: tuple[str, ...]
    new: str
    old: str
    no_undo: ClassVar[str] = FORWARD
    limit_s: ClassVar[float] = 15.0

    async def do(self, world: PairWorld) -> None:
        # Checked before clients were held: a reload from here on finds the right one.
        await asyncio.gather(*(install_checked(world, b, self.new) for b in self.balancers))
        await world.each_balancer(self.balancers, lambda b: send_to(b, self.new, self.old))

    async def verify(self, world: PairWorld) -> Seen:
        active = [await file_active(world, b) for b in self.balancers]
        return Seen.DONE if all(a == self.new for a in active) else Seen.NOT_DONE


@dataclass(frozen=True)
class ProveIt(Step[PairWorld]):
    """Send a row through {balancers} to {new}, and see it come back to {old} by replication"""

    balancers: tuple[str, ...]
    new: str
    old: str
    no_undo: ClassVar[str] = "one row in our own table"
    limit_s: ClassVar[float] = ARRIVAL_LIMIT_S + RELOAD_LIMIT_S + 5

    async def do(self, world: PairWorld) -> None:
        await outlast_reloads(world, self.balancers, lambda b: send_to(b, self.new, self.old))
        # Asked once: a session is for one task at a time.
        expected = await mysql_server.server_id(await world.session(self.new))
        await asyncio.gather(*(self._travel(world, b, expected) for b in self.balancers))
        with contextlib.suppress(SlackwaterError):  # a word for the report, and no proof
            await _who_arrived(world, self.old, own=len(self.balancers))

    async def _travel(self, world: PairWorld, balancer: str, expected: int) -> None:
        road = canary.road(balancer)
        async with through(world, balancer) as client:
            answers = await mysql_server.server_id(client)
            if answers != expected:
                raise StepFailed(f"behind {balancer} answers server id {answers}, not {self.new}")
            number = await canary.send(client, road)
        world.notes[canary.key(road)] = number
        back = await world.servers[self.old].fresh()
        try:
            await canary.expect(back, road, number, at=self.old, limit_s=ARRIVAL_LIMIT_S)
        finally:
            await back.close()

    async def verify(self, world: PairWorld) -> Seen:
        states = await world.each_balancer(self.balancers, lambda b: b.look())
        # Only a row that travelled is a proof; who sent none, or does not see it, has none.
        proven = [await _arrived(world, self.old, canary.road(b)) for b in self.balancers]
        proven += [s.active == self.new for s in states.values()]
        return Seen.DONE if all(proven) and await world.writable(self.new) else Seen.NOT_DONE


async def _who_arrived(world: PairWorld, old: str, own: int) -> None:
    """Into the figures: who has come to the old server since everybody there was closed, but for
    as many of our own. No balancer leads there, so they came past them; that their writes fail,
    nobody else tells. Looked at as late as can be: one who comes now and then is missed before."""
    session = await world.session(old)
    who = [s.who() for s in await leftovers(world, old, session)]
    made = await mysql_server.connections_made(session)
    count = max(len(who), made - own - world.notes.get(MADE, made - own))
    if count:
        world.figures["past_the_balancers"] = {"server": old, "connections": count, "sessions": who}


async def _arrived(world: PairWorld, server: str, road: str) -> bool:
    """Whether the canary that this process sent on that road is on that server."""
    number = world.notes.get(canary.key(road))
    if number is None:
        return False
    return await canary.arrived(await world.session(server), road, number)


async def ended(session: Session, found: ClientSession) -> bool:
    """Tell the server to end a session; False when it has ended, or is not ours to end."""
    try:
        return await mysql_server.kill(session, found.id)
    except MysqlError as error:
        if error.code != NOT_OURS:
            raise
        return False  # MySQL 8+: an account with SYSTEM_USER; it is on a read-only server


async def leftovers(world: PairWorld, old: str, session: Session) -> list[ClientSession]:
    """The clients' sessions on a server: those that are not of slackwater's account."""
    found = await mysql_server.client_sessions(session, world.own_ids(old))
    return [s for s in found if s.user != world.servers[old].at.user]
