"""A table without a key: its rows have no names, so all are compared at once, as a multiset."""

from __future__ import annotations

from slackwater.facts.compare import How, Proof, RowDifference, TableResult
from slackwater.operations.compare.sides import Meeting, Side
from slackwater.outside.mysql import compare as mysql_compare
from slackwater.outside.mysql.compare import Reader

LOOKS = 12
SAME = 4  # looks in which both sides have to be as they were, to be called different
BETWEEN_S = 0.25
Parts = dict[str, tuple[int, int]]


async def compare_whole(
    meeting: Meeting, other: Side, ours: Reader, theirs: Reader, result: TableResult
) -> None:
    """Compare the table, and put what is found into `result`. Raises CannotTell, Interrupted,
    OutsideError (also where the table takes longer than a statement may)."""
    result.whole = True
    before: tuple[Parts, Parts] | None = None
    same = 0
    for look in range(LOOKS):
        await meeting.rest(BETWEEN_S if look else 0.0)
        mine = await ours.whole()
        await _reach(meeting, other, ours)
        there = await theirs.whole()
        result.rows, result.chunks = sum(n for n, _ in mine.values()), 1
        if mine == there:
            result.done = True
            return
        same = same + 1 if before == (mine, there) else 0
        before = mine, there
        if same >= SAME and await ours.whole() == mine:
            await meeting.same_roles()
            await _differences(meeting, other, ours, theirs, result, before)
            result.done = True
            return
    result.undecided.append("(it has no key, and changed in each of many looks)")
    result.done = True


async def _differences(
    meeting: Meeting, other: Side, ours: Reader, theirs: Reader, result: TableResult,
    seen: tuple[Parts, Parts],
) -> None:
    mine, there = seen
    parts = [p for p in sorted(mine.keys() | there.keys()) if mine.get(p) != there.get(p)]
    here = await ours.hashes(parts)
    await _reach(meeting, other, ours)
    over = await theirs.hashes(parts)
    missing = sum(max(0, n - over.get(h, 0)) for h, n in here.items())
    extra = sum(max(0, n - here.get(h, 0)) for h, n in over.items())
    for how, count in ((How.MISSING, missing), (How.EXTRA, extra)):
        if count:
            result.differing += count
            result.shown.append(RowDifference("", how, Proof.STABLE, count=count))
    if not missing + extra:
        result.undecided.append("(it has no key, and changed while its rows were counted)")


async def _reach(meeting: Meeting, other: Side, ours: Reader) -> None:
    await meeting.reach(other, await mysql_compare.visible(ours.session))
