"""Which sessions may be closed now, so that their clients notice least.

A connection-per-request client is between its log-in and its statement for a moment; a pool that
tests its connections is between its test and its statement for a moment. Both look idle then, and
closing them then is an error for them. A connection that rests in a pool has been idle for much
longer. So we ask for a few milliseconds of rest, and ask for less as the hold goes on; for more
where our own looks show that the machine is slow, since then everybody's pauses are long; and for
much more of a session that is younger than the operation (it is most likely no pool's), or whose
last command was a ping, where the server tells (MySQL's Performance Schema).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slackwater.facts.server import ClientSession

# (from so many ms into settling, a session must have rested so many ms)
REST_MS = ((0.0, 4.0), (12.0, 2.5), (25.0, 1.5), (40.0, 0.5))
YOUNG_REST_MS = 100.0
YOUNG_PER_REST = 10.0  # where others must rest longer than usual, who is about to work must too
REST_PER_DELAY = 1.5  # rest asked for, at least, in lengths of the delays that we meet ourselves
GONE = ("killed",)
# Who has rested for so long most likely goes on resting for the moment until clients are held. Who
# does not comes back as a young session, for which a hold may wait: fewer are left to it.
LONG_REST_S = 30.0
# Between the look at a session and its end by way of its balancer is a ms, or some: who is used 20
# times a second was hit there 6 times in 360 (9.7, 500 and 1,000 requests/s), 1 in 240 by KILL. Who
# rests for so long is hardly hit.
RARELY_USED_MS = 500.0
MANY = 10  # fewer cost a hold less than that


@dataclass(frozen=True)
class Settling:
    """What to do with the sessions that are left: close these now, wait for those."""

    close: tuple[int, ...]
    wait: tuple[ClientSession, ...]
    soonest_ms: float  # so long after the look the first of `wait` may be closed; 0: who knows


def rest_needed_ms(elapsed_ms: float, delay_ms: float) -> float:
    """How long a session must have been idle to be closed, so far into settling, where our own
    looks and pauses are delayed so much."""
    rest = next(rest for start, rest in reversed(REST_MS) if elapsed_ms >= start)
    return max(rest, REST_PER_DELAY * delay_ms)


def long_idle(
    sessions: Sequence[ClientSession], transactions: Mapping[int, float], rest_s: float
) -> list[int]:
    """Those outside a transaction that have rested for `rest_s` or more; none if they are few."""
    idle = [
        s.id for s in sessions
        if s.sleeping and s.id not in transactions and (s.idle_ms or 0.0) >= rest_s * 1000
    ]
    return idle if len(idle) >= MANY else []


def decide(
    sessions: Sequence[ClientSession],
    transactions: Mapping[int, float],
    rest_ms: float,
    young_from: int,
    age_ms: float = 0.0,
) -> Settling:
    """Sort client sessions into those to close now, if they still rest, and those to wait for.

    `transactions` maps session ids to the age of their open transaction in seconds, read while
    the sessions rested. Session ids from `young_from` on are younger than the operation. All that
    was seen `age_ms` ago.
    """
    close, wait, soonest = [], [], []
    for session in sessions:
        if session.command.lower() in GONE:
            continue
        about_to_work = session.id >= young_from or session.last_command == "Ping"
        young_ms = max(YOUNG_PER_REST * rest_ms, YOUNG_REST_MS)
        rest = young_ms if about_to_work else rest_ms
        idle_ms = session.idle_ms  # None: not known, so it may be about to work
        resting = session.sleeping and idle_ms is not None and session.id not in transactions
        missing_ms = rest - (idle_ms or 0.0)
        if resting and missing_ms <= age_ms:
            close.append(session.id)
        else:
            wait.append(session)
            soonest.append(missing_ms if resting and not about_to_work else 0.0)
    return Settling(tuple(close), tuple(wait), min(soonest, default=0.0))
