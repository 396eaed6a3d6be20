"""Copy all data by mariadb-backup: a stream of files beside the target's own, which then take their
place while its server is down.

`StreamBackup` touches nothing of the target; `UseBackup` stops it, moves its data aside, starts it
with the copy, and puts back what was when anything fails, up to the end of the operation;
`DropReplaced` takes away what was moved aside, once replication is proven.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, ClassVar

from slackwater import clock
from slackwater.errors import OutsideError, SlackwaterError, StepFailed
from slackwater.operations import pair_lock
from slackwater.operations.servers_world import admin_address
from slackwater.operations.setup import backup_look
from slackwater.operations.setup.backup_look import login, place
from slackwater.operations.setup.backup_position import gtids_of, unsure_of
from slackwater.operations.setup.come_back import BACK_LIMIT_S, back, start
from slackwater.operations.setup.copy_watch import Watch, awake
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside import sent_backup
from slackwater.outside.mysql import physical_copy
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.outside.mysql.backup_lock import read_coordinates
from slackwater.outside.mysql.logical_copy import Progress
from slackwater.outside.mysql.pace import paced
from slackwater.outside.mysql.physical_copy import Place
from slackwater.outside.mysql.session import Session
from slackwater.outside.stream import Stream
from slackwater.plan.step import Seen, Step

HOLD_S = 2.0  # the longest that it may block commits; then it is ended, and the source lets go
STALL_S = 900.0  # without a byte
STOP_S = 120
LONGEST_S = 7 * 86_400.0


def _key(target: str) -> str:
    """Where a world's notes have the directories of a target."""
    return f"backup {target}"


def _probe(server: str) -> str:
    """Where they have the database that is made there for a moment; "" once it is gone."""
    return f"backup probe {server}"


@dataclass(frozen=True)
class StreamBackup(Step[SetupWorld]):
    """Copy the data of {source} to the host of {target} by mariadb-backup, beside what is there"""

    source: str
    target: str
    bytes_a_second: int = 0  # 0: no limit
    slow_ms: float = 0.0  # an answer of the source's that takes longer slows the copy down; 0: none
    limit_s: ClassVar[float] = LONGEST_S  # every wait within it has a limit of its own
    undo_limit_s: ClassVar[float] = 300.0

    @property
    def name(self) -> str:
        return f"StreamBackup.{self.target}"

    async def precheck(self, world: SetupWorld) -> list[str]:
        why = await backup_look.why_not(world, self.source, self.target)
        if why:
            return [f"{self.target}: mariadb-backup cannot be used: {why}"]
        old = (await place(world, self.target)).beside("old")
        if await physical_copy.exists(world.hosts[self.target], old):
            return [f"{old} is there, the data of {self.target} before another copy: look at it, "
                    "and move it elsewhere or delete it"]
        return []

    async def do(self, world: SetupWorld) -> Seen:
        begun = clock.mono()
        host = world.hosts[self.target]
        there = await place(world, self.target)
        new, old = there.beside("new"), there.beside("old")
        for name in (self.source, self.target):
            await _is_its_own(world, name)
        world.note(_key(self.target), {"real": there.real, "new": new, "old": old})
        await physical_copy.remove(host, new)
        before = await read_coordinates(await world.session(self.source), exact=False)
        watch = Watch(world, self.source, self.target)
        async with awake(world):
            async with paced(admin_address(world.config, self.source),
                             self.slow_ms / 1000) as watch.pace:
                await _stream(world, self, new, watch)
            if watch.pace is not None:
                watch.figures["pace"] = watch.pace.figures
            world.tell({"at": clock.unix(), "event": "told",
                        "text": f"{self.target}: the copy is there, and is prepared now"})
            await physical_copy.prepare(host, there, new)
            file, at, said = await physical_copy.position(host, new)
            if (file, at) != (before.file, before.position):
                session = await world.session(self.source)
                unsure = await unsure_of(host, new, (file, at), session.flavour.version)
                if unsure:
                    watch.figures["unsure"] = unsure
            gtids = await gtids_of(world, self.source, file, at, said)
            world.note(f"backup position {self.target}", gtids)
            await physical_copy.make_alike(host, new, there)
        world.note(f"backup whole {self.target}", True)
        figures = world.figures.setdefault("copied", {})
        figures[self.target] = watch.figures | {
            "method": backup_look.BACKUP, "seconds": round(clock.mono() - begun, 1)}
        return Seen.DONE

    async def verify(self, world: SetupWorld) -> Seen:
        noted = world.notes.get(_key(self.target))
        if not noted or f"backup whole {self.target}" not in world.notes:
            return Seen.NOT_DONE
        there = await physical_copy.exists(world.hosts[self.target], noted["new"])
        return Seen.DONE if there else Seen.NOT_DONE

    async def undo(self, world: SetupWorld) -> None:
        """Take the copy away, and one that was put back out of its place."""
        for name in (self.source, self.target):
            if probe := world.notes.get(_probe(name)):
                await _drop(world, name, probe)
        if noted := world.notes.get(_key(self.target)):
            await physical_copy.remove(
                world.hosts[self.target], noted["new"],
                *(f"{noted['old']}.{end}" for end in physical_copy.LEFT))


