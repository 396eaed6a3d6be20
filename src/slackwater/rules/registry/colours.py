"""What each member of a pool shall weigh, and whether a colour can take the traffic."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from slackwater.facts.members import MAX_WEIGHT, Member, PoolView, Shares, Target


def view(
    pool: str, members: Iterable[Member], serving: Collection[str], shares: Shares
) -> PoolView:
    """The pool as balancers shall have it: who is not serving, or has no share, is idle."""
    weights = effective(list(members := sorted(members, key=lambda m: m.id)), serving, shares)
    targets: list[Target] = []
    taken: set[str] = set()
    for member in members:
        if member.endpoint in taken:
            continue  # said twice by a store that others write: a balancer must not have it twice
        taken.add(member.endpoint)
        weight = weights.get(member.id, 0)
        targets.append(Target(member.id, member.address, member.port,
                              weight or member.weight, idle=weight == 0))
    return PoolView(pool, tuple(targets))


def effective(
    members: Sequence[Member], serving: Collection[str], shares: Shares
) -> dict[str, int]:
    """Weight (1 to 100) by id of those who get new traffic; the others are not in it.

    With shares a colour gets its part of the traffic however many members it has. When nobody
    of a colour with a share serves, colours do not count: a pool is never emptied.
    """
    able = [m for m in members if m.id in serving]
    if not any(shares.of(m.colour) for m in able):
        return {m.id: m.weight for m in able}
    groups = {c: [m for m in able if m.colour == c] for c, part in shares.parts if part}
    groups = {c: group for c, group in groups.items() if group}
    each = {m.id: shares.of(c) * m.weight / sum(g.weight for g in group)
            for c, group in groups.items() for m in group}
    scale = MAX_WEIGHT / max(each.values())
    weights: dict[str, int] = {}
    for group in groups.values():
        whole = sum(each[m.id] * scale for m in group)
        if min(each[m.id] * scale for m in group) >= 0.5:
            weights |= {m.id: max(1, round(each[m.id] * scale)) for m in group}
            continue
        # A small share of many members: as many of them as make it with weight 1.
        few = sorted(group, key=lambda m: (-m.weight, m.id))[:max(1, round(whole))]
        weights |= {m.id: max(1, round(whole / len(few))) for m in few}
    return weights


def why_not(
    shares: Shares, members: Iterable[tuple[Member, bool]], *, degraded: bool
) -> list[str]:
    """Every reason not to divide a pool so. `members`: each with whether it is healthy.

    `degraded`: go although some (never all) members of a colour are ill.
    """
    known = list(members)
    reasons = []
    for colour, part in shares.parts:
        own = [(m, healthy) for m, healthy in known if m.colour == colour and not m.draining]
        if not part:
            continue
        ill = [m.id for m, healthy in own if not healthy]
        if not own:
            reasons.append(f"no member has the colour {colour}")
        elif len(ill) == len(own):
            reasons.append(f"no member of {colour} is healthy ({', '.join(ill)})")
        elif ill and not degraded:
            reasons.append(f"members of {colour} are not healthy: {', '.join(ill)} "
                           "(--degraded goes without them)")
    return reasons
