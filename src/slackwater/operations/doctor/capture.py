"""Look at the wire for a limited time: text inside the protocol, and who wrote it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from slackwater.facts.doctor.finding import Finding, Sure
from slackwater.facts.doctor.host import HostSeen
from slackwater.facts.doctor.wire import Segment, Stray, Wire
from slackwater.operations.doctor.doctor import Diagnosis
from slackwater.outside import packets, processes
from slackwater.outside.processes import Known
from slackwater.rules.doctor import causes

_CLEAR_NAMES = 5


async def capture(
    known: Known, pids: Collection[int] | None, limit_s: float,
    ready: Callable[[], None] = lambda: None,
) -> Diagnosis:
    """Watch the wire for `limit_s`; logins and statements are neither kept nor shown."""
    before = await asyncio.to_thread(processes.scan, known, pids)
    ports = known.ports | {int(c.remote.rpartition(":")[2])
                           for c in before.connections.values() if c.kind == "tcp"}
    chosen = None if pids is None else {c.local for c in before.connections.values()}
    wire, found = Wire(), dict[str, Stray]()

    def take(segment: Segment) -> bool:
        if stray := wire.see(segment):
            found[stray.client] = stray
        return False

    try:
        await asyncio.to_thread(packets.capture, ports, limit_s, take, ready)
    except OSError as error:
        return Diagnosis([], [f"the wire: {error.strerror}; --capture needs root (CAP_NET_RAW)"])
    for stray in wire.unanswered():
        found.setdefault(stray.client, stray)
    after = await asyncio.to_thread(processes.scan, known, pids)
    strays = [s for s in found.values() if chosen is None or s.client in chosen]
    looked = (f"the wire for {limit_s:g} s: {wire.segments} segments of ports"
              f" {', '.join(map(str, sorted(ports)))}")
    return Diagnosis([_finding(s, before, after) for s in strays], _blind(before, wire), [looked])


def _finding(stray: Stray, before: HostSeen, after: HostSeen) -> Finding:
    holders = {}
    for seen in (before, after):
        for held in seen.held:
            if seen.connections[held.inode].local == stray.client:
                holders[held.pid, held.number] = seen.processes[held.pid]
    evidence = [f"{stray.client} -> {stray.server}: this text, where a packet had to begin:",
                repr(stray.text)]
    if stray.answered:
        evidence.append("the server answered \"Got packets out of order\" (1156)")
    evidence += [f"{process} has it as descriptor {number}"
                 for (_, number), process in holders.items()]
    standard = any(number <= 2 for _, number in holders)
    cause = causes.STRAY_OUTPUT if standard else causes.FOREIGN_BYTES
    sure = Sure.CERTAIN if stray.answered or standard else Sure.LIKELY
    hits = ", ".join(dict.fromkeys(map(str, holders.values()))) or stray.client
    return Finding(cause, sure, after.host, tuple(evidence), hits)


def _blind(seen: HostSeen, wire: Wire) -> list[str]:
    said = []
    unix = sum(c.kind == "unix" for c in seen.connections.values())
    if unix:
        said.append(f"{unix} connections by unix socket: they pass no wire")
    if wire.encrypted:
        some = ", ".join(sorted(wire.encrypted)[:_CLEAR_NAMES])
        said.append(f"inside of {len(wire.encrypted)} connections with TLS: {some}")
    return said
