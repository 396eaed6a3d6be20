"""When to reload, and how often to be renewed."""

from __future__ import annotations

import math
from dataclasses import dataclass

RENEWALS_PER_S = 250.0  # what one registry is asked to take, whatever the number of members


@dataclass(frozen=True)
class Pace:
    """Of reloads: wait for `quiet_s` without a change, at most `longest_s`; `gap_s` between two."""

    quiet_s: float = 0.25
    longest_s: float = 5.0
    gap_s: float = 1.5

    def wait_s(self, first: float, last: float, reloaded: float, now: float) -> float:
        """Seconds from now to the reload. `first`, `last`: the oldest and newest change that
        waits; `reloaded`: the last reload's begin. All on one clock."""
        due = min(last + self.quiet_s, first + self.longest_s)
        return max(0.0, due - now, reloaded + self.gap_s - now)


def lease_s(asked: float, members: int) -> float:
    """The lease that is granted: longer than asked where there are many members, so that all
    renewals together (three in a lease) stay below RENEWALS_PER_S. Balancers' own checks find
    the dead in seconds whatever the lease."""
    return max(asked, 3.0 * members / RENEWALS_PER_S) if asked else 0.0


def come_back_s(longest_lease_s: float, least_s: float) -> float:
    """How long balancers are left as they are when what was known is lost: each member says itself
    anew with its next renewal, a tenth late at most; and a moment to be asked again."""
    return max(least_s, 1.1 * renew_after_s(longest_lease_s) + 2.0)


def rounded_up_s(lease_s: float) -> float:
    """To a power of two: it is written down, and not for each newcomer."""
    return float(2 ** math.ceil(math.log2(lease_s))) if lease_s > 0 else 0.0


def renew_after_s(lease: float) -> float:
    """When to renew: three times in a lease, so that two may be lost."""
    return lease / 3.0
