"""The threads that a MariaDB keeps for sessions to come."""

from __future__ import annotations

from dataclasses import dataclass

from slackwater.outside.mysql.session import Session


@dataclass(frozen=True)
class Threads:
    """How many a server has. `kept`: at rest, for the next sessions, `kept_at_most` of them;
    `in_use`: by sessions; `room`: sessions that it would still take."""

    kept: int
    kept_at_most: int
    in_use: int
    room: int


async def threads(session: Session) -> Threads:
    """As they are now. A server with a pool of threads keeps none for sessions."""
    counted, settings = await session.many(
        "SHOW GLOBAL STATUS WHERE Variable_name IN ('Threads_cached', 'Threads_connected');"
        "SELECT @@GLOBAL.thread_cache_size AS MOST, @@GLOBAL.max_connections AS SESSIONS,"
        " @@GLOBAL.thread_handling = 'one-thread-per-connection' AS KEEPS")
    now = {row["Variable_name"]: int(row["Value"]) for row in counted}
    row = settings[0]
    return Threads(now["Threads_cached"], int(row["MOST"]) if row["KEEPS"] else 0,
                   now["Threads_connected"], int(row["SESSIONS"]) - now["Threads_connected"])
