"""slackwater's advisory locks (GET_LOCK) on both servers: one operation at a time on a pair.

Each session that an operation keeps open has a lock of its own too, named after the journal. It is
how `recover` knows the sessions of its own dead process, whatever ids a server gives: a server that
heard nothing of that end, after a network cut, would keep them, and the pair's lock, for a minute.
So does the next operation know those of one that has ended.
"""

from __future__ import annotations

import time

from slackwater.errors import Refused, SlackwaterError
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.servers_world import SESSION_WAIT_TIMEOUT_S, ServersWorld
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import Session
from slackwater.plan import journal

# Keeps two slackwaters apart. Not named after the pair: another machine's file may have other names
# for the same servers. No server is in two pairs, so it keeps nobody else away.
LOCK = "slackwater"
LONGEST_NAME = 64  # MySQL's limit
SLOTS = ("control", "spare", "lock")  # the sessions of a Server


def mark_name(journal_id: str, slot: str) -> str:
    """The name of the lock by which one of an operation's sessions is known."""
    return f"slackwater/{journal_id}/{slot}"[-LONGEST_NAME:]


async def take(world: ServersWorld, name: str) -> bool:
    """Take the pair's lock on a server; False when another slackwater has it."""
    server = world.servers[name]
    await server.open()
    if world.journal is not None:
        await _end_dead(world, name, world.journal.id)
        for slot, own in (("control", server.control), ("spare", server.spare)):
            await mark(world, own, slot)
    return await take_unmarked(world, name)


async def take_unmarked(world: ServersWorld, name: str) -> bool:
    """The same, in a session that a later `recover` needs not know."""
    session = await world.session(name)
    if await mysql_server.take_lock(session, LOCK):
        return True
    owner = await left_by_an_ended(world, name)
    if owner is None:
        return False
    await world.end_session(name, owner)
    return await mysql_server.take_lock(session, LOCK)


async def left_by_an_ended(world: ServersWorld, name: str) -> int | None:
    """The session that has the pair's lock, where that is one of an operation recorded here which
    has ended: its last word to the server was lost. None else."""
    session = await world.session(name)
    owner = await mysql_server.lock_owner(session, LOCK)
    if owner is None:
        return None
    for ended in _just_ended(world):
        for slot in SLOTS:
            if await mysql_server.lock_owner(session, mark_name(ended, slot)) == owner:
                return owner
    return None


def _just_ended(world: ServersWorld) -> list[str]:
    """The journals of operations that have ended, and of which a server may still have sessions."""
    since = time.time() - 2 * SESSION_WAIT_TIMEOUT_S
    try:
        recorded = journal.read_all(world.config.state_directory, since=since)
    except journal.JournalError:
        return []
    # One without an outcome is at work; one that is unfinished may be, in a `recover`.
    return [past.id for past in recorded if past.outcome is not None and not past.unfinished]


async def mark(world: ServersWorld, session: Session | None, slot: str) -> None:
    """Have a session known by its slot to a later `recover`."""
    if session is None or not mysql_server.keeps_several_locks(session):
        return  # the pair's lock is the one that counts
    if world.journal is not None:
        await mysql_server.take_lock(session, mark_name(world.journal.id, slot))


async def _end_dead(world: ServersWorld, name: str, journal_id: str) -> None:
    """End what an earlier process left: no other works for this journal, `only_one` sees to that.

    Every session, for one may still be executing a statement that nobody waits for any more.
    """
    session = await world.session(name)
    for slot in SLOTS:
        owner = await mysql_server.lock_owner(session, mark_name(journal_id, slot))
        if owner is not None and owner not in world.own_ids(name):
            await world.end_session(name, owner)


async def release(world: ServersWorld, name: str) -> None:
    """Free the pair's lock, if the session that took it can still be used."""
    control = world.servers[name].control
    if control is not None and not control.broken:
        await mysql_server.release_lock(control, LOCK)


async def owned(world: ServersWorld, name: str) -> bool:
    """Whether the session to use on this server has the pair's lock."""
    session = await world.session(name)
    return await mysql_server.lock_owner(session, LOCK) == session.connection_id


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
