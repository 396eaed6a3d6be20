"""A table with a key: chunk by chunk along it, on the reference first and then on the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from slackwater import clock
from slackwater.errors import OutsideError
from slackwater.facts.compare import Digest, How, KeyValues, Proof, RowDifference, TableResult
from slackwater.operations.compare_rows import Rows, Settled
from slackwater.operations.compare_sides import Meeting, Side
from slackwater.outside import mysql_compare
from slackwater.outside.mysql_compare import Reader
from slackwater.rules.compare import FIRST_CHUNK, SMALLEST_CHUNK, next_rows, rest_s

Look = TypeVar("Look")
PROVEN_MOST = 100  # rows of a table that are proven one by one


@dataclass
class Copy:
    """One other server's side of a table, and what was found there."""

    side: Side
    reader: Reader
    rows: Rows
    result: TableResult


class Walk:
    """One table on all servers. `after`: where to go on."""

    def __init__(
        self, meeting: Meeting, ours: Reader, copies: list[Copy],
        walked: Callable[[KeyValues | None], None],
    ) -> None:
        self.meeting, self.ours, self.copies, self.walked = meeting, ours, copies, walked
        self._rows = FIRST_CHUNK

    async def run(self, after: KeyValues | None) -> None:
        """To the end of the table. Raises CannotTell, Interrupted, OutsideError."""
        while True:
            await self.meeting.quiet()
            try:
                end, took_s = await self._chunk(after)
            except OutsideError as error:
                if not mysql_compare.too_long(error) or self._rows <= SMALLEST_CHUNK:
                    raise
                self._rows = max(SMALLEST_CHUNK, self._rows // 8)
                continue
            self.walked(end)
            if end is None:
                for copy in self.copies:
                    copy.result.done = True
                return
            await self.meeting.rest(rest_s(took_s, self.meeting.pace))
            after = end

    async def _chunk(self, after: KeyValues | None) -> tuple[KeyValues | None, float]:
        """One chunk: the key of its last row (None: it was the last), and how long its statements
        took."""
        begun = clock.mono()
        end = await self.ours.end_of_chunk(after, self._rows)
        digest, position = await self.ours.chunk_then_position(after, end)
        ours_s = clock.mono() - begun
        looks = await _all(self._there(c, after, end, position) for c in self.copies)
        slowest_s = max([ours_s, *(seconds for _, seconds in looks)])
        if end is not None:
            self._rows = next_rows(self._rows, slowest_s, self.meeting.pace.chunk_s)
        settled = [
            None if there == digest
            else await copy.rows.settle(after, end, digest.rows, prove=_left(copy.result))
            for copy, (there, _) in zip(self.copies, looks, strict=True)
        ]
        # Only now, so that a chunk that is done again after a lost connection counts once.
        for copy, found in zip(self.copies, settled, strict=True):
            _note(copy.result, digest.rows, found)
        return end, slowest_s

    async def _there(
        self, copy: Copy, after: KeyValues | None, end: KeyValues | None, position: str
    ) -> tuple[Digest, float]:
        await self.meeting.reach(copy.side, position)
        begun = clock.mono()
        return await copy.reader.chunk(after, end), clock.mono() - begun


def _left(result: TableResult) -> int:
    """How many more rows of a table are to be proven one by one."""
    return max(0, PROVEN_MOST - result.differing - len(result.undecided))


def _note(result: TableResult, rows: int, settled: Settled | None) -> None:
    """Put a chunk into the result of its table."""
    result.rows += rows
    result.chunks += 1
    if settled is not None:
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


def _count(result: TableResult, more: int) -> None:
    """Those that were not proven one by one are one line, the last."""
    before = result.shown.pop().count if result.shown and not result.shown[-1].key else 0
    result.shown.append(RowDifference("", How.DIFFERS, Proof.COUNTED, count=before + more))
