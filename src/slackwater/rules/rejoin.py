"""Whether a server can be brought back as the passive one: facts in, reasons out."""

from __future__ import annotations

from collections.abc import Mapping

from slackwater.facts import gtid
from slackwater.facts.gtid import MysqlGtids
from slackwater.facts.server import ServerFacts


def roles(
    pair: tuple[str, str],
    servers: Mapping[str, ServerFacts],
    says: Mapping[str, str | None],
    unreachable: Mapping[str, str],
) -> tuple[str, str] | list[str]:
    """(old, new): who comes back, and who takes the writes; or why nobody can say. `says`:
    balancer -> the server that it sends clients to."""
    if unreachable:
        return [f"cannot reach {name}: {why}" for name, why in unreachable.items()]
    writable = [n for n in pair if servers[n].writable]
    if not writable:
        return ["no server of the pair accepts writes: `slackwater failover` promotes one"]
    sent = set(says.values())
    if len(writable) == 2:
        # The balancers' clients have decided it, long before.
        if len(sent) != 1 or None in sent:
            return ["both servers accept writes, and the balancers do not agree on one of them: "
                    "see where your clients write, and make the other one read-only"]
        new = str(sent.pop())
    else:
        new = writable[0]
        wrong = [f"balancer {n} sends clients to {s or 'nobody'}, but {new} accepts writes"
                 for n, s in says.items() if s != new]
        if wrong:
            return wrong
    return pair[1] if new == pair[0] else pair[0], new


def refusals(old: ServerFacts, new: ServerFacts, old_name: str, new_name: str) -> list[str]:
    """Every reason why `old` cannot follow `new` by replication."""
    found = []
    if old.flavour.vendor != new.flavour.vendor or old.flavour.older_series_than(new.flavour):
        found.append(f"{old_name} is {old.flavour}, {new_name} is {new.flavour}: it cannot follow")
    for name, facts in ((old_name, old), (new_name, new)):
        if reason := facts.flavour.unsupported_reason():
            found.append(f"{name}: {reason}")
        if len(facts.replication) != 1:
            found.append(f"{name} has {len(facts.replication)} replication channels, not one: set "
                         "replication up with `slackwater pair setup`")
        elif not facts.replication[0].auto_position:
            found.append(f"{name} replicates by file and position, not by GTID")
    has = old.executed
    if isinstance(has, MysqlGtids):
        purged = gtid.parse(new.variables.get("gtid_purged"), new.flavour)
        if isinstance(purged, MysqlGtids) and (lacks := purged.subtract(has)):
            found.append(f"{new_name} has deleted binary logs that {old_name} would need "
                         f"({lacks}): copy the data anew, `slackwater pair rejoin --copy-again`")
    return found
