"""What the processes of a host tell about lost connections, before and after."""

from __future__ import annotations

from collections.abc import Iterator

from slackwater.facts.doctor.finding import Finding, Sure
from slackwater.facts.doctor.host import Connection, Held, HostSeen, Process
from slackwater.rules.doctor import causes

_STANDARD = {0: "standard input", 1: "standard output", 2: "standard error"}
_SHORTEST_MIDDLEBOX_S = 240  # Azure; AWS 350, IPVS 900
_RETRANSMITS = 3
_ASLEEP_S = 1.0  # more than an answer takes on its way; servers tell whole seconds
_LISTED = 5
_SLACK_S = 0.05  # of clocks that tick a hundred times a second


def findings(seen: HostSeen) -> list[Finding]:
    """All findings of one look (see `facts.doctor.host.same`: what two looks agree on)."""
    found = []
    for inode, connection in seen.connections.items():
        holders = seen.holders(inode)
        if any(h.number <= 2 for h in holders):
            found.append(_standard(seen, connection, holders))
        elif len({h.pid for h in holders}) > 1:
            found.append(_shared(seen, connection, holders))
        elif orphan := _orphan(seen, connection, holders[0]):
            found.append(orphan)
        found += _wire(seen, connection, holders)
        found += _half_sent(seen, connection, holders)
    found += _middleboxes(seen)
    found += _no_cloexec(seen)
    return sorted(found, key=lambda f: -f.sure)


def doubtful(seen: HostSeen) -> bool:
    """Whether a second look could refute a finding: what was caught between fork and exec, or
    between the server's goodbye and the client's."""
    shared = len({h.inode for h in seen.held}) < len(seen.held)
    return (shared or any(h.number <= 2 for h in seen.held)
            or any(c.closed_by_peer for c in seen.connections.values()))


def _standard(seen: HostSeen, connection: Connection, holders: list[Held]) -> Finding:
    evidence, hit = [], []
    for held in sorted(holders, key=lambda h: (h.pid, h.number)):
        process = seen.processes[held.pid]
        evidence += [
            f"descriptor {held.number}{_as_what(held.number)} of {process} is {connection}",
            *_who(process),
        ]
        if held.number <= 2:
            hit.append(str(process))
    if connection.closed_by_peer:
        evidence.append("the server has closed it already")
    return Finding(causes.STRAY_OUTPUT, Sure.CERTAIN, seen.host, tuple(evidence),
                   f"{', '.join(dict.fromkeys(hit))}: at the first line written there")


def _as_what(number: int) -> str:
    return f" ({_STANDARD[number]})" if number in _STANDARD else ""


def _who(process: Process) -> Iterator[str]:
    if process.command:
        yield f"{process}: {process.command}" + (f", as {process.user}" if process.user else "")
    if process.parents:
        yield f"{process} was started by {', '.join(process.parents)}"


def _shared(seen: HostSeen, connection: Connection, holders: list[Held]) -> Finding:
    processes = [seen.processes[pid] for pid in sorted({h.pid for h in holders})]
    evidence = [
        f"{connection} is in {len(processes)} processes: "
        + ", ".join(f"{p} as descriptor {_numbers(holders, p.pid)}" for p in processes),
        *(line for p in processes for line in _who(p)),
    ]
    one_exec = [p for p in processes if any(p is not o and p.forked_with(o) for o in processes)]
    hits = ", ".join(map(str, processes))
    if one_exec:
        evidence.append(f"{', '.join(map(str, one_exec))} run from one exec: a fork, without exec")
        return Finding(causes.FORKED, Sure.CERTAIN, seen.host, tuple(evidence), hits)
    pids = {p.pid for p in processes}
    owners = [p for p in processes if p.parent not in pids]
    unread = any(not p.stack for p in processes)
    evidence.append(
        "whether these are forks or other programs could not be read" if unread
        else f"{', '.join(map(str, owners))} had it first; the others inherited it"
    )
    # A child that lives while its parent does keeps nothing open that would not be.
    sure = Sure.POSSIBLE if unread or len(owners) > 1 else Sure.NOTE
    return Finding(causes.INHERITED, sure, seen.host, tuple(evidence), hits)


