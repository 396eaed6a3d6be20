"""Who is active according to each of those that have a say, and whether they agree."""

from __future__ import annotations

from dataclasses import dataclass

from slackwater.facts.failover import PARKED_PORT
from slackwater.facts.pair import PairSeen


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
    elif not writable:
        faults.append("no server of the pair accepts writes")
    for name, balancer in seen.balancers.items():
        says[f"balancer {name}"] = balancer.state.active
        says[f"file of {name}"] = balancer.file_active
    for name in seen.pair:
        faults += _replication_faults(seen, name)
    for voice, server in says.items():
        if voice != "read_only" and server != says["read_only"]:
            faults.append(f"{voice} says {server or 'nobody'}, read_only says "
                          f"{says['read_only'] or 'nobody'}")
    faults += [f"cannot reach {name}: {why}" for name, why in seen.unreachable.items()]
    active = says["read_only"] if not faults else None
    return Agreement(active, says, tuple(faults))


def _replication_faults(seen: PairSeen, name: str) -> list[str]:
    if name not in seen.servers:
        return []
    channels = seen.servers[name].facts.replication
    if not channels:
        return [f"{name} replicates from nobody"]
    if any(c.source_port == PARKED_PORT for c in channels):
        return [f"{name} follows nobody since a failover: `slackwater pair rejoin` brings the "
                "other server back"]
    return [
        f"{name}: replication from {c.source_host}:{c.source_port} does not run"
        f"{': ' + '; '.join(c.errors) if c.errors else ''}"
        for c in channels if not c.running
    ]
