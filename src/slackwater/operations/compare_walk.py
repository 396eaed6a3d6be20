"""A table with a key: chunk by chunk along it, on the reference first and then on the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from slackwater import clock
from slackwater.errors import OutsideError
from slackwater.facts.compare import Digest, How, KeyValues, Proof, RowDifference, TableResult
from slackwater.operations.compare_rows import Rows
from slackwater.operations.compare_sides import Meeting, Side
from slackwater.outside import mysql_compare
from slackwater.outside.mysql_compare import Reader
from slackwater.rules.compare import FIRST_CHUNK, SMALLEST_CHUNK, next_rows, rest_s

Look = TypeVar("Look")
PROVEN_MOST = 100  # rows of a table that are proven one by one
SHOWN_MOST = 100


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
        for copy, (there, _) in zip(self.copies, looks, strict=True):
            if there != digest:
                await self._settle(copy, after, end)
            copy.result.rows += digest.rows
            copy.result.chunks += 1
        return end, slowest_s

    async def _there(
        self, copy: Copy, after: KeyValues | None, end: KeyValues | None, position: str
    ) -> tuple[Digest, float]:
        await self.meeting.reach(copy.side, position)
        begun = clock.mono()
        return await copy.reader.chunk(after, end), clock.mono() - begun

    async def _settle(
        self, copy: Copy, after: KeyValues | None, end: KeyValues | None
    ) -> None:
        result = copy.result
        left = max(0, PROVEN_MOST - result.differing - len(result.undecided))
        settled = await copy.rows.settle(after, end, prove=left)
        result.rechecked += settled.rechecked
        result.differing += len(settled.differences) + settled.unproven
        result.shown += settled.differences[: max(0, SHOWN_MOST - len(result.shown))]
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
