"""Begin and end replication from one server to another, and say at once what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.config import host_port
from slackwater.errors import OutsideError, StepFailed
from slackwater.facts.replication import ReplicaStatus, has_one_source
from slackwater.operations.setup.accounts import make_replication_account
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside import reach, secrets
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.plan.step import Seen, Step
from slackwater.plan.wait import wait_until
from slackwater.rules.setup.replica_errors import explain

RUNNING_LIMIT_S = 20.0
REACH_LIMIT_S = 2.0


def waits(world: SetupWorld, replica: str) -> bool:
    """Whether what this replica receives is not applied yet: nobody has started its SQL thread."""
    return bool(world.notes.get(f"waits {replica}"))


class Denied(StepFailed):
    """The source does not let the replica's account in."""


@dataclass(frozen=True)
class Detach(Step[SetupWorld]):
    """End what replication of {target} there is{both}"""

    target: str
    source: str  # replicates from it, perhaps; "": nobody does
    limit_s: ClassVar[float] = 90.0
    no_undo: ClassVar[str] = "it replicates no more, and stays read-only, until the next run"
    stays: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"Detach.{self.target}"

    @property
    def both(self) -> str:
        """For people."""
        return f", and of {self.source} from it" if self.source else ""

    async def do(self, world: SetupWorld) -> None:
        world.note(f"emptied {self.target}", True)
        for name in filter(None, (self.target, self.source)):
            session = await world.session(name)
            if await mysql_server.replica_status(session):
                await mysql_server.stop_replica(session)
                await mysql_server.reset_replica(session)

    async def verify(self, world: SetupWorld) -> Seen:
        for name in filter(None, (self.target, self.source)):
            if await mysql_server.replica_status(await world.session(name)):
                return Seen.NOT_DONE
        return Seen.DONE


@dataclass(frozen=True)
class Follow(Step[SetupWorld]):
    """Have {replica} replicate from {source} by GTID{over}"""

    replica: str
    source: str
    tls: bool
    ring: bool = False  # the source replicates from this one
    waits: bool = False  # what is received is not applied yet: that is for CatchUp, which is next
    unsure: str = ""  # why its data may be another's than the source's
    limit_s: ClassVar[float] = 60.0
    undo_limit_s: ClassVar[float] = 40.0

    @property
    def name(self) -> str:
        return f"Follow.{self.replica}"

    @property
    def over(self) -> str:
        """For people."""
        return ", over TLS" if self.tls else ""

    async def precheck(self, world: SetupWorld) -> list[str]:
        """The source's port can be reached, from the replica's machine where it can be asked."""
        host, port = host_port(world.config.servers[self.source].address)
        table = world.config.servers[self.replica]
        there = world.hosts[self.replica] if table.ssh else None
        why = await reach.why_not(there, host, port, limit_s=REACH_LIMIT_S)
        if not why:
            return []
        where = table.ssh or "this machine"
        return [f"{self.replica} has to reach {self.source} at {host}:{port}, and from {where} it "
                f"cannot be reached: {why}; look at the firewalls between them and at "
                f"{self.source}'s bind_address"]

    async def do(self, world: SetupWorld) -> None:
        account = world.config.accounts.replication
        if account is None:
            raise StepFailed("there is no [accounts.replication] in the file")
        session = await world.session(self.replica)
        await mysql_server.stop_replica(session)
        host, port = host_port(world.config.servers[self.source].address)
        await self._position(world)
        # Before it is: who is cut off in between does not get the server's answer.
        world.note(f"followed {self.replica}", self.source)
        await mysql_setup.follow(session, host, port, account.user,
                                 secrets.read_password(file=account.password_file), tls=self.tls)
        if self.unsure:
            world.figures.setdefault("unsure", {})[self.replica] = self.unsure
        await self._start(world)
        try:
            await self._running(world)
        except Denied:
            # A password that was changed elsewhere, and has come here by replication since.
            await make_replication_account(world, self.source)
            await mysql_server.stop_replica(session)
            await self._start(world)
            await self._running(world)

    async def _start(self, world: SetupWorld) -> None:
        session = await world.session(self.replica)
        if self.waits and has_one_source(await mysql_server.replica_status(session)):
            world.note(f"waits {self.replica}", True)
            await mysql_server.start_receiving(session)
        else:
            await mysql_server.start_replica(session)

    def _works(self, world: SetupWorld, channel: ReplicaStatus) -> bool:
        return channel.io_running if waits(world, self.replica) else channel.running

    async def _position(self, world: SetupWorld) -> None:
        """In a ring, what the other has came from this server: it need not be asked for.

        Only MariaDB has to be told: MySQL says what it has. Without it the other's binary log
        would have to reach back to the beginning, and a copy's does not.
        """
        session = await world.session(self.replica)
        if not self.ring or not session.flavour.mariadb:
            return
        other = await mysql_server.executed_text(await world.session(self.source))
        await mysql_setup.begin_behind(session, other)

    async def _running(self, world: SetupWorld) -> None:
        session = await world.session(self.replica)
        begun = clock.mono()

        async def fine() -> bool:
            channels = await mysql_server.replica_status(session)
            errors = [e for c in channels for e in c.errors]
            if errors:
                kind = Denied if "Access denied" in errors[0] else StepFailed
                raise kind(explain(self.replica, self.source, errors[0]))
            if clock.mono() - begun > RUNNING_LIMIT_S:
                raise StepFailed(f"{self.replica} does not begin to replicate from {self.source}: "
                                 + (channels[0].io_state if channels else "it is no replica"))
            return bool(channels) and all(self._works(world, c) for c in channels)

        await wait_until(fine, bool, what=f"{self.replica} replicating from {self.source}",
                         limit_s=RUNNING_LIMIT_S + 5, every_s=0.05)

    async def verify(self, world: SetupWorld) -> Seen:
        session = await world.session(self.replica)
        channels = await mysql_server.replica_status(session)
        right = self._to_source(world, channels)
        works = all(self._works(world, c) for c in channels)
        return Seen.DONE if right and works else Seen.NOT_DONE

    async def undo(self, world: SetupWorld) -> None:
        """Only what this operation began."""
        if f"followed {self.replica}" not in world.notes:
            return
        session = await world.session(self.replica)
        try:
            await mysql_server.stop_replica(session)
        except OutsideError:
            session = await world.session(self.replica)
        if self._to_source(world, await mysql_server.replica_status(session)):
            await mysql_server.reset_replica(session)

    def _to_source(
        self, world: SetupWorld, channels: tuple[ReplicaStatus, ...]
    ) -> list[ReplicaStatus]:
        host, port = host_port(world.config.servers[self.source].address)
        return [c for c in channels if (c.source_host, c.source_port) == (host, port)]
