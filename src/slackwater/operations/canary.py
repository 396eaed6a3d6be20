"""The canary: one row of ours that proves a path by travelling it.

`slackwater.canary` has one row per (road); a road is a name such as "rehearsal" or "through lb1".
The row holds a number that is new each time, so an old row proves nothing.
"""

from __future__ import annotations

import secrets

from slackwater.outside.mysql.session import Session
from slackwater.plan.wait import wait_until

EXISTS = (
    "SELECT COUNT(*) AS n FROM information_schema.TABLES "
    "WHERE TABLE_SCHEMA = 'slackwater' AND TABLE_NAME = 'canary'"
)
CREATE = (
    "CREATE DATABASE IF NOT EXISTS slackwater",
    "CREATE TABLE IF NOT EXISTS slackwater.canary ("
    "road VARCHAR(64) NOT NULL PRIMARY KEY, number BIGINT UNSIGNED NOT NULL, "
    "server_id BIGINT UNSIGNED NOT NULL, "
    "at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)) ENGINE=InnoDB",
)


def road(balancer: str) -> str:
    """The road through a balancer; no other road has such a name."""
    return f"through {balancer}"[:64]


def key(road: str) -> str:
    """Where a world's notes have the number that was sent on a road."""
    return f"canary {road}"


async def exists(session: Session) -> bool:
    """Whether the canary table is there."""
    rows = await session.rows(EXISTS, limit_s=2)
    return bool(rows[0]["n"])


async def create(session: Session) -> None:
    """Make the schema and the table; replicated like any other."""
    for statement in CREATE:
        await session.run(statement, limit_s=5)


def new_number() -> int:
    """One that was never sent."""
    return secrets.randbits(62)


async def send(session: Session, road: str, number: int | None = None) -> int:
    """Write a new canary for a road; returns its number."""
    number = new_number() if number is None else number
    await session.run(
        "REPLACE INTO slackwater.canary (road, number, server_id) "
        "VALUES (%s, %s, @@GLOBAL.server_id)",
        road, number, limit_s=3,
    )
    return number


async def arrived(session: Session, road: str, number: int) -> bool:
    """Whether that canary is there now."""
    rows = await session.rows(
        "SELECT number FROM slackwater.canary WHERE road = %s", road, limit_s=3
    )
    return bool(rows) and int(rows[0]["number"]) == number


async def expect(session: Session, road: str, number: int, *, at: str, limit_s: float) -> None:
    """Wait until the canary is there; raises StepFailed naming the server."""
    await wait_until(
        lambda: arrived(session, road, number), bool,
        what=f"the canary of {road!r} arriving on {at}", limit_s=limit_s, every_s=0.01,
    )
