"""The proof: a canary from the source to every replica, and one from a pair's passive back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.errors import StepFailed
from slackwater.operations import canary
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.outside.mysql.session import Session
from slackwater.plan.step import Seen, Step
from slackwater.plan.wait import wait_until
from slackwater.rules.setup.replica_errors import explain

CATCH_UP_S = 6 * 3600.0  # a long copy leaves much to catch up with
STILL_S = 120.0  # without any progress, it is not a matter of patience


@dataclass(frozen=True)
class ProveReplication(Step[SetupWorld]):
    """Prove it: what is written on {source} arrives on {targets}{ring}"""

    source: str
    targets: tuple[str, ...]
    back: str
    limit_s: ClassVar[float] = CATCH_UP_S + 60
    no_undo: ClassVar[str] = "it only proves"

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
            road = f"setup of {self.back}"[:64]
            number = await send_back(await world.session(self.back), road)
            await _arrives(world, self.source, self.back, road, number)
        world.figures["proved"] = [f"{self.source} to {t}" for t in self.targets] + (
            [f"{self.back} to {self.source}"] if self.back else [])
        return Seen.DONE

    async def verify(self, world: SetupWorld) -> Seen:
        return Seen.DONE if "proved" in world.figures else Seen.NOT_DONE


async def send_back(session: Session, road: str) -> int:
    """Write a canary on the read-only passive; returns its number.

    MySQL: super_read_only is off for that moment, read_only is not. MariaDB: in a GTID domain of
    its own, the passive's server id, since in the active's one the writes of both would collide.
    """
    return await mysql_setup.as_passive(session, lambda: canary.send(session, road))


async def _arrives(
    world: SetupWorld, name: str, source: str, road: str, number: int
) -> None:
    session = await world.session(name)
    last: tuple[float, str] = (clock.mono(), "")

    async def there() -> bool:
        nonlocal last
        if await canary.exists(session) and await canary.arrived(session, road, number):
            return True
        for channel in await mysql_server.replica_status(session):
            if channel.errors:
                raise StepFailed(explain(name, source, channel.errors[0]))
        has = await mysql_server.executed_text(session)
        if has != last[1]:
            last = (clock.mono(), has)
        if clock.mono() - last[0] > STILL_S:
            raise StepFailed(f"what was written on {source} does not arrive on {name}: nothing was "
                             f"applied there for {STILL_S:g} s")
        return False

    await wait_until(there, bool, what=f"what was written on {source} arriving on {name}",
                     limit_s=CATCH_UP_S, every_s=0.02)
