"""Before the command of a hold: locks, who is there, and the moment when nobody is."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.errors import OutsideError, SlackwaterError, StepFailed
from slackwater.operations.hold.world import HoldWorld
from slackwater.operations.pair_lock import LOCK, take_unmarked
from slackwater.operations.quiet_moment import PAUSE_S, Quiet, look_for_quiet, wait_for_quiet
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan.journal import Past
from slackwater.plan.step import Seen, Step
from slackwater.rules import settle

GRACE_S = 1.0  # for sessions to reach the end of their transaction, with --close-stragglers
WATCHING = "watching"


@dataclass(frozen=True)
class LockServers(Step[HoldWorld]):
    """Take slackwater's lock on {servers}, and open every session that is needed"""

    servers: tuple[str, ...]
    watch: bool  # for open transactions, which MySQL 5.7 does not show otherwise
    one_way: bool = False  # as of hold.Asked

    async def precheck(self, world: HoldWorld) -> list[str]:
        """Each server can be reached, and is one whose behaviour was measured."""
        await world.connect()
        reasons = [
            f"cannot reach {n}: {w}" for n, w in world.unreachable.items() if n in self.servers
        ]
        for name in self.servers:
            if name not in world.unreachable:
                session = await world.session(name)
                if old := session.flavour.unsupported_reason(one_way=self.one_way):
                    reasons.append(f"{name}: {old}")
        return reasons

    async def do(self, world: HoldWorld) -> None:
        for other in world.servers.keys() - set(self.servers):
            with contextlib.suppress(SlackwaterError):  # it may well be away
                await world.servers[other].renew()
        for name in self.servers:
            # What came before (packages are downloaded) may have taken longer than they live.
            await world.servers[name].renew()
            session = await world.session(name)
            if not await take_unmarked(world, name):
                raise StepFailed(f"another slackwater works here (its lock is on {name})")
            if self.watch and await mysql_server.watch_transactions(session):
                world.note(WATCHING, [*world.notes.get(WATCHING, []), name])

    async def verify(self, world: HoldWorld) -> Seen:
        for name in self.servers:
            session = await world.session(name)
            if await mysql_server.lock_owner(session, LOCK) != session.connection_id:
                return Seen.NOT_DONE
        return Seen.DONE

    async def undo(self, world: HoldWorld) -> None:
        for name in world.notes.get(WATCHING, []):
            await mysql_server.unwatch_transactions(await world.session(name))
        for name in self.servers:
            control = world.servers[name].control
            if control is not None and not control.broken:
                with contextlib.suppress(OutsideError):  # a lost session has given it back
                    await mysql_server.release_lock(control, LOCK)


@dataclass(frozen=True)
class WaitForCalm(Step[HoldWorld]):
    """Wait at most {limit_wait_s} s until nothing on {servers} is older than {older_than_s} s"""

    servers: tuple[str, ...]
    older_than_s: float
    limit_wait_s: float
    no_undo: ClassVar[str] = "it only waits; nobody is held yet"

    @property
    def limit_s(self) -> float:  # type: ignore[override]
        return self.limit_wait_s + 5.0

    async def do(self, world: HoldWorld) -> Seen:
        found = await asyncio.gather(*(self._calm(world, n) for n in self.servers))
        _judge(world, dict(zip(self.servers, found, strict=True)),
               f"older than {self.older_than_s:g} s, after {self.limit_wait_s:g} s of waiting")
        return Seen.DONE

    async def _calm(self, world: HoldWorld, name: str) -> Quiet:
        return await wait_for_quiet(
            await world.session(name), older_than_s=self.older_than_s, limit_s=self.limit_wait_s,
            clients_gone=False, exclude_ids=world.own_ids(name), appliers=True,
            exclude_user=world.servers[name].at.user,
        )

    async def verify(self, world: HoldWorld) -> Seen:
        for name in self.servers:
            if await look_for_quiet(
                await world.session(name), older_than_s=self.older_than_s, clients_gone=False,
                exclude_ids=world.own_ids(name), exclude_user=world.servers[name].at.user,
            ):
                return Seen.NOT_DONE
        return Seen.DONE


