"""The doctor's round of servers: two samples, settings, the log; and servers and host together."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from slackwater import clock
from slackwater.errors import OutsideError
from slackwater.facts.doctor.finding import Finding, Sure
from slackwater.facts.doctor.host import HostSeen
from slackwater.facts.doctor.server import Sample, ServerSeen
from slackwater.facts.server import ServerAddress
from slackwater.operations.doctor.doctor import Diagnosis, look_at_host, of_host, together
from slackwater.outside.mysql import doctor as mysql_doctor
from slackwater.outside.mysql import server_log, server_sessions
from slackwater.outside.mysql.session import Session
from slackwater.outside.processes import Known
from slackwater.outside.waiting import waited_for
from slackwater.rules.doctor import server as server_rules
from slackwater.rules.doctor.causes import NOT_RUNNING
from slackwater.rules.doctor.sessions import named


@dataclass(frozen=True)
class Asked:
    """How servers are looked at: `since_s` is how old a trace may be to count."""

    since_s: float = 3600.0
    between_s: float = 1.0
    limit_s: float = 5.0


async def look_at_server(at: ServerAddress, asked: Asked) -> ServerSeen:
    """Two samples of one server, its settings, and its log. Raises OutsideError."""
    told = mysql_doctor.Told()
    async with await Session.open(at, limit_s=asked.limit_s) as session:
        samples = await mysql_doctor.two_samples(
            session, told, asked.between_s, limit_s=asked.limit_s)
        return await complete(session, told, samples, asked)


async def complete(
    session: Session, told: mysql_doctor.Told, samples: tuple[Sample, Sample], asked: Asked
) -> ServerSeen:
    """The rest of a look, when the samples are there: settings, KILLs, hosts, log, kernel."""
    where, blind = session.at.where, told.blind
    await mysql_doctor.ask(session, told, limit_s=asked.limit_s)
    log = await asyncio.to_thread(
        server_log.read, told.variables, told.log, asked.since_s, blind, where)
    kernel, cgroup = tuple[str, ...](), ""
    here = _is_here(told.variables)
    if here:
        kernel = server_log.kernel_kills(asked.since_s, blind)
        cgroup = server_log.cgroup_kills(server_sessions.pid_of(told.variables))
    sessions = await server_sessions.sessions(
        session, told.variables, is_here=here, limit_s=asked.limit_s)
    return ServerSeen(
        where, str(session.flavour), *samples, told.variables, asked.since_s, tuple(told.kills),
        tuple(told.hosts), log, kernel, cgroup, tuple(blind), told.error_summary, sessions, here,
        tuple(told.limited))


def _is_here(variables: Mapping[str, str]) -> bool:
    return variables.get("hostname") == platform.node()


async def of_server(at: ServerAddress, asked: Asked) -> Diagnosis:
    """One server. One that cannot be asked is a finding, or a blind spot."""
    return (await _round(at, asked))[0]


async def _round(at: ServerAddress, asked: Asked) -> tuple[Diagnosis, ServerSeen | None]:
    try:
        seen = await look_at_server(at, asked)
    except OutsideError as error:
        if error.refused:
            down = Finding(NOT_RUNNING, Sure.LIKELY, at.where, (str(error),), "every new client")
            return Diagnosis([down], [], [at.where]), None
        return Diagnosis([], [f"{at.where}, by SQL: {error}"], []), None
    counted = f"two samples {seen.last.at - seen.first.at:.1f} s apart"
    log = f", its log in {seen.log.source}" if seen.log.source else ""
    return Diagnosis(server_rules.findings(seen), list(seen.blind),
                     [f"{at.where}: {seen.flavour}, {counted}{log}"]), seen


def _look_at_host(known: Known, pids: Collection[int] | None, *, knock: bool) -> HostSeen:
    seen = look_at_host(known, pids, knock=knock)
    return replace(seen, waits=waited_for(seen.held), waits_at=clock.unix())


async def all_of(
    known: Known, pids: Collection[int] | None, servers: Collection[ServerAddress], asked: Asked,
    *, knock: bool = True,
) -> Diagnosis:
    """This host and these servers, side by side; the servers name the host's connections."""
    async with asyncio.TaskGroup() as group:
        host = group.create_task(asyncio.to_thread(_look_at_host, known, pids, knock=knock))
        others = [group.create_task(_round(at, asked)) for at in servers]
    rounds = [task.result() for task in others]
    seen = named(host.result(), [server for _, server in rounds if server])
    return together([of_host(seen), *(diagnosis for diagnosis, _ in rounds)])
