"""What the registry says of its pools, itself and its balancers."""

from __future__ import annotations

from typing import Any

from slackwater import clock
from slackwater.facts.members import Shares
from slackwater.service.registry.keeper import Keeper
from slackwater.service.registry.roster import Entry, Roster


def pool_report(roster: Roster, keeper: Keeper, pool: str) -> dict[str, Any]:
    """A pool with its members, for JSON."""
    now, verdict = clock.mono(), keeper.verdicts[pool]
    weights = {t.id: 0 if t.idle else t.weight for t in keeper.views[pool].targets}
    shares = roster.shares.get(pool, Shares())
    return {
        "pool": pool,
        "shares": dict(shares.parts),
        "shares_revision": shares.revision,
        "frozen": verdict.frozen,
        "why": list(verdict.why),
        "members": [
            _member(entry, now, i in verdict.serving, weights.get(i, 0))
            for i, entry in sorted(roster.pools[pool].items())
        ],
    }


def _member(entry: Entry, now: float, serving: bool, weight: int) -> dict[str, Any]:
    member = entry.record.member
    return {
        "id": member.id, "address": member.address, "port": member.port, "weight": member.weight,
        "colour": member.colour, "state": _state(entry, now, serving, weight),
        "healthy": entry.admitted and entry.fails == 0, "effective_weight": weight,
        "age": round(now - entry.heard, 2), "lease": entry.record.lease_s,
        "boot": entry.record.boot, "seq": entry.record.seq,
    }


def _state(entry: Entry, now: float, serving: bool, weight: int) -> str:
    """One word: checking, draining, failing, late, idle (its colour has no share), serving."""
    if not entry.admitted:
        return "checking"
    if entry.record.member.draining:
        return "draining"
    if not serving:
        return "failing" if entry.fails else "late"
    if not weight:
        return "idle"
    return "late" if entry.standing(now).late else "serving"


def health(roster: Roster, keeper: Keeper) -> dict[str, Any]:
    """The registry itself."""
    return {
        "revision": roster.revision,
        "applied": keeper.judged >= roster.revision and keeper.applied >= keeper.revision,
        "store": {"name": roster.store.name, "away": roster.away, "pending": len(roster.pending),
                  "faults": roster.faults[:20]},
        "balancers": [
            {"name": a.balancer.name, "applied": a.applied >= keeper.revision,
             "trouble": a.trouble, "reloads": a.reloads}
            for a in keeper.appliers
        ],
    }
