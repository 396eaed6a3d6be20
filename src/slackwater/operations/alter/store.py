"""Where the state of a schema change is kept: `slackwater.alteration`, a row for each change.

Written on the active through the binary log, so that both servers and all replicas have it: the
loss of the operator's host, with its journal, loses nothing of it.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from slackwater import clock
from slackwater.errors import StepFailed
from slackwater.facts.alter_state import ENDED, Change, Filling
from slackwater.operations.servers_world import ServersWorld
from slackwater.outside.mysql.session import MysqlError, Session

TABLE = "slackwater.alteration"
_CREATE = (
    "CREATE DATABASE IF NOT EXISTS slackwater",
    "CREATE TABLE IF NOT EXISTS slackwater.alteration (id VARCHAR(64) NOT NULL PRIMARY KEY,"
    " state VARCHAR(32) NOT NULL, document LONGTEXT NOT NULL) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS slackwater.alteration_data (id VARCHAR(64) NOT NULL, number INT"
    " NOT NULL, document LONGTEXT NOT NULL, PRIMARY KEY (id, number)) ENGINE=InnoDB",
)
_TUPLES = ("statements", "replicas", "modes_first", "modes_other", "data", "drained",
           "lifted")
_NOT_THERE = frozenset({1146, 1049, 1142, 1044})


def to_text(change: Change) -> str:
    """As the table's document, and in journals."""
    return json.dumps(dataclasses.asdict(change), separators=(",", ":"))


def from_text(text: str) -> Change:
    """From `to_text`; what a newer slackwater has added is left out."""
    raw: dict[str, Any] = json.loads(text)
    known = {f.name for f in dataclasses.fields(Change)}
    values: dict[str, Any] = {
        k: tuple(v) if k in _TUPLES else v for k, v in raw.items() if k in known
    }
    return Change(**values)


async def create(session: Session) -> None:
    """Make the table, if it is not there; replicated like any other."""
    for statement in _CREATE:
        await session.run(statement, limit_s=10)


async def open_change(session: Session) -> Change | None:
    """The change that has not ended, as this server knows it."""
    ended = ",".join(f"'{s}'" for s in ENDED)
    try:
        rows = await session.rows(
            f"SELECT document FROM {TABLE} WHERE state NOT IN ({ended}) ORDER BY id DESC LIMIT 1"
        )
    except MysqlError as error:
        if error.code in _NOT_THERE:
            return None
        raise
    return from_text(str(rows[0]["document"])) if rows else None


async def read(session: Session, change_id: str) -> Change | None:
    """One change, also one that has ended."""
    try:
        rows = await session.rows(f"SELECT document FROM {TABLE} WHERE id = %s", change_id)
    except MysqlError as error:
        if error.code in _NOT_THERE:
            return None
        raise
    return from_text(str(rows[0]["document"])) if rows else None


async def current(world: ServersWorld, active: str, change_id: str) -> Change:
    """As the active has it. Raises StepFailed when it has none."""
    found = await read(await world.session(active), change_id)
    if found is None:
        raise StepFailed(f"{active} does not know the schema change {change_id}")
    return found


async def write(world: ServersWorld, active: str, change: Change) -> Change:
    """Put a change down on the active."""
    await (await world.session(active)).run(
        f"REPLACE INTO {TABLE} (id, state, document) VALUES (%s, %s, %s)",
        change.id, change.state, to_text(change), limit_s=10,
    )
    return change


async def update(world: ServersWorld, active: str, change_id: str, **fields: Any) -> Change:
    """Change some fields of it; a new `state` begins now."""
    change = await current(world, active, change_id)
    if fields.get("state", change.state) != change.state:
        fields.setdefault("since", clock.unix())
    return await write(world, active, dataclasses.replace(change, **fields))


# --- how far a data statement is -----------------------------------------------------------------


async def filling(session: Session, change_id: str, number: int) -> Filling | None:
    """What is written down of a data statement; None before its first chunk."""
    try:
        rows = await session.rows(
            "SELECT document FROM slackwater.alteration_data WHERE id = %s AND number = %s",
            change_id, number,
        )
    except MysqlError as error:
        if error.code in _NOT_THERE:
            return None
        raise
    if not rows:
        return None
    raw: dict[str, Any] = json.loads(str(rows[0]["document"]))
    raw["last"] = None if raw["last"] is None else tuple(raw["last"])
    return Filling(**raw)


async def put_filling(session: Session, change_id: str, number: int, at: Filling) -> None:
    """Write it down, in the session's transaction."""
    await session.run(
        "REPLACE INTO slackwater.alteration_data (id, number, document) VALUES (%s, %s, %s)",
        change_id, number, json.dumps(dataclasses.asdict(at)), limit_s=10,
    )
