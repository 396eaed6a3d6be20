"""slackwater's one file of settings on a server: checked by its program, then put in place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from slackwater.errors import StepFailed
from slackwater.operations.setup.file_taken import not_taken
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside.mysql import option_file
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.plan.step import Seen, Step


@dataclass(frozen=True)
class WriteSettings(Step[SetupWorld]):
    """Write {path} on {server}, after the server itself has checked it"""

    server: str
    path: str
    text: str
    old: str | None
    limit_s: ClassVar[float] = 60.0

    @property
    def name(self) -> str:
        return f"WriteSettings.{self.server}"

    async def precheck(self, world: SetupWorld) -> list[str]:
        """Its directory may be written."""
        directory = Path(self.path).parent
        if not await world.hosts[self.server].may_write(directory):
            return [f"{self.server}: cannot write in {directory}: run as a user that may, or give "
                    f"servers.{self.server}.ssh a user that may"]
        return []

    async def do(self, world: SetupWorld) -> None:
        host, session = world.hosts[self.server], await world.session(self.server)
        found = await mysql_setup.variables(session)
        why = await option_file.why_not(host, Path(self.path).parent, self.text, found,
                                        mariadb=session.flavour.mariadb)
        if why:
            raise StepFailed(f"{self.server} would not start with these settings: {why}")
        await host.replace(Path(self.path), self.text)
        if reasons := await not_taken(host, Path(self.path), self.text, found):
            raise StepFailed("; ".join(f"{self.server}: {r}" for r in reasons))

    async def verify(self, world: SetupWorld) -> Seen:
        host, path = world.hosts[self.server], Path(self.path)
        if not await host.exists(path) or await host.read(path) != self.text:
            return Seen.NOT_DONE
        found = await mysql_setup.variables(await world.session(self.server))
        return Seen.NOT_DONE if await not_taken(host, path, self.text, found) else Seen.DONE

    async def undo(self, world: SetupWorld) -> None:
        host, path = world.hosts[self.server], Path(self.path)
        if self.old is None:
            await host.remove(path)
        elif await host.read(path) != self.old:
            await host.replace(path, self.old)
