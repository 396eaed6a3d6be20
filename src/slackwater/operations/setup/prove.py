"""The proof: a canary from the source to every replica, and one from a pair's passive back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from slackwater.facts import gtid
from slackwater.operations import canary
from slackwater.operations.servers_world import admin_address
from slackwater.operations.setup.catch_up import CATCH_UP_S, until_there
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.outside.mysql.session import Session
from slackwater.plan.step import Seen, Step
from slackwater.rules.setup.data import written_since

SENT_BACK = "sent back"  # in a world's notes


@dataclass(frozen=True)
class ProveReplication(Step[SetupWorld]):
    """Prove it: what is written on {source} arrives on {targets}{ring}"""

    source: str
    targets: tuple[str, ...]
    back: str
    limit_s: ClassVar[float] = CATCH_UP_S + 60
    undo_limit_s: ClassVar[float] = 60.0

    @property
    def ring(self) -> str:
        """For people."""
        return f", and back from {self.back}" if self.back else ""

    async def do(self, world: SetupWorld) -> Seen:
        source = await world.session(self.source)
        await canary.create(source)
        road = f"setup of {self.source}"[:64]
        number = await canary.send(source, road)
        for name in self.targets:
            await _arrives(world, name, self.source, road, number)
        if self.back:
            session, road, number = await world.session(self.back), self._road, canary.new_number()
            world.note(SENT_BACK, {"number": number,
                                   "before": await mysql_server.executed_text(session)})
            await send_back(session, road, number)
            await _arrives(world, self.source, self.back, road, number)
        world.figures["proved"] = [f"{self.source} to {t}" for t in self.targets] + (
            [f"{self.back} to {self.source}"] if self.back else [])
        return Seen.DONE

    async def verify(self, world: SetupWorld) -> Seen:
        return Seen.DONE if "proved" in world.figures else Seen.NOT_DONE

    async def undo(self, world: SetupWorld) -> None:
        """A row of the passive's that has not arrived is brought to the source under its own GTID.

        Else the passive would have a transaction that nobody else has, and could be ahead for all
        that the next run can tell.
        """
        if (sent := world.notes.get(SENT_BACK)) is None:
            return
        source, passive = await world.session(self.source), await world.session(self.back)
        if not await canary.exists(passive) or not await canary.arrived(
                passive, self._road, sent["number"]):
            return  # it was not written, or is no longer what was written last
        executed = await mysql_server.executed_text(passive)
        one = written_since(
            gtid.parse(sent["before"], passive.flavour), gtid.parse(executed, passive.flavour),
            *await mysql_setup.identity(passive))
        if not one or await mysql_server.has_executed(source, one):
            return
        channels = await mysql_server.replica_status(source)
        if f"followed {self.source}" not in world.notes and channels and all(
                c.running for c in channels):
            return  # it replicates as it did before, and will have it
        await mysql_server.stop_replica(source)
        if await mysql_server.has_executed(source, one):
            return
        async with await Session.open(admin_address(world.config, self.source)) as writer:
            await mysql_setup.write_as(writer, one)
            await canary.send(writer, self._road, sent["number"])
        if source.flavour.mariadb:
            await mysql_setup.begin_behind(source, executed)

    @property
    def _road(self) -> str:
        return f"setup of {self.back}"[:64]


async def send_back(session: Session, road: str, number: int) -> Any:
    """Write a canary on the read-only passive.

    MySQL: super_read_only is off for that moment, read_only is not. MariaDB: in a GTID domain of
    its own, the passive's server id, since in the active's one the writes of both would collide.
    """
    return await mysql_setup.as_passive(session, lambda: canary.send(session, road, number))


async def _arrives(
    world: SetupWorld, name: str, source: str, road: str, number: int
) -> None:
    session = await world.session(name)

    async def there() -> bool:
        return await canary.exists(session) and await canary.arrived(session, road, number)

    await until_there(world, name, source, there, every_s=0.02)
