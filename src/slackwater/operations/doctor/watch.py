"""Stay, and say of each lost connection when it was lost and why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from slackwater import clock
from slackwater.errors import OutsideError
from slackwater.facts.doctor.finding import Finding, Sure
from slackwater.facts.doctor.host import HostSeen
from slackwater.facts.doctor.server import Sample, ServerSeen
from slackwater.facts.server import ServerAddress
from slackwater.operations.doctor.servers import Asked, complete
from slackwater.outside import processes
from slackwater.outside.mysql import doctor as mysql_doctor
from slackwater.outside.mysql.session import Session
from slackwater.outside.processes import Known
from slackwater.rules.doctor import causes
from slackwater.rules.doctor import host as host_rules
from slackwater.rules.doctor import server as server_rules
from slackwater.rules.doctor.losses import Loss, lost, why
from slackwater.rules.doctor.sessions import still_there

SERVER_EVERY_S = 1.0
_BACK_LIMIT_S = 20.0  # how long a server that went away may take to tell why
_SLACK_S = 2.0  # logs have whole seconds


@dataclass(frozen=True)
class Event:
    """A loss or a danger, at a moment (unix time)."""

    at: float
    finding: Finding


class ServerWatch:
    """One server, sampled again and again in a session of its own."""

    def __init__(self, at: ServerAddress, asked: Asked) -> None:
        self.at = at
        self._asked = asked
        self._session: Session | None = None
        self._told = mysql_doctor.Told()
        self._one_at_a_time = asyncio.Lock()
        self.samples: list[Sample] = []

    def is_of(self, loss: Loss) -> bool:
        """Whether that connection went to this server."""
        remote = loss.connection.remote
        return remote == self.at.socket or remote.endswith(f":{self.at.port}")

    async def sample(self) -> None:
        """Take one more sample; the last few are kept. Raises OutsideError."""
        async with self._one_at_a_time:
            await self._sample()

    async def _sample(self) -> None:
        if self._session is None or self._session.broken:
            self._session = await Session.open(self.at, limit_s=self._asked.limit_s)
        self.samples.append(await mysql_doctor.sample(self._session, self._told))
        del self.samples[:-60]

    async def since(self, moment: float) -> ServerSeen:
        """What it tells of what happened from shortly before that moment on."""
        async with self._one_at_a_time:
            await self._sample()
            assert self._session is not None
            first = next((s for s in reversed(self.samples) if s.at < moment - _SLACK_S),
                         self.samples[0])
            age = clock.unix() - moment + _SLACK_S + SERVER_EVERY_S
            told = replace(self._told, kills=[], hosts=[], limited=[], blind=[])
            return await complete(self._session, told, (first, self.samples[-1]),
                                  replace(self._asked, since_s=age))

    async def close(self) -> None:
        """End the session."""
        if self._session is not None:
            await self._session.close()


async def watch(
    known: Known, servers: Sequence[ServerAddress], asked: Asked, *,
    every_s: float, pids: Callable[[], Collection[int] | None], until: Callable[[], bool],
) -> AsyncIterator[Event]:
    """Look again and again until `until` says so; gives dangers when first seen, and losses."""
    watches = [ServerWatch(at, asked) for at in servers]
    sampler = asyncio.create_task(_sample_all(watches))
    explaining: set[asyncio.Task[Event]] = set()
    before: HostSeen | None = None
    told: set[tuple[str, str]] = set()
    try:
        while True:
            last = until()
            now = await asyncio.to_thread(
                processes.scan, replace(known, earlier=before.connections if before else {}),
                pids())
            at = clock.unix()
            for finding in _dangers(now, told):
                yield Event(at, finding)
            if before is not None:
                for loss in lost(before, now, at):
                    explaining.add(asyncio.create_task(_explain(loss, watches, now.host)))
            before = now
            for done in [t for t in explaining if t.done() or last]:
                explaining.discard(done)
                yield await done
            if last:
                return
            await asyncio.sleep(every_s)
    finally:
        for task in (sampler, *explaining):
            task.cancel()
        await asyncio.gather(sampler, *explaining, return_exceptions=True)
        for each in watches:
            await each.close()


def _dangers(seen: HostSeen, told: set[tuple[str, str]]) -> list[Finding]:
    """Findings of the host above a note, each once. What was closed is told as a loss."""
    fresh = []
    for finding in host_rules.findings(seen):
        key = (finding.cause.id, finding.hits)
        if finding.sure > Sure.NOTE and finding.cause != causes.SERVER_CLOSED and key not in told:
            told.add(key)
            fresh.append(finding)
    return fresh


async def _sample_all(watches: Sequence[ServerWatch]) -> None:
    while True:
        for each in watches:
            with suppress(OutsideError):
                await each.sample()
        await asyncio.sleep(SERVER_EVERY_S)


async def _explain(loss: Loss, watches: Sequence[ServerWatch], host: str) -> Event:
    """Ask the servers why; one that is away is asked until it is back."""
    told: list[Finding] = []
    lives = ""
    its = [w for w in watches if w.is_of(loss)]
    for each in its or watches:
        ends = clock.mono() + _BACK_LIMIT_S
        while True:
            try:
                seen = await each.since(loss.at)
                told += server_rules.findings(seen)
                if its and still_there(loss.connection, seen):
                    await asyncio.sleep(SERVER_EVERY_S / 2)  # it may be ending just now
                    lives = still_there(loss.connection, await each.since(loss.at))
                break
            except OutsideError as error:
                if clock.mono() > ends:
                    told.append(Finding(causes.NOT_RUNNING, Sure.LIKELY, each.at.where,
                                        (str(error),)))
                    break
                await asyncio.sleep(SERVER_EVERY_S / 2)
    return Event(loss.at, why(loss, told, host, direct=bool(its), lives=lives))
