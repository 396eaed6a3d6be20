"""Who serves, and who is forgotten: leases and probes of one pool in, a verdict out.

A lease that ended is a suspicion, not a death: the member is removed when a probe fails too, or
when it was silent for three leases. When many leases end at once, it is more likely that we
were cut off than that they all died (Eureka's lesson): the pool freezes, and then only who is
dead by probes over half a minute is removed, one at a time; so a freeze cannot last for ever
(eureka#1073). And a pool is never emptied by us.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

DEAD_PROBES, DEAD_OVER_S = 3, 30.0


@dataclass(frozen=True)
class Limits:
    """What the rules go by; the defaults are research/hold-register.md B5's."""

    silent_leases: float = 3.0  # a member silent for so many leases is removed, unless frozen
    freeze_above: float = 0.3  # more of a pool than this late at once: freeze
    per_pass: float = 0.15  # at most so much of a pool is removed in one pass (but one may)
    fall: int = 2  # probes in a row that fail: it gets nothing new
    dead_probes: int = DEAD_PROBES  # in a freeze: dead after so many failed probes …
    dead_over_s: float = DEAD_OVER_S  # … over so long
    min_members: int = 1  # never fewer than these are left


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a member now. Ages in seconds."""

    id: str
    draining: bool
    age_s: float  # since it was last heard
    lease_s: float
    admitted: bool  # a probe has passed since it came
    fails: int = 0  # probes that failed in a row
    failing_s: float = 0.0  # since the first of them

    @property
    def late(self) -> bool:
        """Silent for longer than its lease; without a lease: dead by probes."""
        if not self.lease_s:
            return self.fails >= DEAD_PROBES and self.failing_s >= DEAD_OVER_S
        return self.age_s > self.lease_s


@dataclass(frozen=True, slots=True)
class Verdict:
    """`serving`: get new traffic. `remove`: forget them. `why`: in words, for people."""

    serving: frozenset[str]
    remove: tuple[str, ...] = ()
    frozen: bool = False
    why: tuple[str, ...] = ()


def judge(pool: Sequence[Standing], limits: Limits, *, settled: bool) -> Verdict:
    """The verdict on one pool.

    `settled` is False right after the start and while the store is away: then silence says
    nothing, and nobody is removed.
    """
    late = [s for s in pool if s.late] if settled else []
    frozen = len(late) > max(1, math.ceil(limits.freeze_above * len(pool)))
    remove = _removed(pool, late, limits, frozen)
    left = [s for s in pool if s.id not in set(remove)]
    able = [s for s in left if s.admitted and not s.draining]
    well = [s for s in able if s.fails < limits.fall and not (s.late and settled and s.fails)]
    why = []
    if frozen:
        why.append(f"frozen: {len(late)} of {len(pool)} leases ended at once; only members that "
                   f"fail probes for {limits.dead_over_s:g} s are removed")
    if able and not well:
        why.append("no member passes its probes: all are left in")
    serving = frozenset(s.id for s in well or able)
    return Verdict(serving, remove, frozen, tuple(why))


def _removed(
    pool: Sequence[Standing], late: list[Standing], limits: Limits, frozen: bool
) -> tuple[str, ...]:
    if frozen:
        dead = [s for s in late
                if s.fails >= limits.dead_probes and s.failing_s >= limits.dead_over_s]
        most = 1
    else:
        dead = [s for s in late if s.fails or s.age_s > limits.silent_leases * s.lease_s]
        most = max(1, int(limits.per_pass * len(pool)))
    # The longest silent first; those who leave anyway before those who serve.
    dead.sort(key=lambda s: (not s.draining, -s.age_s, s.id))
    spare = sum(not s.draining for s in pool) - limits.min_members
    removed: list[str] = []
    for each in dead:
        if len(removed) == most:
            break
        if each.draining:
            removed.append(each.id)
        elif spare > 0:
            removed.append(each.id)
            spare -= 1
    return tuple(removed)
