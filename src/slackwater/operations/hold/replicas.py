"""Replicas before and after a restart: let go of the server, and follow it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.errors import StepFailed
from slackwater.operations.hold.health import BEFORE
from slackwater.operations.hold.world import HoldWorld
from slackwater.operations.keep_alive import caught_up
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan.step import Seen, Step
from slackwater.plan.wait import wait_until

NUDGE_AFTER_S = 3.0  # then a replica that lost its source is told to connect at once
LET_GO = "let go"  # noted: servers whose replication we stopped


@dataclass(frozen=True)
class LetReplicasGo(Step[HoldWorld]):
    """Where it delays the stop by 12 s: keep {others} from reading the binary log of {servers}"""

    servers: tuple[str, ...]
    others: tuple[str, ...]

    async def do(self, world: HoldWorld) -> Seen:
        for name in self.servers:
            session = await world.session(name)
            if not mysql_server.stops_late_with_replicas(session):
                continue
            source_id = await mysql_server.server_id(session)
            for other in self.others:
                if other in world.notes[BEFORE]:
                    await self._stop(world, other, source_id)
            await mysql_server.kill_dump_threads(session)
        return Seen.DONE

    async def _stop(self, world: HoldWorld, other: str, source_id: int) -> None:
        session = await world.session(other)
        channels = await mysql_server.replica_status(session)
        if any(c.source_server_id == source_id and c.running for c in channels):
            world.note(LET_GO, [*world.notes.get(LET_GO, []), other])
            await mysql_server.stop_replica(session, limit_s=4.0)

    async def verify(self, world: HoldWorld) -> Seen:
        return Seen.DONE if BEFORE in world.notes else Seen.NOT_DONE

    async def undo(self, world: HoldWorld) -> None:
        for other in world.notes.get(LET_GO, []):
            await mysql_server.start_replica(await world.session(other))


@dataclass(frozen=True)
class FollowAgain(Step[HoldWorld]):
    """Make sure that {others} and {servers} follow each other as before, and have caught up"""

    servers: tuple[str, ...]
    others: tuple[str, ...]
    limit_follow_s: float
    forward_tries: ClassVar[int] = 1
    no_undo: ClassVar[str] = "replication goes on as before"

    @property
    def limit_s(self) -> float:  # type: ignore[override]
        return 2 * self.limit_follow_s + 10.0

    async def do(self, world: HoldWorld) -> None:
        for other in self.others:
            if other in world.notes[BEFORE]:
                await world.servers[other].renew()  # they may have idled out meanwhile
        for other in world.notes.get(LET_GO, []):
            await mysql_server.start_replica(await world.session(other))
        for name in (*self.servers, *self.others):
            if name in world.notes[BEFORE]:
                await self._follow(world, name)
        for other in self.others:
            if other in world.notes[BEFORE] and not world.notes[BEFORE][other]["read_only"]:
                await self._catch_up(world, other)

    async def _follow(self, world: HoldWorld, name: str) -> None:
        session = await world.session(name)
        begun, nudged = clock.mono(), False

        async def stopped() -> list[str]:
            nonlocal nudged
            found = await _stopped(world, name)
            if found and not nudged and clock.mono() - begun > NUDGE_AFTER_S:
                # Its source was away; by itself it tries again after up to a minute.
                nudged = True
                await mysql_server.stop_replica(session)
                await mysql_server.start_replica(session)
            return found

        await wait_until(stopped, lambda found: not found, what=f"{name} replicates again",
                         limit_s=self.limit_follow_s, every_s=0.1)

    async def _catch_up(self, world: HoldWorld, source: str) -> None:
        wanted = await mysql_server.executed_text(await world.session(source))
        for name in self.servers:
            if not await caught_up(world, name, wanted, limit_s=self.limit_follow_s):
                raise StepFailed(f"{name} has not caught up with {source} within "
                                 f"{self.limit_follow_s:g} s")

    async def verify(self, world: HoldWorld) -> Seen:
        for name in (*self.servers, *self.others):
            if name in world.notes[BEFORE] and await _stopped(world, name):
                return Seen.NOT_DONE
        return Seen.DONE


async def _stopped(world: HoldWorld, name: str) -> list[str]:
    """Channels that ran before and do not run now."""
    wanted = world.notes[BEFORE][name]["replicating"]
    now = {c.channel: c for c in await mysql_server.replica_status(await world.session(name))}
    return [f"channel {c!r}" for c in wanted if c not in now or not now[c].running]
