"""Looks of a schema change that need the data: what a way back would lose, room on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from slackwater.facts.alter_state import Change
from slackwater.facts.quoting import identifier
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.snapshot.look import is_local
from slackwater.outside.mysql import alter as mysql_alter
from slackwater.outside.mysql.session import MysqlError
from slackwater.outside.volumes import free_bytes
from slackwater.rules.alter_run import disk, losses

COUNT_LIMIT_S = 900.0
SHOWN = 3


async def lacks_conversions(world: PairWorld, change: Change, server: str) -> bool:
    """Whether a server does not convert what it must, as after a restart."""
    _, now = await mysql_alter.conversions(await world.session(server))
    return bool(change.lacks(server, now))


async def lost_values(world: PairWorld, active: str, change: Change) -> list[str]:
    """What is on the active, under the new schema, that the old schema cannot hold; [] = nothing.

    Reads each table that has such columns once, from end to end.
    """
    session = await world.servers[active].fresh()
    try:
        now = await mysql_alter.definitions(session, change.database, change.tables)
        asked, unknown = losses(change.before, now)
        found = [f"nobody can tell {what}" for what in unknown]
        for loss in asked:
            table = f"{identifier(change.database)}.{identifier(loss.table)}"
            try:
                count = int(await session.value(
                    f"SELECT COUNT(*) AS N FROM {table} WHERE {loss.condition}",
                    limit_s=COUNT_LIMIT_S,
                ))
            except MysqlError as error:
                found.append(f"{loss.table}: cannot look for {loss.what}: {error}")
                continue
            if not count:
                continue
            rows = ""
            if loss.key:
                names = ", ".join(map(identifier, loss.key))
                some = await session.rows(
                    f"SELECT {names} FROM {table} WHERE {loss.condition} LIMIT {SHOWN}",
                    limit_s=COUNT_LIMIT_S,
                )
                keys = ["/".join(str(v) for v in row.values()) for row in some]
                keys += ["…"] if count > SHOWN else []
                rows = f" ({', '.join(loss.key)} = {', '.join(keys)})"
            found.append(
                f"{change.database}.{loss.table} has {count} row(s) with {loss.what}{rows}"
            )
        return found
    finally:
        await session.close()


async def room(
    world: PairWorld, server: str, needed: Mapping[str, int]
) -> tuple[list[str], str]:
    """Reasons against a change that needs so many bytes for each table there, and what is said of
    the disk."""
    session = await world.session(server)
    free = None
    if is_local(world.servers[server].at):
        free = free_bytes(Path(str(await session.value("SELECT @@GLOBAL.datadir"))))
    return disk(needed, free, server)
