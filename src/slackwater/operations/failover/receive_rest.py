"""Before a promotion: nothing more comes from the old server, and what came is applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.errors import OutsideError, StepFailed
from slackwater.facts.failover import stands_still
from slackwater.operations.failover import missing
from slackwater.operations.failover.fence_old import answering, stop_waiting, wait_again
from slackwater.operations.failover.missing import RECEIVED
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.reopen import surely_read_only
from slackwater.outside.mysql import alter as mysql_alter
from slackwater.outside.mysql import semi_sync
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import Session
from slackwater.plan.step import Seen, Step

REST_LIMIT_S = 5.0  # for what a fenced old server still has to send
LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class StopReceiving(Step[PairWorld]):
    """Have {new} take the rest from {old} if that is fenced, then nothing more"""

    new: str
    old: str
    limit_s: ClassVar[float] = REST_LIMIT_S + 6
    undo_limit_s: ClassVar[float] = 8.0  # a thread that was killed tells its source for a second

    async def do(self, world: PairWorld) -> None:
        session = await world.session(self.new)
        # Its own replica is the old server, and a hung one still counts as connected: with
        # semi-sync even what it applies would wait for that one's word, for ever.
        await stop_waiting(world, self.new, session)
        if any(map(stands_still, await mysql_server.replica_status(session))):
            world.tell({"event": "told", "at": clock.unix(), "text": (
                f"{self.new}: its applier stood still for a schema change that was cut off, and is "
                "started")})
            await mysql_alter.start_applier(session)
        world.figures["complete"] = await self._took_all(world)
        await missing.note_semi_sync(world, self.new)
        await semi_sync.cut_receiving(session)
        channels = await mysql_server.replica_status(session)
        if not channels:
            raise StepFailed(f"{self.new} no longer replicates from anybody")
        channel = channels[0]
        world.note(RECEIVED, {
            "gtids": channel.retrieved_gtids, "file": channel.source_file,
            "position": channel.read_position, "source_id": channel.source_server_id,
            "source_uuid": channel.source_uuid, "complete": world.figures["complete"],
        })

    async def _took_all(self, world: PairWorld) -> bool:
        """True when the old server is closed and everything of it is here."""
        old = answering(world, self.old)
        if old is None:
            return False
        try:
            if await mysql_server.is_writable(old, limit_s=1):
                return False
            has = await mysql_server.executed_text(old, limit_s=1)
        except OutsideError:
            return False
        session = await world.session(self.new)
        return await mysql_server.wait_executed(session, has, limit_s=REST_LIMIT_S)

    async def verify(self, world: PairWorld) -> Seen:
        stopped = RECEIVED in world.notes and await _receives_nothing(
            await world.session(self.new))
        return Seen.DONE if stopped else Seen.NOT_DONE

    async def undo(self, world: PairWorld) -> None:
        await surely_read_only(world, self.new)
        session = await world.session(self.new)
        await mysql_server.stop_receiving(session)  # one that was killed is waited for
        await mysql_server.start_replica(session)
        await wait_again(world, self.new)


async def _receives_nothing(session: Session) -> bool:
    if session.flavour.mariadb:
        return not await semi_sync.receives(session)
    return all(c.io_state == "No" for c in await mysql_server.replica_status(session))


@dataclass(frozen=True)
class ApplyReceived(Step[PairWorld]):
    """Wait until {new} has applied what it received, at most {apply_s} s"""

    new: str
    apply_s: float
    no_undo: ClassVar[str] = "it only waits, and then stops threads that StopReceiving starts again"

    @property
    def limit_s(self) -> float:  # type: ignore[override]
        return self.apply_s + 8.0

    async def do(self, world: PairWorld) -> Seen:
        session = await world.session(self.new)
        received = world.notes[RECEIVED]["gtids"]
        until, was = clock.mono() + self.apply_s, ""
        while not await mysql_server.wait_executed(
            session, received, limit_s=max(0.01, min(LOOK_EVERY_S, until - clock.mono()))
        ):
            channel = (await mysql_server.replica_status(session))[0]
            if not channel.sql_running:
                raise StepFailed(f"{self.new} does not apply what it received: "
                                 f"{channel.sql_error or 'its SQL thread was stopped'}")
            now = await mysql_server.executed_text(session)
            if now == was and await mysql_server.appliers_idle(session):
                break  # what is left is the torn beginning of a transaction
            was = now
            if clock.mono() >= until:
                raise StepFailed(
                    f"{self.new} has not applied what it received within {self.apply_s:g} s",
                    hint="wait and begin again, or give it longer with --apply-limit",
                )
            world.tell({"event": "told", "at": clock.unix(), "text": (
                f"{self.new} applies what it received: {received}; now at {now}")})
        applied = (await mysql_server.replica_status(session))[0]
        world.note("applied at", [applied.applied_file, applied.applied_position])
        await semi_sync.stop_applying(session)
        return Seen.DONE  # the server said so

    async def verify(self, world: PairWorld) -> Seen:
        session = await world.session(self.new)
        channels = await mysql_server.replica_status(session)
        stopped = await _receives_nothing(session) and not any(c.sql_running for c in channels)
        return Seen.DONE if stopped and "applied at" in world.notes else Seen.NOT_DONE
