"""Make sure that the old server takes no writes: read-only where it answers, else by command."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.errors import OutsideError, SlackwaterError, StepFailed
from slackwater.operations import pair_lock
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.reopen import reopen_old
from slackwater.outside import command
from slackwater.outside.mysql import semi_sync
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.outside.mysql.close_resting import NOT_OURS
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.plan.step import Seen, Step

COMMAND_LIMIT_S = 10.0
CLOSE_LIMIT_S = 1.5
LATE_LIMIT_S = 4.0  # of one that answers, while nobody can write
AGAIN_S = 0.6
NO_WAIT = "semi-sync off"  # noted: servers that were told not to wait for a replica's word
FENCED = "fenced"  # noted: how, or why not


@dataclass(frozen=True)
class FenceOld(Step[PairWorld]):
    """Make {old} read-only if it answers, else run its fence command if it has one"""

    old: str
    new: str
    limit_s: ClassVar[float] = COMMAND_LIMIT_S + LATE_LIMIT_S + 10
    undo_limit_s: ClassVar[float] = 8.0  # what still waits there is ended first

    async def do(self, world: PairWorld) -> Seen:
        session, answers = answering(world, self.old), False
        if session is not None:
            try:
                world.note("was writable", await mysql_server.is_writable(session, limit_s=1))
                await close_for_good(world, self.old, session)
                tell(world, "it is read-only, and its clients' sessions are closed")
                return Seen.DONE
            except SlackwaterError as error:
                session.drop("it no longer answers")
                world.unreachable[self.old] = str(error)
                answers = await _answers(world, self.old)
        if not await self._by_command(world) and answers:
            await self._late(world)
        return Seen.DONE  # what was achieved is told; the balancers have cut it off in any case

    async def _late(self, world: PairWorld) -> None:
        """It is alive, but its read_only waits, for a transaction that is rolled back for instance:
        clients past the balancers would go on writing."""
        world.figures.pop(FENCED, None)
        await self._take_again(world)
        session = await world.session(self.old)
        try:
            await close_for_good(world, self.old, session, limit_s=LATE_LIMIT_S)
        except SlackwaterError as error:
            session.drop("it was not closed in time")
            await self._take_again(world)  # or that statement would close it after all, later
            raise StepFailed(
                f"{self.old} is alive, and cannot be made read-only: {error}",
                hint=f"see what its SHOW PROCESSLIST says that it waits for; or give {self.old} a "
                     "`fence` command, which ends it") from error
        tell(world, "it is read-only, and its clients' sessions are closed")

    async def _take_again(self, world: PairWorld) -> None:
        """New sessions with the pair's lock; those that we gave up are ended there."""
        if not await pair_lock.take(world, self.old):
            raise StepFailed(f"another slackwater has taken the lock on {self.old}")
        world.unreachable.pop(self.old, None)

    async def _by_command(self, world: PairWorld) -> bool:
        """Whether it has ended the old server."""
        words = shlex.split(world.config.servers[self.old].fence or "")
        if not words:
            tell(world, "it cannot be reached, so it is cut off at the balancers only")
            return False
        try:
            code, said = await command.run(words, limit_s=COMMAND_LIMIT_S)
        except StepFailed as error:
            tell(world, f"its fence command failed: {error}")
            return False
        end = said.strip().splitlines()[-1:] or [""]
        tell(world, "its fence command has ended it" if code == 0 else
             f"its fence command failed with exit code {code}: {end[0][:200]}")
        return code == 0

    async def verify(self, world: PairWorld) -> Seen:
        return Seen.DONE if FENCED in world.figures else Seen.NOT_DONE

    async def undo(self, world: PairWorld) -> None:
        if world.notes.get("was writable"):
            await reopen_old(world, self.old, self.new)
            await wait_again(world, self.old)


def tell(world: PairWorld, how: str) -> None:
    """Put into the report, and the journal, what was done to the old server."""
    world.figures[FENCED] = how
    world.note(FENCED, how)


