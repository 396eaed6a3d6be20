"""A connection was lost while we watched: why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slackwater.facts.doctor.finding import Finding, Sure
from slackwater.facts.doctor.host import Connection, HostSeen
from slackwater.rules.doctor import causes

# What a server tells of that does not end sessions.
_NO_LOSS = frozenset({"access-denied", "too-many-connections", "host-blocked", "not-a-client",
                      "slow-login", "tls-or-plugin", "dns", "no-trace", "query-stopped",
                      "no-resources"})


@dataclass(frozen=True)
class Loss:
    """A connection that its server or the network ended; `holders` are (pid, name, descriptor),
    `forks` those of them that run from one exec, `ended` those that have ended meanwhile."""

    at: float  # unix time
    connection: Connection
    holders: tuple[tuple[int, str, int], ...]
    forks: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()

    def __str__(self) -> str:
        who = ", ".join(f"{name} (pid {pid}, descriptor {number})"
                        for pid, name, number in self.holders)
        return f"{self.connection} of {who}"


def lost(before: HostSeen, now: HostSeen, at: float) -> list[Loss]:
    """Connections that were open and that the peer has closed since."""
    found = []
    for inode, connection in now.connections.items():
        then = before.connections.get(inode)
        if connection.closed_by_peer and then is not None and not then.closed_by_peer:
            # Who had it before counts too: a fork that says goodbye is gone when it is seen.
            held = dict.fromkeys((h.pid, h.number) for s in (before, now) for h in s.holders(inode))
            who = {pid: now.processes.get(pid) or before.processes[pid] for pid, _ in held}
            forks = [p for p in who.values()
                     if any(p is not o and p.forked_with(o) for o in who.values())]
            still = {h.pid for h in now.holders(inode)}
            found.append(Loss(
                at, then, tuple((pid, who[pid].name, number) for pid, number in held),
                tuple(map(str, forks)), tuple(str(p) for p in who.values() if p.pid not in still)))
    return found


def why(loss: Loss, told: Sequence[Finding], host: str, *, direct: bool = True,
        lives: str = "") -> Finding:
    """The cause of one loss. `told`: what the servers have told since shortly before it; `direct`:
    whether it went to one of them, and not to something between; `lives`: its session, if that is
    still there on the server."""
    hits = ", ".join(dict.fromkeys(f"{name} (pid {pid})" for pid, name, _ in loss.holders))
    ended = sorted((f for f in told if f.sure >= Sure.LIKELY and f.cause.id not in _NO_LOSS),
                   key=lambda f: -f.sure)
    if lives and (not ended or ended[0].cause != causes.KILLED):
        return Finding(causes.PROXY_CLOSED, Sure.LIKELY, host, (
            f"{loss}: closed or reset", f"the server still has its {lives}: it did not end it"),
            hits)
    stray = any(number <= 2 for _, _, number in loss.holders)
    line = f"{loss}: closed by the server"
    foreign = not ended or ended[0].cause in (causes.FOREIGN_BYTES, causes.CLIENT_VANISHED)
    if (stray or loss.forks) and foreign:
        cause = causes.STRAY_OUTPUT if stray else causes.FORKED
        evidence = [line, *(text for f in ended for text in f.evidence)]
        if loss.forks:
            evidence.append(f"{', '.join(loss.forks)} run from one exec: a fork, without exec")
            evidence += [f"{one} had it too, and has ended: its goodbye ends the session for all"
                         for one in loss.ended]
        if not ended:
            evidence.append("no server tells of another reason, as is so with bytes that are no"
                            " protocol, and with a goodbye")
        return Finding(cause, Sure.CERTAIN if ended or stray else Sure.LIKELY, host,
                       tuple(evidence), hits)
    if ended:
        best = ended[0]
        return Finding(best.cause, best.sure, best.where, (line, *best.evidence), hits)
    if told and not direct:
        line = f"{loss}: closed by what listens there, which is no server that was asked"
        vanished = [text for f in told if f.cause == causes.CLIENT_VANISHED for text in f.evidence]
        return Finding(causes.PROXY_CLOSED, Sure.LIKELY, host,
                       (line, "no server tells of an end of its own", *vanished), hits)
    traceless = ("no server tells why: what leaves no trace is a fork that says goodbye (forked),"
                 " and, on MariaDB and MySQL 5.7, bytes that are no protocol (foreign-bytes)")
    return Finding(causes.SERVER_CLOSED, Sure.LIKELY, host,
                   (line, traceless) if told else (line,), hits)
