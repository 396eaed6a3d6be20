"""slackwater's advisory locks (GET_LOCK) on both servers: one operation at a time on a pair.

A session that takes the pair's lock has first taken another, named after its operation's journal.
It is how `recover` knows a session of its own dead process, whatever ids a server gives: a server
that heard nothing of that end, after a network cut, would keep the lock for a minute.
"""

from __future__ import annotations

from slackwater.errors import Refused, SlackwaterError
from slackwater.operations.pair_world import PairWorld
from slackwater.outside import mysql_server

LONGEST_NAME = 64  # MySQL's limit


def lock_name(world: PairWorld) -> str:
    """The name of the lock that keeps two slackwaters apart."""
    return f"slackwater:{world.name}"[:LONGEST_NAME]


def mark_name(world: PairWorld) -> str:
    """The name of the lock by which an operation's sessions are known; "" without a journal."""
    return f"slackwater/{world.journal.id}"[-LONGEST_NAME:] if world.journal else ""


async def take(world: PairWorld, name: str) -> bool:
    """Take the pair's lock on a server; False when another slackwater has it."""
    session = await world.session(name)
    if mark := mark_name(world):
        dead = await mysql_server.lock_owner(session, mark)
        if dead is not None and dead != session.connection_id:
            # No other process works for this journal: `only_one` saw to that.
            await world.end_session(name, dead)
        await mysql_server.take_lock(session, mark)
    return await mysql_server.take_lock(session, lock_name(world))


async def release(world: PairWorld, name: str) -> None:
    """Free both locks, if the session that took them can still be used."""
    server = world.servers[name]
    for session in (server.control, server.spare):
        if session is None or session.broken:
            continue
        await mysql_server.release_lock(session, lock_name(world))
        if mark := mark_name(world):
            await mysql_server.release_lock(session, mark)


async def owned(world: PairWorld, name: str) -> bool:
    """Whether the session to use on this server has the pair's lock."""
    session = await world.session(name)
    return await mysql_server.lock_owner(session, lock_name(world)) == session.connection_id


async def claim(world: PairWorld) -> None:
    """Before recovering: take the pair's locks on every server that can be reached.

    Raises Refused when another slackwater, here or elsewhere, still holds one.
    """
    for name in world.pair:
        if name not in world.unreachable:
            await _claim(world, name)


async def claim_late(world: PairWorld) -> None:
    """Before what was seen of a server decides: take its lock, if it could not be reached when
    `claim` was at work and can be now. Raises Refused as that does."""
    for name in [n for n in world.pair if n in world.unreachable]:
        try:
            await world.servers[name].open()
        except SlackwaterError:
            continue
        await _claim(world, name)
        del world.unreachable[name]


async def _claim(world: PairWorld, name: str) -> None:
    if not await take(world, name):
        raise Refused(
            "cannot recover",
            [f"another slackwater holds the lock on {name}, or died less than a minute ago"],
            hint="wait a minute and try again; `slackwater status` shows what is going on",
        )