def _orphan(seen: HostSeen, connection: Connection, held: Held) -> Finding | None:
    """A connection whose only holder has not made it: who made it has closed it, or has ended."""
    process = seen.processes[held.pid]
    evidence = [f"{connection} is descriptor {held.number} of {process}, and of nobody else",
                *_who(process)]
    idle_s = None if connection.idle_ms is None else connection.idle_ms / 1000
    if connection.opened_by and process.inner_pid not in (0, connection.opened_by):
        evidence.append(f"the server says that pid {connection.opened_by} logged in over it")
    elif idle_s is not None and process.age_s is not None and idle_s > process.age_s + _SLACK_S:
        evidence.append(f"the last data went over it {idle_s:.0f} s ago, and {process} was started"
                        f" {process.age_s:.0f} s ago")
    else:
        return None
    return Finding(causes.INHERITED, Sure.LIKELY, seen.host, tuple(evidence),
                   "whoever waits for the locks of that session")


def _numbers(holders: list[Held], pid: int) -> str:
    return ", ".join(str(h.number) for h in holders if h.pid == pid)


def _wire(seen: HostSeen, connection: Connection, holders: list[Held]) -> Iterator[Finding]:
    processes = [seen.processes[pid] for pid in sorted({h.pid for h in holders})]
    hits = ", ".join(map(str, processes))
    if connection.closed_by_peer:
        idle = "" if connection.idle_ms is None else (
            f"; the last data went over it {connection.idle_ms / 1000:.0f} s ago")
        lines = [f"{connection} is in state CLOSE_WAIT{idle}"]
        lines += [line for p in processes for line in _who(p)]
        yield Finding(causes.SERVER_CLOSED, Sure.LIKELY, seen.host, tuple(lines), hits)
    elif connection.retransmits >= _RETRANSMITS and connection.unsent:
        lines = [f"{connection}: {connection.unsent} bytes not acknowledged after"
                 f" {connection.retransmits} retransmissions"]
        lines += [line for p in processes for line in _who(p)]
        yield Finding(causes.SILENT_DROP, Sure.LIKELY, seen.host, tuple(lines), hits)


def _half_sent(seen: HostSeen, connection: Connection, holders: list[Held]) -> Iterator[Finding]:
    """The client waits for an answer, and the server had been waiting for a statement by then."""
    asleep = connection.asleep_s
    if (connection.inode not in seen.waits or asleep is None or asleep < _ASLEEP_S
            or connection.retransmits or connection.closed_by_peer):
        return
    processes = [seen.processes[pid] for pid in sorted({h.pid for h in holders})]
    hits = ", ".join(map(str, processes))
    yield Finding(causes.HALF_SENT, Sure.LIKELY, seen.host, (
        f"{hits} waits to read from {connection}",
        f"the server says that this session had asked nothing for {asleep:.0f} s then",
        *(line for p in processes for line in _who(p))), hits)


def _middleboxes(seen: HostSeen) -> Iterator[Finding]:
    lines = []
    for c in seen.connections.values():
        here, there = c.local.rpartition(":")[0], c.remote.rpartition(":")[0]
        if c.kind != "tcp" or c.idle_ms is None or here == there or c.closed_by_peer:
            continue
        protected = c.timer == "keepalive" and c.timer_ms < _SHORTEST_MIDDLEBOX_S * 1000
        if c.idle_ms > _SHORTEST_MIDDLEBOX_S * 1000 and not protected:
            keepalive = (f"next keepalive in {c.timer_ms / 1000:.0f} s"
                         if c.timer == "keepalive" else "no keepalive")
            who = ", ".join(str(seen.processes[h.pid]) for h in seen.holders(c.inode))
            lines.append(f"{c} of {who}: idle for {c.idle_ms / 1000:.0f} s, {keepalive}")
    if lines:
        yield Finding(causes.MIDDLEBOX, Sure.NOTE, seen.host, _some(lines))


def _no_cloexec(seen: HostSeen) -> Iterator[Finding]:
    by_pid: dict[int, list[int]] = {}
    for held in seen.held:
        if held.cloexec is False:
            by_pid.setdefault(held.pid, []).append(held.number)
    lines = [f"{seen.processes[pid]}: descriptor {', '.join(map(str, sorted(numbers)))}"
             for pid, numbers in sorted(by_pid.items())]
    if lines:
        yield Finding(causes.NO_CLOEXEC, Sure.NOTE, seen.host, _some(lines))


def _some(lines: list[str]) -> tuple[str, ...]:
    more = len(lines) - _LISTED
    return tuple(lines[:_LISTED] + ([f"and {more} more"] if more > 0 else []))
