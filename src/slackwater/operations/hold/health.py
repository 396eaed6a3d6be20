"""The proof of health after a command: what was before, what is now, who replicates."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any, ClassVar

from slackwater import clock
from slackwater.errors import SlackwaterError
from slackwater.facts.health import Before
from slackwater.facts.server import ServerFacts
from slackwater.operations.hold.command import STARTING, still_runs
from slackwater.operations.hold.world import HoldWorld
from slackwater.operations.pair_lock import LOCK
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan.step import Seen, Step
from slackwater.plan.wait import wait_until
from slackwater.rules import crowd, health

BEFORE = "before"
LOOK_EVERY_S = 0.02
UPTIME_ROUNDING_S = 2.0


@dataclass(frozen=True)
class Remember(Step[HoldWorld]):
    """Note the version, read_only and replication of {servers}, to compare afterwards"""

    servers: tuple[str, ...]
    others: tuple[str, ...]
    no_undo: ClassVar[str] = "it only looks"

    async def do(self, world: HoldWorld) -> None:
        noted: dict[str, Any] = {}
        for name in self.servers:
            facts = await mysql_server.look(await world.session(name), name)
            noted[name] = Before.of(facts).noted()
        for name in self.others:
            # One that cannot be reached now cannot be judged afterwards either.
            with contextlib.suppress(SlackwaterError):
                facts = await mysql_server.look(await world.session(name), name)
                noted[name] = Before.of(facts).noted()
        world.note(BEFORE, noted)

    async def verify(self, world: HoldWorld) -> Seen:
        return Seen.DONE if BEFORE in world.notes else Seen.NOT_DONE


@dataclass(frozen=True)
class ProveHealth(Step[HoldWorld]):
    """Log in to {servers} and ask, until version, replication and read_only are as before"""

    servers: tuple[str, ...]
    same_version: bool
    must_restart: bool
    limit_back_s: float
    forward_tries: ClassVar[int] = 1
    no_undo: ClassVar[str] = "it only looks, and puts read_only back to what it was"

    @property
    def limit_s(self) -> float:  # type: ignore[override]
        return self.limit_back_s + 10.0

    async def do(self, world: HoldWorld) -> Seen:
        await asyncio.gather(*(self._wait(world, n) for n in self.servers))
        return Seen.DONE

    async def _wait(self, world: HoldWorld, name: str) -> None:
        async def look() -> list[str]:
            return await self._wrong(world, name)

        await wait_until(
            look, lambda wrong: not wrong, what=f"{name} is healthy", every_s=LOOK_EVERY_S,
            limit_s=self.limit_back_s,
        )
        await world.servers[name].renew()
        await mysql_server.take_lock(await world.session(name), LOCK)

    async def _wrong(self, world: HoldWorld, name: str) -> list[str]:
        """Everything that is not well now; puts read_only back."""
        before = Before.read(world.notes[BEFORE][name])
        try:
            if await still_runs(world):  # also when nobody could wait for its end
                return ["the command still runs: what is well now may be stopped yet"]
            facts = await _look_anew(world, name)
        except SlackwaterError as error:
            return [str(error)]
        reasons = health.wrong(before, facts, same_version=self.same_version)
        began = float(world.notes.get(STARTING, 0))
        if self.must_restart and clock.unix() - facts.uptime_s < began - UPTIME_ROUNDING_S:
            reasons.append("it has not been restarted: the command ended well, but this server "
                           f"runs since {facts.uptime_s} s")
        if not reasons and facts.read_only != before.read_only:
            reasons += await _put_back(world, name, before.read_only)
        if world.gate is not None and (port := world.port(name)) in world.gate.ports:
            world.gate.fits(port, crowd.room(facts.max_connections, facts.threads_connected))
        _tell(world, name, before, facts)
        return reasons

    async def verify(self, world: HoldWorld) -> Seen:
        found = [await self._wrong(world, n) for n in self.servers]
        return Seen.NOT_DONE if any(found) else Seen.DONE


async def _look_anew(world: HoldWorld, name: str) -> ServerFacts:
    """A real login and a real query: an old session proves nothing."""
    session = await world.servers[name].fresh(limit_s=2.0)
    try:
        return await mysql_server.look(session, name, limit_s=2.0)
    finally:
        await session.close()


async def _put_back(world: HoldWorld, name: str, read_only: bool) -> list[str]:
    """Set read_only as it was. Writable only if no other server of the pair is."""
    if not read_only:
        for other in world.scope.others:
            if await world.writable(other) is not False:
                return [f"it was writable and is read-only now, and {other} may be writable: "
                        "decide by hand which of them is to be"]
    session = await world.servers[name].fresh(limit_s=2.0)
    try:
        await mysql_server.set_read_only(session, read_only)
    finally:
        await session.close()
    world.figures.setdefault("read_only_put_back", {})[name] = read_only
    return []


def _tell(world: HoldWorld, name: str, before: Before, facts: ServerFacts) -> None:
    versions = {"before": before.version, "after": facts.variables["version"]}
    world.figures.setdefault("versions", {})[name] = versions
    if changed := health.changed_settings(before, facts):
        world.figures.setdefault("settings_changed", {})[name] = changed
