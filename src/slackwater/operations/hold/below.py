"""Packages are installed below a running server, which goes on with its old program: the hold is
then as long as a restart, however long the package manager takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.errors import SlackwaterError, StepFailed
from slackwater.operations.hold.command import again, begin, last_words
from slackwater.operations.hold.health import UPTIME_ROUNDING_S
from slackwater.operations.hold.world import HoldWorld
from slackwater.outside import apt, service_policy
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import Session
from slackwater.plan.step import Seen, Step
from slackwater.plan.wait import wait_until
from slackwater.rules import upgrade as rules

BEGUN, INSTALLING = "packages_begun", "packages"  # noted on disk before, and when it runs
SPARE_S = 120.0  # our policy outlasts the installation's own limit by this, and then has no effect
BUSY_LIMIT_S = 30.0
UNDO_LIMIT_S = 400.0


@dataclass(frozen=True)
class ReadScripts(Step[HoldWorld]):
    """Read the scripts of {names}: they must not stop the server but by policy-rc.d"""

    packages: tuple[str, ...]
    files: tuple[str, ...]
    limit_s: ClassVar[float] = 60.0
    no_undo: ClassVar[str] = "it only reads"

    @property
    def names(self) -> str:
        """The packages for people."""
        return ", ".join(self.packages)

    async def do(self, world: HoldWorld) -> Seen:
        scripts = await apt.scripts(world.host, self.files)
        if reason := rules.scripts_interfere(scripts):
            raise StepFailed(reason)
        if busy := await apt.busy(world.host):  # it may have begun since we looked
            raise StepFailed(f"the package manager is busy: {busy}; nothing was touched")
        return Seen.DONE

    async def verify(self, world: HoldWorld) -> Seen:
        return Seen.NOT_DONE  # what was not read to its end says nothing


@dataclass(frozen=True)
class DenyServices(Step[HoldWorld]):
    """Have the packages' scripts leave {server} alone (policy-rc.d, for {for_s} s at most)"""

    server: str
    packages: tuple[str, ...]
    files: tuple[str, ...]
    for_s: float
    limit_s: ClassVar[float] = 15.0
    undo_limit_s: ClassVar[float] = UNDO_LIMIT_S

    async def do(self, world: HoldWorld) -> None:
        await service_policy.deny(world.host, _operation(world), self.for_s)

    async def verify(self, world: HoldWorld) -> Seen:
        there = await service_policy.denied(world.host)
        return Seen.DONE if there else Seen.NOT_DONE

    async def undo(self, world: HoldWorld) -> None:
        """The packages are brought to their end first: half of one helps nobody, and what is left
        for later would stop the server then."""
        try:
            if BEGUN in world.notes:
                await self._finish(world)
        finally:
            await service_policy.allow(world.host)

    async def _finish(self, world: HoldWorld) -> None:
        if INSTALLING in world.notes:
            running = again(world, world.notes[INSTALLING])
            await running.wait(UNDO_LIMIT_S / 2, world.show)

        async def busy() -> str:
            return await apt.busy(world.host)

        await wait_until(busy, lambda who: not who, limit_s=BUSY_LIMIT_S, every_s=0.2,
                         what="the package manager is free")
        if not await apt.configured(world.host, self.packages):
            await service_policy.deny(world.host, _operation(world), UNDO_LIMIT_S / 4 + SPARE_S)
            await apt.run_install(world.host, self.files, UNDO_LIMIT_S / 4, whole=True)


@dataclass(frozen=True)
class InstallBelow(Step[HoldWorld]):
    """Install {names} below {server}, which serves on with its old program: {risk}"""

    server: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    limit_run_s: float
    no_undo: ClassVar[str] = (
        "the new files are on the disk and the server runs on with its old program; should it be "
        "restarted, it is the new one")
    stays: ClassVar[bool] = True

    @property
    def names(self) -> str:
        """The packages for people."""
        return ", ".join(self.packages)

    @property
    def risk(self) -> str:
        """For people who read the plan."""
        return ("until its restart new files are on the disk, so should it crash meanwhile, it "
                "comes back as the new one; --inside-hold has no such time")

    @property
    def limit_s(self) -> float:  # type: ignore[override]
        return self.limit_run_s + 30.0

    async def do(self, world: HoldWorld) -> Seen:
        # A session that outlasts the installation proves that the server was not restarted.
        kept = await world.servers[self.server].fresh()
        try:
            await kept.run(f"SET SESSION wait_timeout = {round(self.limit_s)}")
            begun = await self._install(world)
            if not await _answers(kept) and await restarted_since(world, self.server, begun):
                raise StepFailed(
                    f"the packages' scripts restarted {self.server} although policy-rc.d forbade "
                    "it: clients may have been refused, and it runs its new program already")
        finally:
            await kept.close()
        return Seen.DONE

    async def _install(self, world: HoldWorld) -> float:
        """Returns when it was begun."""
        begun = clock.unix()
        world.note(BEGUN, begun)
        running = await begin(world, self.command, "packages")
        world.note(INSTALLING, running.noted())
        try:
            code = await running.wait(self.limit_run_s, world.show)
        finally:
            world.figures["packages_ms"] = round((clock.unix() - begun) * 1000, 1)
            world.figures["packages_output"] = running.output
        if code != 0:
            how = "was killed" if code is None else f"ended with exit code {code}"
            raise StepFailed(f"{self.command[0]} {how}; its last words: "
                             f"{last_words(running.tail())}")
        return begun

    async def verify(self, world: HoldWorld) -> Seen:
        if INSTALLING not in world.notes:
            return Seen.NOT_DONE
        running = again(world, world.notes[INSTALLING])
        await running.look()
        if running.alive or running.exit_code != 0:
            return Seen.NOT_DONE
        begun = float(world.notes[BEGUN])
        return Seen.NOT_DONE if await restarted_since(world, self.server, begun) else Seen.DONE


@dataclass(frozen=True)
class AllowServices(Step[HoldWorld]):
    """Put the policy for services back as it was"""

    limit_s: ClassVar[float] = 15.0
    no_undo: ClassVar[str] = "it is as it was"

    async def do(self, world: HoldWorld) -> None:
        await service_policy.allow(world.host)

    async def verify(self, world: HoldWorld) -> Seen:
        there = await service_policy.denied(world.host)
        return Seen.NOT_DONE if there else Seen.DONE


async def restarted_since(world: HoldWorld, server: str, begun: float) -> bool:
    """Whether the server was started (or is away) since then, by a new login."""
    try:
        session = await world.servers[server].fresh(limit_s=2.0)
    except SlackwaterError:
        return True
    try:
        return clock.unix() - await mysql_server.uptime_s(session) >= begun - UPTIME_ROUNDING_S
    finally:
        await session.close()


async def _answers(session: Session) -> bool:
    try:
        await session.value("SELECT 1", limit_s=2.0)
    except SlackwaterError:
        return False
    return True


def _operation(world: HoldWorld) -> str:
    return world.journal.id if world.journal is not None else "unknown"