async def _answers(world: PairWorld, name: str) -> bool:
    """Whether it says anything at all: one that was stopped, or is cut off by now, does not."""
    spare = answering(world, name)
    try:
        session = spare or await world.servers[name].fresh(limit_s=AGAIN_S)
        try:
            await mysql_server.is_writable(session, limit_s=AGAIN_S)
        finally:
            if spare is None:
                await session.close()
    except SlackwaterError:
        return False
    return True


def answering(world: PairWorld, name: str) -> Session | None:
    """The session that a server answered by, if it can still be used."""
    server = world.servers[name]
    usable = (s for s in (server.control, server.spare) if s is not None and not s.broken)
    return next(usable, None)


async def close_for_good(
    world: PairWorld, name: str, session: Session, *, limit_s: float = CLOSE_LIMIT_S,
    tries: int = 0,
) -> None:
    """Read-only, and no client's session left. `limit_s`: for its read_only to take effect, which
    waits for commits under way; `tries`: instead, a second each, for a server that applies what
    others write and may have to be let go on in between. Raises OutsideError."""
    await _end_clients(world, name, session)  # whom its read_only would wait for
    # Nor for commits that wait for a replica's word, which no longer comes: their clients are gone.
    await stop_waiting(world, name, session)
    if tries:
        await mysql_setup.close(session, tries=tries, between=lambda: _free(world, name, session))
    else:
        await mysql_server.set_read_only(session, True, limit_s=limit_s)
    await _end_clients(world, name, session)


async def stop_waiting(world: PairWorld, name: str, session: Session) -> None:
    """Have commits wait for no replica's word (semi-sync); noted for `pair rejoin`."""
    found = await semi_sync.look(session, limit_s=CLOSE_LIMIT_S)
    if found and found.source:
        world.note(NO_WAIT, sorted({*world.notes.get(NO_WAIT, []), name}))
        await semi_sync.set_source(session, False, limit_s=CLOSE_LIMIT_S)


async def _free(world: PairWorld, name: str, session: Session) -> None:
    """End the wait of a worker that applies what others wrote, and waits for a word although that
    was switched off: it may have begun to in that very moment, and nothing wakes it till it is
    killed (seen on MariaDB 10.11). What it waited with is in the binary log and is committed."""
    found = await semi_sync.look(session, limit_s=CLOSE_LIMIT_S)
    if found is None or found.source:
        return
    for worker in await semi_sync.waiting(session, limit_s=CLOSE_LIMIT_S):
        await mysql_server.kill(session, worker, limit_s=CLOSE_LIMIT_S)
        world.tell({"at": clock.unix(), "event": "told", "text":
                    f"{name}: replication worker {worker} waited for a semi-sync word although "
                    "that is switched off; it was ended"})


async def wait_again(world: PairWorld, name: str) -> None:
    """Undo `stop_waiting` of this operation, if it did anything."""
    names: list[str] = world.notes.get(NO_WAIT, [])
    if name in names:
        await semi_sync.set_source(await world.session(name), True)
        world.note(NO_WAIT, [n for n in names if n != name])


async def _end_clients(world: PairWorld, name: str, session: Session) -> None:
    found = await mysql_server.client_sessions(session, world.own_ids(name), limit_s=CLOSE_LIMIT_S)
    for client in found:
        if client.user == world.servers[name].at.user:
            continue
        try:
            await mysql_server.kill(session, client.id, limit_s=CLOSE_LIMIT_S)
        except MysqlError as error:
            if error.code != NOT_OURS:
                raise


async def fenced_now(world: PairWorld, name: str, *, limit_s: float) -> bool | None:
    """Look once more at a server that did not answer: True when it is closed now, None when it
    still does not answer. Raises OutsideError when it answers and cannot be closed."""
    if (session := answering(world, name)) is None:
        try:
            session = await world.servers[name].fresh(limit_s=limit_s)
        except OutsideError as error:
            if isinstance(error, MysqlError):
                raise
            return None
        world.servers[name].control = session
        world.unreachable.pop(name, None)
    if await mysql_server.is_writable(session, limit_s=1):
        await close_for_good(world, name, session)
    return True