@dataclass(frozen=True)
class WaitForClients(Step[HoldWorld]):
    """Wait at most {limit_wait_s} s until the clients of {servers} are gone; then {then}"""

    servers: tuple[str, ...]
    ports: tuple[int, ...]
    limit_wait_s: float
    close_stragglers: bool
    no_undo: ClassVar[str] = "it only waits; a session it closed cannot be reopened"

    @property
    def then(self) -> str:
        """What happens at the limit."""
        return "close them between transactions" if self.close_stragglers else "give up"

    @property
    def limit_s(self) -> float:  # type: ignore[override]
        return self.limit_wait_s + GRACE_S + 5.0

    async def do(self, world: HoldWorld) -> Seen:
        begun = clock.mono()
        found = await asyncio.gather(*(self._gone(world, n) for n in self.servers))
        world.figures["quiet_ms"] = round((clock.mono() - begun) * 1000, 2)
        _judge(world, dict(zip(self.servers, found, strict=True)),
               f"still there after {self.limit_wait_s:g} s")
        return Seen.DONE

    async def _gone(self, world: HoldWorld, name: str) -> Quiet:
        quiet = await self._wait(world, name, min(self.limit_wait_s, world.left_s()))
        if quiet.reached or not self.close_stragglers:
            return quiet
        await _close_between(world, name)
        return await self._wait(world, name, 0.3)  # for the server to end what it was told to

    async def _wait(self, world: HoldWorld, name: str, limit_s: float) -> Quiet:
        session = await world.session(name)
        port = world.port(name)

        async def connected() -> int:
            served = await mysql_server.dump_ports(session)
            return len([p for p in await world.ask("peers", port=port) if p not in served])

        return await wait_for_quiet(
            session, older_than_s=0.0, limit_s=max(0.0, limit_s), clients_gone=True,
            exclude_ids=world.own_ids(name), exclude_user=world.servers[name].at.user,
            still=connected if port in self.ports else None,
        )

    async def verify(self, world: HoldWorld) -> Seen:
        for name in self.servers:
            if not (await self._wait(world, name, 0.1)).reached:
                return Seen.NOT_DONE
        return Seen.DONE


async def _close_between(world: HoldWorld, name: str) -> None:
    """Close sessions that rest outside of a transaction, until none is left or the grace ends."""
    session, begun = await world.session(name), clock.mono()
    ours, user = world.own_ids(name), world.servers[name].at.user
    closed: set[int] = set()
    while clock.mono() - begun < min(GRACE_S, world.left_s()):
        asked = clock.mono()
        found, transactions = await mysql_server.clients_and_transactions(session)
        theirs = [s for s in found if s.id not in ours and s.user != user]
        theirs = [s for s in theirs if s.command.lower() not in settle.GONE]
        if not theirs:
            break
        look_ms = (clock.mono() - asked) * 1000
        rest_ms = settle.rest_needed_ms((asked - begun) * 1000, look_ms)
        close = settle.decide(theirs, transactions, rest_ms, min(ours)).close
        if close:
            closed.update(await mysql_server.close_idle(
                session, close, max(rest_ms, look_ms), after_ping_ms=settle.YOUNG_REST_MS))
        await asyncio.sleep(PAUSE_S)
    world.figures["sessions_closed"] = world.figures.get("sessions_closed", 0) + len(closed)


def _judge(world: HoldWorld, found: dict[str, Quiet], what: str) -> None:
    """Give up, naming all who are left."""
    left = {name: quiet for name, quiet in found.items() if not quiet.reached}
    if left:
        world.figures["left_on"] = {n: [str(one) for one in q.left] for n, q in left.items()}
        raise StepFailed("; ".join(f"{n}: {what}: {q.who()}" for n, q in left.items()))


async def resume(world: HoldWorld, _past: Past) -> None:
    """Before recovering: the lock on every server that can be reached."""
    await world.connect()
    for name in world.scope.servers:
        try:
            session = await world.session(name)
        except OutsideError:
            continue  # it may well be down: that is what recovering has to say
        await mysql_server.take_lock(session, LOCK)
