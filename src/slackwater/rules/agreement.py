"""Who is active according to each of those that have a say, and whether they agree."""

from __future__ import annotations

from dataclasses import dataclass

from slackwater.facts.failover import PARKED_PORT
from slackwater.facts.pair import PairSeen
from slackwater.rules.roads import wrong_roads


@dataclass(frozen=True)
class Agreement:
    """`active` is the server all agree on, or None; `says` maps each voice to its server."""

    active: str | None
    says: dict[str, str | None]
    disagreements: tuple[str, ...]


def agreement(seen: PairSeen) -> Agreement:
    """Compare read_only, replication, each balancer and each balancer's file."""
    says: dict[str, str | None] = {"read_only": seen.active()}
    faults: list[str] = []
    writable = seen.writable()
    if len(writable) > 1:
        faults.append(f"{' and '.join(writable)} both accept writes")
    elif unknown := [n for n in seen.pair if n not in seen.servers and not writable]:
        faults.append(f"cannot tell whether {_any(seen)} accepts writes: "
                      f"{' and '.join(unknown)} cannot be asked")
    elif not writable:
        faults.append("no server of the pair accepts writes" if seen.ring else
                      f"{seen.pair[0]} accepts no writes")
    for name, balancer in seen.balancers.items():
        says[f"balancer {name}"] = balancer.state.active
        says[f"file of {name}"] = balancer.file_active
    says["replication"] = _followed(seen, says["read_only"])
    for name in (*seen.pair, *seen.replicas):
        faults += _replication_faults(seen, name)
    faults += _contradictions(says, asked=bool(writable) or seen.servers.keys() >= {*seen.pair})
    faults += wrong_roads(seen)
    faults += [f"cannot reach {name}: {why}" for name, why in seen.unreachable.items()]
    active = says["read_only"] if not faults else None
    return Agreement(active, says, tuple(faults))


def _any(seen: PairSeen) -> str:
    return "a server of the pair" if seen.ring else seen.pair[0]


def _contradictions(says: dict[str, str | None], *, asked: bool) -> list[str]:
    """Voices that do not say what read_only says; where the servers could not be `asked` that, and
    so not about replication either, those that do not say what the first of the others says."""
    voices = [v for v in says if asked or v not in ("read_only", "replication")]
    first = says[voices[0]] if voices else None
    return [f"{voice} says {says[voice] or 'nobody'}, {voices[0]} says {first or 'nobody'}"
            for voice in voices[1:] if says[voice] != first]


def _followed(seen: PairSeen, active: str | None) -> str | None:
    """The server of the pair whose changes arrive at all the others, perhaps by way of another.

    Where both are such (each follows the other), replication has no word against `active`.
    """
    found = [n for n in seen.pair
             if n in seen.servers and not seen.servers.keys() - _reached_from(seen, n)]
    if active in found:
        return active
    return found[0] if len(found) == 1 else None


def _reached_from(seen: PairSeen, source: str) -> set[str]:
    """Names of the servers that a change on `source` comes to, itself among them."""
    reached = {source}
    while more := {n for n in seen.servers if n not in reached and _sources(seen, n) & reached}:
        reached |= more
    return reached


def _sources(seen: PairSeen, name: str) -> set[str]:
    """Names of the servers that this one replicates from now."""
    by_id = {s.facts.server_id: n for n, s in seen.servers.items()}
    running = [c.source_server_id for c in seen.servers[name].facts.replication if c.running]
    return {by_id[i] for i in running if i in by_id}


def _replication_faults(seen: PairSeen, name: str) -> list[str]:
    if name not in seen.servers:
        return []
    channels = seen.servers[name].facts.replication
    if not channels:
        return [f"{name} replicates from nobody"] if seen.ring or name in seen.replicas else []
    if any(c.source_port == PARKED_PORT for c in channels):
        return [f"{name} follows nobody since a failover: `slackwater pair rejoin` brings the "
                "other server back"]
    stopped = [
        f"{name}: replication from {c.source_host}:{c.source_port} does not run"
        f"{': ' + '; '.join(c.errors) if c.errors else ''}"
        for c in channels if not c.running
    ]
    return stopped or _strangers(seen, name)


def _strangers(seen: PairSeen, name: str) -> list[str]:
    """A fault when nobody that it follows is one of those that it must follow."""
    if name in seen.pair and not seen.ring:
        return []  # a source may be somebody's replica
    meant = {seen.other(name)} if name in seen.pair else {*seen.pair, *seen.replicas}
    if not meant <= seen.servers.keys() or _sources(seen, name) & meant:
        return []  # whom we cannot reach, we do not know by its id
    others = ", ".join(
        f"{c.source_host}:{c.source_port} (server_id {c.source_server_id})"
        for c in seen.servers[name].facts.replication
    )
    return [f"{name} does not follow {' or '.join(sorted(meant - {name}))}, but {others}"]
