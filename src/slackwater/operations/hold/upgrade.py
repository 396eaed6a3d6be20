"""Upgrade the packages of one server while its clients wait."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from slackwater import clock
from slackwater.errors import SlackwaterError, StepFailed
from slackwater.facts.flavour import Flavour
from slackwater.operations.hold import hold
from slackwater.operations.hold.below import (
    SPARE_S,
    AllowServices,
    DenyServices,
    InstallBelow,
    ReadScripts,
)
from slackwater.operations.hold.clients import WaitForCalm
from slackwater.operations.hold.command import ENVIRONMENT, STARTING, FinishCommand
from slackwater.operations.hold.health import UPTIME_ROUNDING_S
from slackwater.operations.hold.sockets import look as look_at_sockets
from slackwater.operations.hold.upgrade_parts import InstallFirst, Rehearse, UpgradeTables
from slackwater.operations.hold.world import HoldWorld
from slackwater.outside import apt
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.system_tables import LogIn
from slackwater.plan.step import Plan, Seen, Step
from slackwater.rules import upgrade as rules

DOWNLOAD_LIMIT_S = 900.0
SLOW_LIMIT_S = 10.0
TABLES_LIMIT_S = 1800.0  # of a new series it checks every table


@dataclass(frozen=True)
class Asked(hold.Asked):
    """What was asked for.

    `held`: those of the packages that were on hold; `slow`: a major upgrade wants
    innodb_fast_shutdown = 0; `restart`: the command that restarts the server, `restart_s`: what
    it took the last times. `first`: those of `files` that the running server does not need (they
    are not in `command`). `below`: the packages are installed by `install` before the hold, below
    the running server, and `command` is its restart. `tables`: the program that has to bring the
    system tables to the new version, run as `log_in` (socket, user, option file).
    """

    packages: tuple[str, ...] = ()
    files: tuple[str, ...] = ()  # the packages' files, once downloaded
    held: tuple[str, ...] = ()
    reinstall: bool = False
    slow: bool = False
    restart: tuple[str, ...] = ()
    restart_s: float = 0.0
    first: tuple[str, ...] = ()
    below: bool = False
    install: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    log_in: tuple[str, ...] = ()


def plan(asked: Asked) -> Plan[HoldWorld]:
    """The list of steps: those of a hold, with the packages' own before and behind."""
    server = asked.servers[0]
    steps: list[Step[HoldWorld]] = [Download(asked.packages, asked.files, asked.reinstall)]
    steps += _below(asked) if asked.below else _before(asked)
    for step in hold.steps(asked):
        if isinstance(step, WaitForCalm) and not asked.below:
            if asked.held:
                steps.append(Unhold(asked.held))
            if asked.slow:
                steps.append(SlowShutdown(server))
        steps.append(step)
        if isinstance(step, FinishCommand) and not asked.below:
            steps.append(RestartAfter(server, asked.restart, asked.command_limit_s))
    if not asked.below:
        steps.append(RunTriggers(asked.packages))
    if asked.tables:
        steps.append(UpgradeTables(server, asked.tables, LogIn(*asked.log_in), TABLES_LIMIT_S))
    if asked.held:
        steps.append(HoldAgain(asked.held))
    title = f"upgrade {server}: {', '.join(asked.packages)}"
    onward = f"`slackwater restart {server}` has it run the new program" if asked.below else ""
    return Plan("upgrade", title, tuple(steps), asked.arguments(), onward)


def _before(asked: Asked) -> list[Step[HoldWorld]]:
    """Before clients wait for the packages."""
    steps: list[Step[HoldWorld]] = []
    held = tuple(file for file in asked.files if file not in asked.first)
    if asked.ports:
        steps.append(Rehearse(names_of(held), held, asked.hold_s, asked.restart_s))
    if asked.first:
        steps.append(InstallFirst(names_of(asked.first), asked.first))
    return steps


def _below(asked: Asked) -> list[Step[HoldWorld]]:
    """Everything but the restart, while clients are served."""
    server, names, limit_s = asked.servers[0], names_of(asked.files), asked.command_limit_s
    return [
        ReadScripts(names, asked.files),
        *((Unhold(asked.held),) if asked.held else ()),
        DenyServices(server, names, asked.files, limit_s + SPARE_S),
        InstallBelow(server, names, asked.install, limit_s),
        AllowServices(),
    ]


def names_of(files: tuple[str, ...]) -> tuple[str, ...]:
    """The packages in these files."""
    return tuple(Path(file).name.partition("_")[0] for file in files)


def plan_again(arguments: dict[str, Any]) -> Plan[HoldWorld]:
    """The plan of a journal, from its `arguments`."""
    return plan(Asked.read(arguments))


async def look(
    world: HoldWorld, packages: tuple[str, ...], *, held: bool, reinstall: bool
) -> rules.Wish:
    """See what the upgrade would do, and to whom. Raises StepFailed, OutsideError."""
    server = world.scope.servers[0]
    session = await world.session(server)
    writable = await mysql_server.is_writable(session)
    changes = await apt.simulate(world.host, packages, reinstall=reinstall) if packages else ()
    replicas: dict[str, Flavour] = {}
    for other in world.scope.others:
        try:
            replicas[other] = (await world.session(other)).flavour
        except SlackwaterError:
            continue  # which another check says
    kept = await look_at_sockets(world, server)
    return rules.Wish(
        server, session.flavour, writable, held, changes, replicas,
        busy=await apt.busy(world.host), unfinished=await apt.unfinished(world.host),
        frozen=await world.host.exists(apt.FROZEN), keepers=kept.keepers if kept else (),
    )


