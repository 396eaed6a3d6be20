"""What an upgrade does while clients are served: before the hold, and after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from slackwater.errors import StepFailed
from slackwater.operations.hold.world import HoldWorld
from slackwater.outside import apt
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql import system_tables
from slackwater.plan.step import Seen, Step
from slackwater.rules import upgrade as rules

RESTART_S = 2.0  # a restart whose time nobody knows
REHEARSAL_LIMIT_S = 120.0


@dataclass(frozen=True)
class Rehearse(Step[HoldWorld]):
    """Unpack {names} aside, to see how long clients will wait; give up if it is over {hold_s} s"""

    packages: tuple[str, ...]
    files: tuple[str, ...]
    hold_s: float
    restart_s: float  # what the server's restart took the last times; 0: not known
    limit_s: ClassVar[float] = REHEARSAL_LIMIT_S
    no_undo: ClassVar[str] = "the scratch directory is gone already"

    @property
    def names(self) -> str:
        """The packages for people."""
        return ", ".join(self.packages)

    async def do(self, world: HoldWorld) -> Seen:
        unpack_s = await apt.rehearse(world.host, self.files, self.limit_s)
        needs_s = rules.away_s(unpack_s, self.restart_s or RESTART_S)
        world.figures["expected_ms"] = round(needs_s * 1000)
        if reason := rules.too_long(unpack_s, needs_s, self.hold_s):
            raise StepFailed(reason)
        if busy := await apt.busy(world.host):  # it may have begun since we looked
            raise StepFailed(f"the package manager is busy: {busy}; nothing was touched")
        return Seen.DONE

    async def verify(self, world: HoldWorld) -> Seen:
        return Seen.NOT_DONE  # a rehearsal that was not heard to its end says nothing


@dataclass(frozen=True)
class InstallFirst(Step[HoldWorld]):
    """Install {names}, which the running server does not need, while clients are served"""

    packages: tuple[str, ...]
    files: tuple[str, ...]
    limit_s: ClassVar[float] = 300.0
    no_undo: ClassVar[str] = "programs for clients; they work with the older server as well"

    @property
    def names(self) -> str:
        """The packages for people."""
        return ", ".join(self.packages)

    async def do(self, world: HoldWorld) -> Seen:
        await apt.run_install(world.host, self.files, self.limit_s)
        return Seen.DONE

    async def verify(self, world: HoldWorld) -> Seen:
        return Seen.NOT_DONE  # its exit code tells; to install them again does no harm


@dataclass(frozen=True)
class UpgradeTables(Step[HoldWorld]):
    """Bring the system tables of {server} to its version ({programs}; nothing if that was done)"""

    server: str
    names: tuple[str, ...]  # of the program, the first that is there
    log_in: system_tables.LogIn
    limit_run_s: float
    forward_tries: ClassVar[int] = 1
    no_undo: ClassVar[str] = "only forward"

    @property
    def programs(self) -> str:
        """The program for people."""
        return " or ".join(self.names)

    @property
    def limit_s(self) -> float:  # type: ignore[override]
        return self.limit_run_s + 10.0

    async def precheck(self, world: HoldWorld) -> list[str]:
        """The account is let in."""
        why = await system_tables.refused(world.host, self.log_in)
        return [] if not why else [
            f"{self.programs} has to run after the upgrade, and {self.log_in.user} cannot log in "
            f"to {self.server} ({why}): give [accounts.admin] with an option_file"]

    async def do(self, world: HoldWorld) -> Seen:
        program = await system_tables.find(world.host, self.names)
        if not program:
            raise StepFailed(f"there is no {self.programs} on {world.host.where}: install it (the "
                             "package of the client programs), then `slackwater recover`")
        await world.servers[self.server].renew()  # they may have idled out meanwhile
        # An administrator writes to a read-only server, but not to a super_read_only one.
        if await mysql_server.open_to_admins(await world.session(self.server)):
            world.note("closed_to_admins", True)
        try:
            said = await system_tables.upgrade(
                world.host, program, self.log_in, self.limit_run_s)
        finally:
            if "closed_to_admins" in world.notes:
                await world.servers[self.server].renew()  # it may have idled out
                await mysql_server.set_read_only(await world.session(self.server), True)
        world.figures["system_tables"] = " / ".join(said.strip().splitlines()[-2:])
        world.note("tables", True)
        return Seen.DONE

    async def verify(self, world: HoldWorld) -> Seen:
        return Seen.DONE if "tables" in world.notes else Seen.NOT_DONE
