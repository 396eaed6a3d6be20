"""Run a change's data statements: once, on the active, in chunks, through its binary log as rows.

Each chunk is a transaction that also writes down where it ended. So a chunk that was cut off never
was, one whose commit was not heard of is known by its mark, and no row is gone through twice, by
whichever host goes on. A chunk takes a tenth of a second or so and waits a second for a lock at
most; the next one waits until every replica has the one before.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from slackwater import clock
from slackwater.errors import OutsideError, StepFailed
from slackwater.facts.alter_data import DataStatement, Shape, shape
from slackwater.facts.alter_script import split
from slackwater.facts.alter_state import Change, Filling
from slackwater.facts.compare import Hash
from slackwater.facts.duration import seconds_text
from slackwater.facts.quoting import identifier
from slackwater.facts.tables import Table
from slackwater.operations.alter import server as alter_server
from slackwater.operations.alter import store
from slackwater.operations.alter.record import SKIP, must_be_alike
from slackwater.operations.alter.watch import TELL_EVERY_S
from slackwater.operations.keep_alive import SLICE_S, keep_alive
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.switchover.after import FORWARD
from slackwater.outside.mysql import alter as mysql_alter
from slackwater.outside.mysql import compare as mysql_compare
from slackwater.outside.mysql import compare_sql
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql import tables as mysql_tables
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.plan.step import Seen, Step
from slackwater.rules.alter.backfill import unfit
from slackwater.rules.alter.pace import FIRST_ROWS, fewer_rows, next_rows
from slackwater.rules.alter.values import of_the_moment
from slackwater.rules.alter_run import time_left_s

STATEMENT_S = 60.0  # of one chunk: far more than it should take
LOCKED_S = 120.0  # so long a chunk is tried again that finds rows locked
COUNT_S = 30.0  # of the look for rows that were written meanwhile


@dataclass(frozen=True)
class Backfill(Step[PairWorld]):
    """Run {count} data statement(s) on {active} in chunks, as slowly as {servers} keep up"""

    active: str
    servers: tuple[str, ...]
    change: str
    count: int
    skip: bool = False
    limit_s: ClassVar[float] = alter_server.LONGEST_S
    forward_tries: ClassVar[int] = 1
    no_undo: ClassVar[str] = FORWARD

    async def do(self, world: PairWorld) -> Seen:
        if self._skips(world):
            world.figures["data_skipped"] = True
            return Seen.DONE
        await alter_server.end_or_wait(world, self.active, self.active, self.change, end=True)
        await store.create(await world.session(self.active))
        change = await must_be_alike(world, self.active, self.change)
        for number in range(len(change.data)):
            await _Run(world, self, change, number).all_chunks()
            await store.update(world, self.active, self.change, filled=number + 1)
        return Seen.DONE

    async def verify(self, world: PairWorld) -> Seen:
        if self._skips(world):
            return Seen.DONE
        change = await store.current(world, self.active, self.change)
        return Seen.DONE if change.filled >= len(change.data) else Seen.NOT_DONE

    def _skips(self, world: PairWorld) -> bool:
        return self.skip or bool(world.notes.get(SKIP))


class _Run:
    """One data statement."""

    def __init__(self, world: PairWorld, step: Backfill, change: Change, number: int) -> None:
        self.world, self.step, self.change, self.number = world, step, change, number
        self.data: DataStatement = shape(split(change.data[number])[0], change.database)
        self.title = f"data statement {number + 1} of {len(change.data)}"
        self.begun = self.told = clock.mono()
        self.position = ""  # of the chunk before: every replica has to have it

    async def all_chunks(self) -> None:
        """From where it is to its end."""
        worker = await self.world.servers[self.step.active].fresh()
        try:
            if not await mysql_server.take_lock(worker, alter_server.worker_lock(self.change.id)):
                raise StepFailed(f"another session works on {self.step.active} for this change")
            at = await store.filling(worker, self.change.id, self.number)
            if at is None:
                at = Filling(clock.unix())
                await store.put_filling(worker, self.change.id, self.number, at)
            await mysql_alter.prepare_filler(
                worker, self.change.database,
                at=at.at if of_the_moment(self.data.text) else None)
            began_at = at
            table = await self._table(worker)
            rows = FIRST_ROWS
            while not at.done:
                at, rows = await self._chunk(worker, table, at, rows)
                await self._paced(worker)
                self._tell(at, began_at, table)
            await self._ended(worker, at)
        finally:
            await worker.close()

    async def _table(self, worker: Session) -> Table | None:
        """The table whose key makes the chunks; None where there are none."""
        known = await mysql_tables.tables(worker)
        near = {t.name.lower(): t for t in known.values() if t.schema == self.change.database}
        if why := unfit(self.data, near):
            raise StepFailed(f"{self.title}: {why}")
        return near.get(self.data.walked.lower())

    async def _chunk(
        self, worker: Session, table: Table | None, at: Filling, rows: int
    ) -> tuple[Filling, int]:
        """One transaction; where it ended, and of how many rows the next one is to be."""
        ends = clock.mono() + LOCKED_S
        while True:
            begun = clock.mono()
            try:
                found = await self._transaction(worker, table, at, rows)
                return found, next_rows(rows, clock.mono() - begun)
            except MysqlError as error:
                await worker.run("ROLLBACK")
                if not mysql_compare.busy(error) or clock.mono() > ends:
                    behind = f" behind {compare_sql.shown(table, at.last)}" if (
                        table is not None and at.last is not None) else ""
                    raise StepFailed(
                        f"{self.title}: {error}; {at.chunks} chunk(s) are done, and the next one"
                        f"{behind} changed nothing (`slackwater alter finish` goes on there; with "
                        "--skip-data it leaves the rest)") from error
            rows = fewer_rows(rows)
            await keep_alive(self.world)

    async def _transaction(
        self, worker: Session, table: Table | None, at: Filling, rows: int
    ) -> Filling:
        to, statement = None, self.data.text
        if table is not None:
            reader = mysql_compare.Reader(worker, table, Hash.SHA2, (), limit_s=STATEMENT_S)
            to = await reader.end_of_chunk(at.last, rows)
            statement = self.data.within(compare_sql.inside(table, at.last, to))
        await worker.run("BEGIN")
        changed = await worker.run(statement, limit_s=STATEMENT_S)
        found = dataclasses.replace(
            at, last=to if to is not None else at.last, rows=at.rows + changed,
            seen=at.seen + rows, chunks=at.chunks + 1, done=to is None)
        await store.put_filling(worker, self.change.id, self.number, found)
        await worker.run("COMMIT", limit_s=STATEMENT_S)
        return found

    async def _paced(self, worker: Session) -> None:
        """Wait until every replica has the chunk before the one that was just written."""
        for server in self.step.servers:
            session = await self.world.session(server)
            while self.position and not await mysql_server.wait_executed(
                session, self.position, limit_s=SLICE_S
            ):
                await worker.rows("SELECT 1")
                await keep_alive(self.world)
                status = await mysql_server.replica_status(session)
                if stopped := [c.sql_error or "stopped" for c in status if not c.sql_running]:
                    raise StepFailed(f"{server}: replication stopped: {'; '.join(stopped)}")
        await keep_alive(self.world)
        self.position = await mysql_server.executed_text(worker)

    def _tell(self, at: Filling, before: Filling, table: Table | None) -> None:
        now = clock.mono()
        if not at.done and now - self.told < TELL_EVERY_S:
            return
        self.told = now
        # How many rows there are is the server's estimate.
        most = max(table.rows if table else 0, at.seen + 1)
        part = 1.0 if at.done else at.seen / most
        here = (at.seen - before.seen) / max(most - before.seen, 1)
        left = None if at.done else time_left_s(here, now - self.begun)
        text = (f"{self.step.active}: {self.title}: {part:.0%}, {at.rows} row(s) in {at.chunks} "
                "chunk(s)" + (f", {seconds_text(left)} left" if left is not None else ""))
        self.world.tell({
            "at": clock.unix(), "event": "told", "text": text, "server": self.step.active,
            "percent": round(part * 100, 1), "left_s": None if left is None else round(left, 1),
            "rows": at.rows, "chunks": at.chunks})

    async def _ended(self, worker: Session, at: Filling) -> None:
        await self._paced(worker)  # for the last chunk
        found: dict[str, Any] = {
            "statement": self.data.text, "rows": at.rows, "chunks": at.chunks}
        if self.data.settles and self.data.shape is not Shape.ROWS:
            found["match_again"] = await self._match_again(worker)
        self.world.figures.setdefault("data", []).append(found)

    async def _match_again(self, worker: Session) -> int | None:
        """Rows that the statement would change now: written behind a chunk that went by."""
        own = identifier(self.data.walked)
        try:
            return int(await worker.value(
                f"SELECT COUNT(*) AS n FROM {own} WHERE {self.data.condition}", limit_s=COUNT_S))
        except OutsideError:
            return None  # an alias of the statement, or it took too long
