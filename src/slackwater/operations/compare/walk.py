"""A table with a key: chunk by chunk along it, on the reference and, one behind, on the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from slackwater import clock
from slackwater.errors import OutsideError
from slackwater.facts.compare import (
    Bounds,
    Digest,
    How,
    KeyValues,
    Proof,
    RowDifference,
    TableResult,
)
from slackwater.operations.compare.rows import Rows, Settled
from slackwater.operations.compare.sides import Meeting, Side
from slackwater.outside.mysql import compare as mysql_compare
from slackwater.outside.mysql.compare import Reader
from slackwater.rules.compare import FIRST_CHUNK, SMALLEST_CHUNK, next_rows, part_sizes, rest_s

Look = TypeVar("Look")
Other = TypeVar("Other")
PROVEN_MOST = 100  # rows of a table that are proven one by one


@dataclass
class Copy:
    """One other server's side of a table, and what was found there."""

    side: Side
    reader: Reader
    rows: Rows
    result: TableResult


@dataclass(frozen=True)
class Read:
    """A chunk as the reference had it, in parts: so there is less to look at again when it is not
    the same. The last chunk of a table has an open end."""

    parts: list[Bounds]
    digests: list[Digest]
    position: str  # a copy that has it has all that went into the digests
    took_s: float

    @property
    def end(self) -> KeyValues | None:
        """The key of its last row; None: it is the last chunk."""
        return self.parts[-1][1]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(d.rows for d in self.digests)


class Walk:
    """One table on all servers.

    While the copies read a chunk, the reference rests, and then reads the one behind it. The proof
    is the same as without this overlap: a copy reads a chunk when it has the position that was
    taken after the reference had read that chunk.
    """

    def __init__(
        self, meeting: Meeting, ours: Reader, copies: list[Copy],
        walked: Callable[[KeyValues | None], None],
    ) -> None:
        self.meeting, self.ours, self.copies, self.walked = meeting, ours, copies, walked
        self._rows = FIRST_CHUNK
        self._there_s = 0.0  # for each row, of the slowest copy, when it was last looked at

    async def run(self, after: KeyValues | None) -> None:
        """From behind `after` to the table's end. Raises CannotTell, Interrupted, OutsideError."""
        read: Read | None = None
        while True:
            await self.meeting.quiet()
            try:
                if read is None:
                    read = await self._read(after)
                following = await self._chunk(read)
            except OutsideError as error:
                if not mysql_compare.too_long(error) or self._rows <= SMALLEST_CHUNK:
                    raise
                self._rows = max(SMALLEST_CHUNK, self._rows // 8)
                read = None
                continue
            after = read.end
            if following is None:
                await self.meeting.same_roles()
            self.walked(after)
            if following is None:
                for copy in self.copies:
                    copy.result.done = True
                return
            read = following

    async def _read(self, after: KeyValues | None) -> Read:
        """One chunk on the reference; decides how large the next one will be."""
        begun = clock.mono()
        parts: list[Bounds] = []
        for rows in part_sizes(self._rows):
            end = await self.ours.end_of_chunk(after, rows)
            parts.append((after, end))
            if end is None:
                break
            after = end
        digests, position = await self.ours.chunks_then_position(parts)
        took_s = clock.mono() - begun
        if end is not None:
            slowest_s = max(took_s, self._there_s * self._rows)
            self._rows = next_rows(self._rows, slowest_s, self.meeting.pace.chunk_s)
        return Read(parts, digests, position, took_s)

    async def _chunk(self, read: Read) -> Read | None:
        """Compare a chunk, and read the next one on the reference meanwhile; None: there is
        none."""
        following, looks = await _both(
            self._following(read), _all(self._there(c, read) for c in self.copies))
        settled = []
        for copy, there in zip(self.copies, looks, strict=True):
            parts = zip(read.parts, read.digests, there, strict=True)
            unequal = [part for part, ours, theirs in parts if ours != theirs]
            settled.append(await copy.rows.settle(unequal, prove=_left(copy.result)))
        # Only now, so that a chunk that is done again after a lost connection counts once.
        for copy, found in zip(self.copies, settled, strict=True):
            _note(copy.result, read.rows, found)
        return following

    async def _following(self, read: Read) -> Read | None:
        if read.end is None:
            return None
        await self.meeting.rest(rest_s(read.took_s, self.meeting.pace))
        return await self._read(read.end)

    async def _there(self, copy: Copy, read: Read) -> list[Digest]:
        """The chunk on a copy, which then rests as well."""
        await self.meeting.reach(copy.side, read.position)
        begun = clock.mono()
        found = await copy.reader.chunks(read.parts)
        took_s = clock.mono() - begun
        self._there_s = took_s / max(1, read.rows)
        if read.end is not None:
            await self.meeting.rest(rest_s(took_s, self.meeting.pace))
        return found


def _left(result: TableResult) -> int:
    """How many more rows of a table are to be proven one by one."""
    return max(0, PROVEN_MOST - result.differing - len(result.undecided))


def _note(result: TableResult, rows: int, settled: Settled) -> None:
    """Put a chunk into the result of its table."""
    result.rows += rows
    result.chunks += 1
    result.rechecked += settled.rechecked
    result.differing += len(settled.differences) + settled.unproven
    result.shown += settled.differences
    result.undecided += settled.undecided
    if settled.unproven:
        _count(result, settled.unproven)


async def _all(looks: Iterable[Coroutine[Any, Any, Look]]) -> list[Look]:
    """All at once; all have ended when the first failure is raised."""
    found = await asyncio.gather(*looks, return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found  # type: ignore[return-value]


async def _both(
    one: Coroutine[Any, Any, Look], other: Coroutine[Any, Any, Other]
) -> tuple[Look, Other]:
    """The same for two of different kinds."""
    first, second = await asyncio.gather(one, other, return_exceptions=True)
    for each in (first, second):
        if isinstance(each, BaseException):
            raise each
    return first, second


def _count(result: TableResult, more: int) -> None:
    """Those that were not proven one by one are one line, the last."""
    before = result.shown.pop().count if result.shown and not result.shown[-1].key else 0
    result.shown.append(RowDifference("", How.DIFFERS, Proof.COUNTED, count=before + more))