async def _is_its_own(world: SetupWorld, name: str) -> None:
    """The directory on the host is this server's, not one at the same path of another, as beside a
    server in a container: a database that is made for a moment is to be seen there."""
    session, there = await world.session(name), await place(world, name)
    probe = f"slackwater_{secrets.token_hex(6)}"
    world.note(_probe(name), probe)  # who is killed meanwhile leaves it there
    await session.run("SET SESSION sql_log_bin = 0")
    try:
        await session.run(f"CREATE DATABASE {probe}")
        seen = await physical_copy.exists(world.hosts[name], f"{there.real}/{probe}")
    finally:
        if session.broken is None:
            await session.run("SET SESSION sql_log_bin = 1")
            await _drop(world, name, probe)
    if not seen:
        raise StepFailed(f"{there.real} on {name}'s host is not the data directory of {name}, but "
                         "another server's: is it in a container?", hint="use --method dump")


async def _drop(world: SetupWorld, name: str, probe: str) -> None:
    session = await world.session(name)
    await session.run("SET SESSION sql_log_bin = 0")
    try:
        await session.run(f"DROP DATABASE IF EXISTS {probe}")
        world.note(_probe(name), "")
    finally:
        if session.broken is None:
            await session.run("SET SESSION sql_log_bin = 1")


async def _stream(world: SetupWorld, step: StreamBackup, new: str, watch: Watch) -> None:
    """From mariadb-backup on the source's host through us to the target's."""
    from_place, to_place = await place(world, step.source), await place(world, step.target)
    from_host, to_host = world.hosts[step.source], world.hosts[step.target]
    packed = (not (from_host.here and to_host.here)) and from_place.zstd and to_place.zstd
    at = await login(world, step.source)
    size = await _size(world, step.source)
    watch.progress = Progress(0 if packed else size, step.bytes_a_second, pace=watch.pace)
    async with contextlib.AsyncExitStack() as stack:
        into = await physical_copy.unpack(to_host, to_place, new, packed=packed)
        stack.push_async_callback(into.close)
        out = await physical_copy.backup(from_host, from_place, at, hold_s=HOLD_S, packed=packed)
        stack.push_async_callback(out.close)
        heard = asyncio.ensure_future(_hear(out))
        complaints = asyncio.ensure_future(_words(into))
        stack.callback(heard.cancel)
        stack.callback(complaints.cancel)
        try:
            await _relay(step, out, into, watch)
        except OutsideError as error:
            into.end()
            said = " | ".join(await asyncio.wait_for(complaints, 10))
            raise StepFailed(f"the stream to {step.target} broke: {said or error}") from error
        async with _stalling(f"mariadb-backup on {step.source}'s host"):
            code, end = await out.wait(), await heard
        if code or end.get("code") or end.get("why"):
            said = " | ".join(end.get("said", []))
            why = end.get("why") or " | ".join(end.get("said", [])[-4:]) or f"exit code {code}"
            raise StepFailed(f"mariadb-backup on {step.source}'s host failed: {why}",
                             hint=_what_helps(why, said))
        into.end()
        async with _stalling(f"mbstream on {step.target}'s host"):
            code = await into.wait()
        if code:
            raise StepFailed(f"mbstream on {step.target}'s host failed: "
                             + (" | ".join(await complaints) or f"exit code {code}"))
    watch.figures |= {"bytes": end.get("bytes", watch.progress.bytes),
                      "sent": watch.progress.bytes, "packed": packed,
                      "source_locked_ms": end.get("blocked_ms", 0.0)}


def _what_helps(why: str, said: str) -> str:
    """After its end: `why`, or what it said; the guard may have ended it before it came to that."""
    if physical_copy.STUCK in said:
        return ("the source's redo log was overwritten faster than it is copied, or mariadb-backup "
                "got stuck in it (MDEV-39468, in versions before its mend): the same command again "
                "copies anew; --method dump copies by SQL and needs no redo log")
    if sent_backup.HELD in why:
        return ("it copies the end of the source's redo log meanwhile, which took too long, or got "
                "stuck: the same command again copies anew, best when the source has less to do; "
                "--method dump copies by SQL and needs no redo log")
    return "see above; --method dump copies by SQL"


async def _size(world: SetupWorld, source: str) -> int:
    async with await world.servers[source].fresh() as session:  # `awake` uses the others
        return sum(s.size for s in await mysql_setup.schemas(session))


@contextlib.asynccontextmanager
async def _stalling(who: str) -> AsyncIterator[None]:
    """Wait for it, but not for ever; it is ended by who began it."""
    try:
        async with asyncio.timeout(STALL_S):
            yield
    except TimeoutError:
        raise StepFailed(f"{who} did nothing for {STALL_S:g} s") from None


