"""What a binary log has between two places."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from slackwater.outside.mysql.session import MysqlError, Session

PAGE = 20_000  # events at once
PAGE_LIMIT_S = 60.0

Place = tuple[str, int]  # a file of the binary log, and the position in it


async def engine_commits(session: Session, after: Place, upto: Place) -> int | None:
    """How many transactions of a MariaDB's transactional engines are in its binary log between two
    places; None where it does not have the first of them.

    Only those count whose commit the engine notes its place with: rows up to an Xid, and no
    statement, as in a CREATE TABLE … SELECT.
    """
    logs = [str(r["Log_name"]) for r in await session.rows("SHOW BINARY LOGS")]
    first, last = PurePath(after[0]).name, PurePath(upto[0]).name
    if first not in logs or last not in logs or (logs.index(first), after[1]) > (
            logs.index(last), upto[1]):
        return None
    found = 0
    for log in logs[logs.index(first):logs.index(last) + 1]:
        here = after[1] if log == first else 4
        until = upto[1] if log == last else None
        try:
            found += await _in_one(session, log, here, until)
        except MysqlError:
            return None  # another server's file of that name, perhaps
    return found


async def _in_one(session: Session, log: str, here: int, until: int | None) -> int:
    found, rows, statement = 0, False, False
    while True:
        events = await session.rows(f"SHOW BINLOG EVENTS IN %s FROM {here} LIMIT {PAGE}", log,
                                    limit_s=PAGE_LIMIT_S)
        for event in _before(events, until):
            match str(event["Event_type"]).lower():
                case "gtid":
                    rows = statement = False
                case "query":
                    statement = True
                case "table_map":
                    rows = True
                case "xid":
                    found += rows and not statement
        if len(events) < PAGE:
            return found
        here = int(events[-1]["End_log_pos"])
        if until is not None and here >= until:
            return found


def _before(events: Iterable[dict[str, Any]], until: int | None) -> Iterable[dict[str, Any]]:
    return (e for e in events if until is None or int(e["Pos"]) < until)
