"""Copy all data of one server into another, online: one step, whichever way is taken.

`CopyData(source, target, method, overwrite)` is for any operation whose world has both servers.
It leaves the target with the source's data, its accounts, and GTIDs that say where replication
has to begin; nobody writes there, and it does not replicate yet.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from slackwater import clock
from slackwater.errors import SlackwaterError, StepFailed
from slackwater.facts.setup import SYSTEM_SCHEMAS
from slackwater.operations.servers_world import ServersWorld, admin_address
from slackwater.operations.setup import copy_clone
from slackwater.operations.setup.copy_watch import Watch, awake
from slackwater.operations.snapshot.backup_moment import Wanted, take_within
from slackwater.outside.mysql import logical_copy, schema_copy
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.outside.mysql.logical_copy import Progress
from slackwater.outside.mysql.pace import paced
from slackwater.outside.mysql.session import Session
from slackwater.outside.mysql.setup import MAKE_MARKER, MARKER
from slackwater.outside.mysql.setup_dialect import setup_dialect
from slackwater.plan.step import Seen, Step

DUMP, CLONE = "dump", "clone"
METHOD_SAYS = {
    DUMP: "by SQL, from a snapshot of a transaction",
    CLONE: "by MySQL's clone plugin",
}
READERS = 2  # tables under way at once
LOCK_WITHIN_S = 60.0
# Writers on the source wait behind the lock for at most this long, and then for what opening the
# snapshots takes: some milliseconds.
LOCK_GRACE_S = 0.06
LOCK_HOLD_S = 2.0
LONGEST_S = 7 * 86_400.0


def copied(target: str) -> str:
    """Where a world's notes have the GTIDs that a target was copied at."""
    return f"copied {target}"


@dataclass(frozen=True)
class CopyData(Step[ServersWorld]):
    """Copy the data of {source} to {target} {how}"""

    source: str
    target: str
    method: str = DUMP
    overwrite: bool = False
    bytes_a_second: int = 0  # 0: no limit
    slow_ms: float = 0.0  # an answer of the source's that takes longer slows the copy down; 0: none
    limit_s: ClassVar[float] = LONGEST_S  # every wait within it has a limit of its own
    no_undo: ClassVar[str] = (
        "the target stays read-only; once it is marked as a copy that was cut off, what was there "
        "is thrown away, and the next run makes it anew"
    )
    stays: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"CopyData.{self.target}"

    @property
    def how(self) -> str:
        """For people."""
        lost = f"; {self.target}'s own is thrown away" if self.overwrite else ""
        return METHOD_SAYS[self.method] + lost

    async def do(self, world: ServersWorld) -> Seen:
        begun = clock.mono()
        watch = Watch(world, self.source, self.target)
        async with awake(world), paced(admin_address(world.config, self.source),
                                       self.slow_ms / 1000) as pace:
            watch.pace = pace
            if self.method == CLONE:
                gtids = await copy_clone.run(world, self.source, self.target,
                                             self.bytes_a_second, watch)
            else:
                gtids = await _dump(world, self.source, self.target, self.bytes_a_second, watch)
        world.note(copied(self.target), gtids)
        figures = world.figures.setdefault("copied", {})
        if pace is not None:
            watch.figures["pace"] = pace.figures
        figures[self.target] = watch.figures | {
            "method": self.method, "seconds": round(clock.mono() - begun, 1), "gtids": gtids,
        }
        return Seen.DONE

    async def verify(self, world: ServersWorld) -> Seen:
        if copied(self.target) not in world.notes:
            return Seen.NOT_DONE
        session = await world.session(self.target)
        if await mysql_setup.marker(session) is not None:
            return Seen.NOT_DONE
        has = await mysql_server.has_executed(session, world.notes[copied(self.target)])
        return Seen.DONE if has else Seen.NOT_DONE


