"""Lag in milliseconds, and the gap that a dead server leaves, by position and by heartbeat.

No clock of two machines is ever compared for a lag. A replica that reaches the source's position
within `patience_s` lags by the time that took, on our own clock. For one that does not, the age of
the newest beat that has arrived counts: its time is the source's, and so is "now", which is read
from the source, the time between both reads (our clock again) taken off.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from slackwater import clock
from slackwater.errors import OutsideError
from slackwater.facts.heartbeat import Beat, By, Gap, Lag
from slackwater.operations.servers_world import ServersWorld
from slackwater.outside.mysql import compare as mysql_compare
from slackwater.outside.mysql import heartbeat as mysql_heartbeat
from slackwater.outside.mysql.session import Session

PATIENCE_S = 0.25
FRESH_S = 5.0  # a source's own beat older than that: nobody writes it any more


async def lag(source: Session, replica: Session, *, patience_s: float = PATIENCE_S) -> Lag:
    """How far `replica` is behind `source` now. Two to four round trips, and at most
    `patience_s` of waiting. Raises OutsideError."""
    begun, reached = clock.mono(), False
    with contextlib.suppress(mysql_compare.NoPosition):  # then the beats alone can tell
        position = await mysql_compare.visible(source)
        begun = clock.mono()
        reached = await mysql_compare.wait_applied(replica, position, limit_s=patience_s)
    took_ms = (clock.mono() - begun) * 1000
    arrived = await mysql_heartbeat.beats(replica)
    read = clock.mono()
    server_id, own, now = await mysql_heartbeat.own(source)
    age_s = None
    if beat := arrived.get(server_id):
        age_s = max(0.0, now - (clock.mono() - read) - beat.at)
    if reached:
        return Lag(took_ms, By.POSITION, age_s)
    newest = own.get(server_id)
    if age_s is None or newest is None or now - newest.at > FRESH_S:
        return Lag(None, None, age_s)
    return Lag(max(age_s * 1000, took_ms), By.HEARTBEAT, age_s)


async def lags(world: ServersWorld, source: str, others: Iterable[str]) -> dict[str, Lag]:
    """The lag of each other server behind `source`, one after another; those that do not answer
    are left out."""
    found = {}
    for name in others:
        if name != source:
            with contextlib.suppress(OutsideError):
                found[name] = await lag(await world.session(source), await world.session(name))
    return found


async def last_beat(session: Session, server_id: int) -> Beat | None:
    """The newest beat of that server which is here; None when none is."""
    return (await mysql_heartbeat.beats(session)).get(server_id)


async def gap(survivor: Session, dead_id: int, dead: Session | None = None) -> Gap:
    """What may be missing on `survivor` of what the server `dead_id` committed.

    Ask it after everything that was received has been applied. `dead`: a session to the dead
    server's data, where it can still be read (a copy of its disk that was started).
    """
    _, here, now = await mysql_heartbeat.own(survivor)
    last = here.get(dead_id)
    missing = None
    if dead is not None and last is not None:
        there = await last_beat(dead, dead_id)
        missing = there.number - last.number if there else None
    return Gap(last, None if last is None else max(0.0, now - last.at), missing)