async def _relay(step: StreamBackup, out: Stream, into: Stream, watch: Watch) -> None:
    while True:
        async with _stalling(f"mariadb-backup on {step.source}'s host"):
            data = await out.read()
        if not data:
            return
        async with _stalling(f"mbstream on {step.target}'s host"):
            await into.write(data)
        await watch.progress.moved(len(data), 0)
        watch.show()


async def _hear(out: Stream) -> dict[str, Any]:
    """What the guard of mariadb-backup says at its end."""
    end: dict[str, Any] = {}
    async for line in out.lines():
        try:
            said = json.loads(line)
        except ValueError:
            end.setdefault("said", []).append(line)
            continue
        if said.get("event") == "end":
            end = said
    return end


async def _words(into: Stream) -> list[str]:
    return [line async for line in into.lines()][-5:]


@dataclass(frozen=True)
class UseBackup(Step[SetupWorld]):
    """Stop {target}, put the copy in the place of its data, and start it closed to writers"""

    source: str
    target: str
    overwrite: bool = False
    limit_s: ClassVar[float] = STOP_S * 2 + BACK_LIMIT_S * 2 + 120
    undo_limit_s: ClassVar[float] = STOP_S * 2 + BACK_LIMIT_S + 60

    @property
    def name(self) -> str:
        return f"UseBackup.{self.target}"

    async def do(self, world: SetupWorld) -> Seen:
        noted, host = world.notes[_key(self.target)], world.hosts[self.target]
        gtids = world.notes[f"backup position {self.target}"]
        before = await _logged(await world.session(self.target))
        world.note(f"replacing {self.target}", True)
        await physical_copy.replace(host, noted["real"], noted["new"], noted["old"],
                                    limit_s=STOP_S)
        await start(world, self.target)
        async with await back(world, self.target) as session:
            there = await _runs_with(world, session, self.target)
            if noted["real"] != there.real or not there.pids:
                raise StepFailed(f"{self.target} is up, but not with {noted['real']}")
            if wrote := await _logged(session) - before:
                raise StepFailed(
                    f"{self.target} has written into the copy as it started "
                    f"({', '.join(sorted(wrote))}): an event of the source's, or a client that may",
                    hint="event_scheduler = OFF in its option file, until the set-up is done")
            await _settle(session, gtids)
            world.note(f"copied {self.target}", gtids)
            await world.servers[self.target].renew()
            await pair_lock.take(world, self.target)
        world.figures.setdefault("copied", {}).setdefault(self.target, {})["gtids"] = gtids
        return Seen.DONE

    async def verify(self, world: SetupWorld) -> Seen:
        if f"copied {self.target}" not in world.notes:
            return Seen.NOT_DONE
        session = await world.session(self.target)
        has = await mysql_server.has_executed(session, world.notes[f"copied {self.target}"])
        return Seen.DONE if has else Seen.NOT_DONE

    async def undo(self, world: SetupWorld) -> None:
        """The data that was there is put back, and the server runs with it."""
        if f"replacing {self.target}" not in world.notes:
            return
        noted, host = world.notes[_key(self.target)], world.hosts[self.target]
        if await physical_copy.put_back(host, noted["real"], noted["old"], limit_s=STOP_S):
            await start(world, self.target)
        session = await back(world, self.target)
        await session.close()
        await world.servers[self.target].renew()
        await pair_lock.take(world, self.target)


async def _logged(session: Session) -> set[str]:
    """The last GTID of each server in its binary log: where that lies with the data, a copy begins
    with none."""
    return set(filter(None, str(await session.value("SELECT @@gtid_binlog_state")).split(",")))


async def _runs_with(world: SetupWorld, session: Session, target: str) -> Place:
    rows = await session.rows("SELECT @@datadir AS d, @@basedir AS b")
    return await physical_copy.look(world.hosts[target], str(rows[0]["d"]), str(rows[0]["b"]))


async def _settle(session: Session, gtids: str) -> None:
    """What differs between a copy and a replica: events, and where replication begins."""
    await session.run("SET SESSION sql_log_bin = 0")
    await mysql_setup.events_stay_off(session, before=False)
    await mysql_server.stop_replica(session)
    await mysql_server.reset_replica(session)
    await mysql_setup.begin_at(session, gtids, "")


@dataclass(frozen=True)
class DropReplaced(Step[SetupWorld]):
    """Delete the data that {target} had before, now that replication is proven"""

    target: str
    limit_s: ClassVar[float] = 1900.0
    no_undo: ClassVar[str] = "the copy in its place is proven"
    stays: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return f"DropReplaced.{self.target}"

    async def do(self, world: SetupWorld) -> Seen:
        noted = world.notes[_key(self.target)]
        try:
            await physical_copy.forget(world.hosts[self.target], noted["old"])
        except SlackwaterError as error:  # no reason to undo what is proven
            world.figures["left_over"] = f"{noted['old']}: {error}"
        return Seen.DONE

    async def verify(self, world: SetupWorld) -> Seen:
        noted = world.notes[_key(self.target)]
        there = await physical_copy.exists(world.hosts[self.target], noted["old"])
        return Seen.NOT_DONE if there else Seen.DONE