async def _dump(
    world: ServersWorld, source: str, target: str, limit: int, watch: Watch
) -> str:
    """By SQL; returns the GTIDs at which the snapshot was taken."""
    config = world.config
    from_at, to_at = admin_address(config, source), admin_address(config, target)
    async with contextlib.AsyncExitStack() as stack:
        async def kept(session: Session) -> Session:
            stack.push_async_callback(session.close)
            return session

        control = await kept(await logical_copy.writer(to_at))
        await stack.enter_async_context(mysql_setup.closed_but_to_us(control))
        await empty_out(control, source)
        first = await kept(await logical_copy.reader(from_at))
        writers = [await kept(await logical_copy.writer(to_at)) for _ in range(READERS)]
        readers = [await kept(await logical_copy.reader(from_at)) for _ in range(READERS)]
        for session in (*writers, *readers):
            await logical_copy.for_data(session)
        gtids, blocked_ms = await _snapshot(world, source, readers)
        watch.figures["source_locked_ms"] = blocked_ms
        schemas = await _schemas(first)
        tables = await schema_copy.tables(first, schemas)
        watch.progress = Progress(sum(t.size for t in tables), limit, pace=watch.pace)
        largest = min([int(await s.value("SELECT @@max_allowed_packet")) for s in (first, control)])
        await schema_copy.create_databases(first, control, schemas)
        for table in tables:
            await schema_copy.create_table(first, control, table)
        await schema_copy.copy_sequences(first, control, schemas)
        waiting = list(reversed(tables))

        async def work(number: int) -> None:
            while waiting:
                table = waiting.pop()
                watch.table = f"{table.schema}.{table.name}"
                await logical_copy.copy_table(
                    readers[number], writers[number], table, watch.progress, largest, watch.show)

        await _all_or_first_fault(work(n) for n in range(READERS))
        made = await schema_copy.programs(first, schemas)
        watch.figures["accounts"] = await schema_copy.copy_accounts(first, control)
        await schema_copy.make_programs(control, made)
        watch.figures |= {"rows": watch.progress.rows, "bytes": watch.progress.bytes,
                          "tables": len(tables)}
        await mysql_setup.begin_at(control, gtids, "")
        await control.run(f"DROP TABLE {MARKER}")
    return gtids


async def _all_or_first_fault(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except* SlackwaterError as several:
        raise first_fault(several) from several


def first_fault(several: BaseExceptionGroup[SlackwaterError]) -> SlackwaterError:
    """One of those that failed; others failed because of it."""
    for each in several.exceptions:
        return first_fault(each) if isinstance(each, BaseExceptionGroup) else each
    raise AssertionError("a group has a member")


async def empty_out(control: Session, source: str) -> None:
    """Stop the target's replication, mark it, and throw away what is in it."""
    await mysql_server.stop_replica(control)
    await mysql_server.reset_replica(control)
    for statement in MAKE_MARKER:
        await control.run(statement)
    await control.run(f"REPLACE INTO {MARKER} VALUES (1, %s, %s)", source, clock.text(clock.unix()))
    await schema_copy.drop_databases(control)


async def _schemas(session: Session) -> list[str]:
    rows = await session.rows("SELECT SCHEMA_NAME AS S FROM information_schema.SCHEMATA")
    return [str(r["S"]) for r in rows if str(r["S"]).lower() not in SYSTEM_SCHEMAS]


async def _snapshot(
    world: ServersWorld, source: str, readers: list[Session]
) -> tuple[str, float]:
    """Begin the same snapshot in all readers, under a lock of some milliseconds; its GTIDs."""
    at = admin_address(world.config, source)
    kind = setup_dialect(readers[0].flavour).snapshot_lock
    wanted = Wanted(kind, LOCK_WITHIN_S, LOCK_HOLD_S, LOCK_GRACE_S)
    lock, attempts = await take_within(at, wanted)
    try:
        await asyncio.gather(*(logical_copy.begin_snapshot(r) for r in readers))
        if why := await lock.why_not_held():
            raise StepFailed(f"the snapshots on {source} are not of one moment: {why}")
        held_ms = round((clock.mono() - lock.since) * 1000, 1)
    finally:
        await lock.release()
    world.figures.setdefault("lock_attempts", {})[source] = attempts.tried
    return lock.coordinates.gtids, held_ms


@contextlib.asynccontextmanager
async def admin(world: ServersWorld, server: str) -> AsyncIterator[Session]:
    """A session of the administrator's for some statements."""
    session = await Session.open(admin_address(world.config, server), limit_s=3.0)
    try:
        yield session
    finally:
        await session.close()

