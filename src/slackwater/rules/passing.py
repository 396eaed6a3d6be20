"""Who comes to a server past its balancers, and stays too short to be seen there twice.

A server counts the connections that are made to it, a balancer those that it makes. A connection
counts with its balancer first, so a window of the balancers' that encloses one of the server's has
at least as many, but for those few that the server had not accepted when the window began. Those
are not more in all but one of several windows that follow one another; who comes past them is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from slackwater.facts.pair import Passing


@dataclass(frozen=True)
class Count:
    """Connections ever made, in this order of looking: by the balancers, to the server, by the
    balancers again. `at`: seconds of any clock. `strangers`: user@address of sessions that no
    balancer knew of before or after."""

    at: float
    before: int
    server: int
    after: int
    strangers: tuple[str, ...] = ()


def passing(counts: Sequence[Count]) -> Passing | None:
    """How many a second come past the balancers, and who may be one; None: none that are sure."""
    more = [(y.server - x.server) - (y.after - x.before) for x, y in pairwise(counts)]
    if sum(n > 0 for n in more) < max(2, len(more) - 1):  # in one window anybody may pause
        return None
    seconds = counts[-1].at - counts[0].at
    who = dict.fromkeys(name for count in counts for name in count.strangers)
    return Passing(sum(more) / max(seconds, 0.001), tuple(who))
