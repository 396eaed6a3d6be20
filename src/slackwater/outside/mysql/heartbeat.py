"""The table slackwater.heartbeat: writing one's row, and reading all rows."""

from __future__ import annotations

from slackwater.facts.heartbeat import Beat
from slackwater.outside.mysql.session import MysqlError, Session

TABLE = "slackwater.heartbeat"
CREATE = (
    "CREATE DATABASE IF NOT EXISTS slackwater",
    "CREATE TABLE IF NOT EXISTS slackwater.heartbeat ("
    "server_id BIGINT UNSIGNED NOT NULL PRIMARY KEY, "
    "ts DATETIME(6) NOT NULL COMMENT 'UTC, by the clock of that server', "
    "beats BIGINT UNSIGNED NOT NULL) ENGINE=InnoDB",
)
_MISSING = frozenset({1146, 1049})  # no such table, no such database
_EPOCH = "'1970-01-01 00:00:00.000000'"


async def beat(session: Session, number: int, *, limit_s: float = 2.0) -> bool:
    """Write this server's row, if the server is open for writes; False when it is not.

    The condition is in the statement: an account that may write in spite of read_only must not,
    and a statement that waits behind FLUSH TABLES WITH READ LOCK looks after its wait. It is
    written with the originating server's id, and with that server's clock.
    """
    written = await session.run(
        "REPLACE INTO slackwater.heartbeat (server_id, ts, beats)"
        f" SELECT @@GLOBAL.server_id, UTC_TIMESTAMP(6), {int(number)} FROM DUAL"
        " WHERE @@GLOBAL.read_only IN ('0', 'OFF')",
        limit_s=limit_s,
    )
    return written > 0


async def create(session: Session, *, limit_s: float = 5.0) -> None:
    """Make the schema and the table; replicated like any other."""
    for statement in CREATE:
        await session.run(statement, limit_s=limit_s)


async def beats(session: Session, *, limit_s: float = 3.0) -> dict[int, Beat]:
    """The rows that are here, by server id; {} where there is no such table."""
    return (await _read(session, limit_s))[0]


async def own(session: Session, *, limit_s: float = 3.0) -> tuple[int, dict[int, Beat], float]:
    """This server's id, the rows that are here, and its clock now in unix seconds."""
    found, now, server_id = await _read(session, limit_s)
    return server_id, found, now


async def _read(session: Session, limit_s: float) -> tuple[dict[int, Beat], float, int]:
    clock = (
        f"SELECT TIMESTAMPDIFF(MICROSECOND,{_EPOCH},UTC_TIMESTAMP(6)) AS now,"
        " @@GLOBAL.server_id AS id"
    )
    rows_sql = (
        f"SELECT server_id, TIMESTAMPDIFF(MICROSECOND,{_EPOCH},ts) AS at, beats"
        " FROM slackwater.heartbeat"
    )
    try:
        now, rows = await session.many(f"{clock};{rows_sql}", limit_s=limit_s)
    except MysqlError as error:
        if error.code not in _MISSING:
            raise
        now, rows = await session.rows(clock, limit_s=limit_s), []
    found = {
        int(r["server_id"]): Beat(int(r["server_id"]), int(r["at"]) / 1e6, int(r["beats"]))
        for r in rows
    }
    return found, int(now[0]["now"]) / 1e6, int(now[0]["id"])
