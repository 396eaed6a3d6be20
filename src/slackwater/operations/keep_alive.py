"""Long waits of an operation: no server may end our sessions meanwhile."""

from __future__ import annotations

import contextlib

from slackwater import clock
from slackwater.errors import SlackwaterError, StepFailed
from slackwater.operations.servers_world import SESSION_WAIT_TIMEOUT_S, ServersWorld
from slackwater.outside.mysql import server as mysql_server

ALIVE_EVERY_S = SESSION_WAIT_TIMEOUT_S / 6
SLICE_S = 5.0
LATE_S = 5.0  # the server's answer to a slice: no more than a pause that others would sit out


async def keep_alive(world: ServersWorld) -> None:
    """Let no server end our sessions (and our locks with them) for being idle.

    To be called now and then, by who uses the sessions: nobody else may use one meanwhile.
    """
    if clock.mono() - world.kept_alive < ALIVE_EVERY_S:
        return
    world.kept_alive = clock.mono()
    for server in world.servers.values():
        for session in (server.control, server.spare, server.lock):
            if session is not None and session.broken is None:
                # One that fails is broken now; who needs it says so.
                with contextlib.suppress(SlackwaterError):
                    await session.rows("SELECT 1", limit_s=5)


async def caught_up(world: ServersWorld, server: str, wanted: str, *, limit_s: float) -> bool:
    """Wait until a replica has everything in a GTID set; False when the limit came first.

    Raises StepFailed as soon as it applies nothing any more: an SQL thread has stopped with an
    error, or all are stopped.
    """
    session = await world.session(server)
    ends = clock.mono() + limit_s
    while (left := ends - clock.mono()) > 0:
        if await mysql_server.wait_executed(
                session, wanted, limit_s=min(SLICE_S, left), late_s=LATE_S):
            return True
        await keep_alive(world)
        status = await mysql_server.replica_status(session)
        stopped = [c for c in status if not c.sql_running]
        # One of several channels that somebody has stopped may not be the one that is waited for.
        if any(c.sql_error for c in stopped) or (stopped and len(stopped) == len(status)):
            why = "; ".join(c.sql_error or "its SQL thread was stopped" for c in stopped)
            raise StepFailed(f"{server}: replication stopped: {why}")
    return False
