"""The doctor's round of this host: look at its processes, and judge. Nothing is changed.

Without servers to ask (doctor_servers.py) neither their driver nor asyncio is loaded: that would
take longer than the look.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from slackwater.facts.doctor.finding import Finding, Sure, worst
from slackwater.facts.doctor.host import HostSeen, Stranger, same
from slackwater.outside import net_sockets, processes
from slackwater.outside.processes import Known
from slackwater.rules.doctor import host as host_rules

BETWEEN_LOOKS_S = 0.25  # longer than a fork takes to become another program
MOST_KNOCKS = 20


@dataclass(frozen=True)
class Diagnosis:
    """What came of it. `blind`: what could not be seen; `looked`: at what."""

    findings: list[Finding]
    blind: list[str] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)

    @property
    def worst(self) -> Sure:
        return worst(self.findings)


def look_at_host(
    known: Known, pids: Collection[int] | None = None, *, knock: bool = True
) -> HostSeen:
    """What two looks agree on; one where there is nothing that a second could refute.

    The second is at the processes that hold a connection. With `knock`, unknown addresses that
    could be a database's are connected to, once each."""
    first = processes.scan(known, pids)
    if knock and first.strangers:
        places, blind = knock_at(first.strangers)
        if places:
            known = replace(known, places=known.places | places)
            first = processes.scan(known, pids)
        first = replace(first, blind=(*first.blind, *blind))
    if not host_rules.doubtful(first):
        return first
    time.sleep(BETWEEN_LOOKS_S)
    return same(first, processes.scan(known, first.processes))


def knock_at(strangers: Sequence[Stranger]) -> tuple[frozenset[tuple[str, int]], list[str]]:
    """Which of them greet as a MySQL server does, each asked in its own network; and what could
    not be seen."""
    from slackwater.outside import knock  # most looks meet no stranger

    blind = [f"whether a database listens at {s}: {MOST_KNOCKS} others were asked"
             for s in strangers[MOST_KNOCKS:]]
    by_network: dict[str, list[Stranger]] = {}
    for stranger in strangers[:MOST_KNOCKS]:
        by_network.setdefault(net_sockets.network_of(stranger.pid), []).append(stranger)
    found: set[tuple[str, int]] = set()
    for network, there in by_network.items():
        try:
            found |= net_sockets.in_network(
                network, there[0].pid, partial(knock.greeted, [(s.address, s.port) for s in there]))
        except OSError as error:
            blind += [f"whether a database listens at {s}: {error.strerror}" for s in there]
    return frozenset(found), blind


def of_host(seen: HostSeen) -> Diagnosis:
    """This host alone."""
    holders = len({h.pid for h in seen.held})
    looked = (f"host {seen.host}: {seen.looked_at} processes with {seen.descriptors} descriptors;"
              f" {len(seen.connections)} database connections in {holders} processes")
    return Diagnosis(host_rules.findings(seen), list(seen.blind), [looked])


def together(parts: Collection[Diagnosis]) -> Diagnosis:
    """One page of several, the surest first."""
    findings = sorted((f for p in parts for f in p.findings), key=lambda f: -f.sure)
    return Diagnosis(findings, [b for p in parts for b in p.blind],
                     [line for p in parts for line in p.looked])