async def not_below(world: HoldWorld, restart: tuple[str, ...]) -> list[str]:
    """Why packages cannot be installed below the running server. Raises OutsideError."""
    server = world.scope.servers[0]
    reasons = [] if restart else [rules.no_way_to_restart(server, str(world.config.path))]
    if await mysql_server.has_plugin(await world.session(server), "pam"):
        reasons.append(rules.PAM)
    return reasons


@dataclass(frozen=True)
class Download(Step[HoldWorld]):
    """Download {packages}, while clients are still served"""

    packages: tuple[str, ...]
    files: tuple[str, ...]
    reinstall: bool
    limit_s: ClassVar[float] = DOWNLOAD_LIMIT_S
    no_undo: ClassVar[str] = "files in the package manager's cache"

    async def precheck(self, world: HoldWorld) -> list[str]:
        """Packages can be managed here."""
        why = await apt.missing(world.host)
        return [why] if why else []

    async def do(self, world: HoldWorld) -> Seen:
        await apt.download(
            world.host, self.packages, reinstall=self.reinstall, files=self.files,
            limit_s=DOWNLOAD_LIMIT_S,
        )
        return Seen.DONE

    async def verify(self, world: HoldWorld) -> Seen:
        return Seen.NOT_DONE  # its answer tells; nothing else does


@dataclass(frozen=True)
class Unhold(Step[HoldWorld]):
    """Take {packages} off hold (apt-mark unhold)"""

    packages: tuple[str, ...]
    limit_s: ClassVar[float] = 30.0
    undo_limit_s: ClassVar[float] = 30.0

    async def do(self, world: HoldWorld) -> None:
        await apt.mark(world.host, self.packages, hold=False)

    async def verify(self, world: HoldWorld) -> Seen:
        return Seen.NOT_DONE if set(self.packages) & await apt.held(world.host) else Seen.DONE

    async def undo(self, world: HoldWorld) -> None:
        await apt.mark(world.host, self.packages, hold=True)


@dataclass(frozen=True)
class HoldAgain(Step[HoldWorld]):
    """Put {packages} back on hold (apt-mark hold)"""

    packages: tuple[str, ...]
    limit_s: ClassVar[float] = 30.0
    no_undo: ClassVar[str] = "only forward"

    async def do(self, world: HoldWorld) -> None:
        await apt.mark(world.host, self.packages, hold=True)

    async def verify(self, world: HoldWorld) -> Seen:
        return Seen.DONE if set(self.packages) <= await apt.held(world.host) else Seen.NOT_DONE


@dataclass(frozen=True)
class RunTriggers(Step[HoldWorld]):
    """Run the triggers of {packages}, which were put off while clients waited"""

    packages: tuple[str, ...]
    limit_s: ClassVar[float] = 300.0
    forward_tries: ClassVar[int] = 1
    no_undo: ClassVar[str] = "only forward"

    async def do(self, world: HoldWorld) -> Seen:
        await apt.run_triggers(world.host, self.limit_s)
        return Seen.DONE

    async def verify(self, world: HoldWorld) -> Seen:
        return Seen.DONE if await apt.configured(world.host, self.packages) else Seen.NOT_DONE


@dataclass(frozen=True)
class SlowShutdown(Step[HoldWorld]):
    """Have {server} purge and merge everything when it stops (innodb_fast_shutdown = 0)"""

    server: str
    limit_s: ClassVar[float] = SLOW_LIMIT_S

    async def do(self, world: HoldWorld) -> None:
        session = await world.session(self.server)
        if "fast_shutdown" not in world.notes:
            world.note("fast_shutdown", await self._now(world))
        await session.run("SET GLOBAL innodb_fast_shutdown = 0")

    async def verify(self, world: HoldWorld) -> Seen:
        return Seen.DONE if await self._now(world) == 0 else Seen.NOT_DONE

    async def _now(self, world: HoldWorld) -> int:
        session = await world.session(self.server)
        return int(await session.value("SELECT @@GLOBAL.innodb_fast_shutdown"))

    async def undo(self, world: HoldWorld) -> None:
        if "fast_shutdown" in world.notes:
            session = await world.session(self.server)
            was = int(world.notes["fast_shutdown"])
            await session.run(f"SET GLOBAL innodb_fast_shutdown = {was}")


@dataclass(frozen=True)
class RestartAfter(Step[HoldWorld]):
    """Restart {server}, unless the packages' own scripts have done so"""

    server: str
    command: tuple[str, ...]
    limit_run_s: float
    forward_tries: ClassVar[int] = 1
    no_undo: ClassVar[str] = "only forward"

    @property
    def limit_s(self) -> float:  # type: ignore[override]
        return self.limit_run_s

    async def do(self, world: HoldWorld) -> Seen | None:
        if await self.verify(world) is Seen.DONE:
            return Seen.DONE
        if not self.command:
            raise StepFailed(f"the packages did not restart {self.server}, and the configuration "
                             f"does not say how (servers.{self.server}.restart)")
        settings = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        code, said = await world.host.run(
            ["env", *settings, *self.command], limit_s=self.limit_run_s)
        world.show(said)
        if code:
            raise StepFailed(f"{' '.join(self.command)} ended with exit code {code}: {said[-300:]}")
        world.note("restarted", clock.unix())
        return Seen.DONE

    async def verify(self, world: HoldWorld) -> Seen:
        try:
            session = await world.servers[self.server].fresh(limit_s=1.0)
        except SlackwaterError:
            return Seen.NOT_DONE
        try:
            uptime_s = await mysql_server.uptime_s(session)
        finally:
            await session.close()
        began = float(world.notes.get(STARTING, 0))
        since = clock.unix() - uptime_s
        return Seen.DONE if since >= began - UPTIME_ROUNDING_S else Seen.NOT_DONE
