"""What a comparison leaves in the state directory, and how it goes on from there. No server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.compare.test_rules import ID, NAME, NOTE, table

from slackwater.errors import OutsideError
from slackwater.facts.compare import How, Proof, RowDifference
from slackwater.operations.compare import compare
from slackwater.operations.compare.compare import Asked
from slackwater.operations.compare.state import Progress


def test_the_directory_is_nobody_else_s(tmp_path: Path) -> None:
    """Also where a comparison is the first that needs it, whatever the umask."""
    before = os.umask(0o022)
    try:
        locked, written = tmp_path / "one/state.json", tmp_path / "two/state.json"
        os.close(compare._only_one(Asked("lab", ("a", "b"), state=locked)))
        Progress(written, ["a", "b"]).write()
    finally:
        os.umask(before)
    assert [p.parent.stat().st_mode & 0o777 for p in (locked, written)] == [0o700, 0o700]


CHUNKS = 3


class Walk:
    """Three chunks of ten rows, each with a difference; `lost` are the chunks before which the
    connection is lost, once each."""

    lost: list[int]
    begun: list[tuple[tuple[str, ...], Any]]

    def __init__(self, _meeting: Any, _mine: Any, copies: list[Any],
                 walked: Callable[[Any], None]) -> None:
        self.copies, self.walked = copies, walked

    async def run(self, begin: Any) -> None:
        self.begun.append((tuple(c.side.name for c in self.copies), begin))
        for number in range(int(begin[0]) if begin else 1, CHUNKS + 1):
            if self.lost and self.lost[0] == number:
                del self.lost[0]
                raise OutsideError("b", "connection lost", sent=True)
            for copy in self.copies:
                copy.result.rows += 10
                copy.result.chunks += 1
                copy.result.differing += 1
                copy.result.shown.append(
                    RowDifference(f"id={number}", How.DIFFERS, Proof.LOCKED))
            self.walked((str(number + 1),) if number < CHUNKS else None)
        for copy in self.copies:
            copy.result.done = True


def _side(name: str) -> Any:
    async def renew() -> None:
        pass

    return SimpleNamespace(name=name, data=None, renew=renew)


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Awaitable[Any]]:
    """Compare s.t of a with b and c, whose definitions are given."""
    monkeypatch.setattr(compare, "Walk", Walk)
    monkeypatch.setattr(compare, "Rows", lambda *_: None)
    monkeypatch.setattr(compare.mysql_compare, "Reader", lambda *_, **__: None)

    async def run(lost: list[int], *theirs: Any, resume: bool = False) -> Any:
        Walk.lost, Walk.begun = lost, []
        names = ("b", "c")
        meeting: Any = SimpleNamespace(reference=_side("a"), others=[_side(n) for n in names])
        asked = Asked("lab", ("a", *names), state=tmp_path / "state.json")
        run = compare._Run(asked, meeting, lambda _: None, {n: [] for n in names})
        if resume:
            assert run.progress.load()
        there = {n: {"s.t": t} for n, t in zip(names, theirs, strict=True)}
        try:
            await run._table(table(ID, NAME, NOTE), there)
        except OutsideError:
            run.progress.write()
            return None
        return run.progress.results["s.t"]

    return run


@pytest.mark.parametrize("lost", [[], [2], [3, 3], [1, 2, 3]])
def test_a_lost_connection_counts_no_row_twice(lost: list[int], compared: Any) -> None:
    """Servers of one definition go on where they were; else the group that was not done begins
    anew, and one that was done stays."""
    for theirs in ((table(ID, NAME, NOTE),) * 2, (table(ID, NAME, NOTE), table(ID, NAME))):
        for result in asyncio.run(compared(list(lost), *theirs)):
            assert (result.rows, result.chunks, result.differing) == (30, 3, 3)
            assert [d.key for d in result.shown] == ["id=1", "id=2", "id=3"]
            assert result.done
        assert sum(begun[1] is None for begun in Walk.begun) >= 1


def test_going_on_with_other_definitions_than_before(compared: Any) -> None:
    """Cut off while the definitions differed, and made alike since; and the other way round. Where
    one of two groups was is no place from which both can go on."""
    alike, apart = (table(ID, NAME, NOTE),) * 2, (table(ID, NAME, NOTE), table(ID, NAME))
    for first, second in ((apart, alike), (alike, apart), (apart, apart), (alike, alike)):
        # As often as it tries, without coming further.
        assert asyncio.run(compared([2] + [2] * compare.TRIES, *first)) is None
        for result in asyncio.run(compared([], *second, resume=True)):
            assert (result.rows, result.differing, len(result.shown)) == (30, 3, 3)
