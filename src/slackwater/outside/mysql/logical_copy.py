"""One table after the other from a snapshot on the source into the target, over two sessions.

The server writes each row as text (row_text); here rows are put together to INSERTs of about a
megabyte, counted, and summed up for the checksum that the target is asked for afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from slackwater import clock
from slackwater.errors import StepFailed
from slackwater.facts.server import ServerAddress
from slackwater.outside.mysql.pace import Pace
from slackwater.outside.mysql.row_text import Table
from slackwater.outside.mysql.session import Session

BATCH = 1 << 20  # bytes of one INSERT, or one row where that is larger
AHEAD = 4  # INSERTs that may wait between reading and writing
STATEMENT_LIMIT_S = 300.0
CHECKSUM_LIMIT_S = 6 * 3600.0
PROGRAM = "slackwater copy"
# Long answers that nobody takes for a while (the target is slow) must not end the session.
_READER = (
    "SET NAMES utf8mb4",
    "SET SESSION net_write_timeout = 3600, SESSION wait_timeout = 86400",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
)
_WRITER = (
    "SET NAMES utf8mb4",
    "SET SESSION wait_timeout = 86400, SESSION sql_log_bin = 0, SESSION foreign_key_checks = 0,"
    " SESSION unique_checks = 0, SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'",
)


@dataclass
class Progress:
    """How far a copy is. `limit`: bytes a second, 0 for no limit; `total` is an estimate."""

    total: int
    limit: int = 0
    rows: int = 0
    bytes: int = 0
    since: float = field(default_factory=clock.mono)
    tables: dict[str, int] = field(default_factory=dict)  # rows of each that is copied
    pace: Pace | None = None
    # A checksum takes a core of the target for as long as it lasts: one at a time.
    checking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def rate(self) -> float:
        """Bytes a second so far."""
        return self.bytes / max(clock.mono() - self.since, 0.001)

    def left_s(self) -> float:
        """Seconds to go, by the rate so far; 0 when the estimate is passed."""
        return max(0.0, (self.total - self.bytes) / max(self.rate, 1.0))

    async def moved(self, size: int, rows: int) -> None:
        """Count it, and wait for as long as the limit and the pace ask."""
        self.bytes += size
        self.rows += rows
        if self.limit:
            ahead_s = self.bytes / self.limit - (clock.mono() - self.since)
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)
        if self.pace is not None:
            await self.pace.moved(size)


async def reader(at: ServerAddress) -> Session:
    """A session to read from; its snapshot is to be begun yet."""
    session = await Session.open(at, program=PROGRAM)
    for statement in _READER:
        await session.run(statement)
    return session


async def writer(at: ServerAddress) -> Session:
    """A session to write with, past the binary log and without checks."""
    session = await Session.open(at, program=PROGRAM)
    for statement in _WRITER:
        await session.run(statement)
    return session


async def for_data(session: Session) -> Session:
    """Have the literals of this session's statements be bytes, whatever is put together with them:
    rows are made of columns of many character sets, which MySQL 8 does not mix otherwise."""
    await session.run("SET SESSION collation_connection = 'binary'")
    return session


async def begin_snapshot(session: Session) -> None:
    """From here on this session sees nothing that others commit."""
    await session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    await session.run("SAVEPOINT before_a_table")


async def copy_table(
    source: Session, target: Session, table: Table, progress: Progress,
    largest: int, show: Callable[[], None],
) -> None:
    """Copy the rows and prove by a checksum that the target has exactly them.

    `largest`: bytes of a statement that the target takes. Raises StepFailed naming the table.
    """
    batches: asyncio.Queue[tuple[bytes, int] | None] = asyncio.Queue(AHEAD)
    read = _Sum()
    try:
        # Closed by name: an error on its way up would keep it, and so its session, in the middle.
        async with (
            contextlib.aclosing(source.stream(table.select)) as stream,
            asyncio.TaskGroup() as both,
        ):
            both.create_task(_read(stream, table, batches, read, largest))
            both.create_task(_write(target, table, batches, progress, show))
    finally:
        if source.broken is None:
            # Or an ALTER of this table would wait for us till the end, and writes behind it.
            await source.run("ROLLBACK TO SAVEPOINT before_a_table")
    async with progress.checking:
        await _same(target, table, read)
    progress.tables[f"{table.schema}.{table.name}"] = read.rows


@dataclass
class _Sum:
    rows: int = 0
    sum: int = 0


async def _read(
    stream: AsyncGenerator[list[bytes | None], None], table: Table,
    batches: asyncio.Queue[tuple[bytes, int] | None], read: _Sum, largest: int,
) -> None:
    head = table.insert
    most = min(BATCH, largest - len(head) - 64)
    waiting: list[bytes] = []
    size = 0
    async for rows in stream:
        for row in rows:
            if row is None or len(row) + len(head) > largest:
                raise StepFailed(
                    f"{table.schema}.{table.name} has a row that is larger than max_allowed_packet",
                    hint="raise max_allowed_packet on both servers, at most to 1G",
                )
            if waiting and size + len(row) > most:
                await batches.put((head + b",".join(waiting), len(waiting)))
                waiting, size = [], 0
            waiting.append(row)
            size += len(row) + 1
            read.sum += zlib.crc32(row)
        read.rows += len(rows)
    if waiting:
        await batches.put((head + b",".join(waiting), len(waiting)))
    await batches.put(None)


async def _write(
    target: Session, table: Table, batches: asyncio.Queue[tuple[bytes, int] | None],
    progress: Progress, show: Callable[[], None],
) -> None:
    while (batch := await batches.get()) is not None:
        statement, rows = batch
        await target.run(statement, limit_s=STATEMENT_LIMIT_S)
        await progress.moved(len(statement), rows)
        show()


async def _same(target: Session, table: Table, read: _Sum) -> None:
    row = (await target.rows(table.checksum, limit_s=CHECKSUM_LIMIT_S))[0]
    has = int(row["N"]), int(row["S"]), int(row["U"])
    if has != (read.rows, read.sum, 0):
        raise StepFailed(
            f"the copy of {table.schema}.{table.name} is not what the source has: {has[0]} rows, "
            f"{read.rows} were read; checksums {has[1]:x} and {read.sum:x}"
        )
