"""Rows that were not the same: is it replication still on its way, or a difference?

Most are on their way: a chunk is read on the reference first, and on the other server when it has
at least that position. So rows that differ are read again, each time on the reference first. Those
that never become equal are proven one by one, so that no false alarm is possible, also for a row
that changes all the time: the row is locked on the reference (shared: nobody can change it, all can
read it), the position is read after that, the other server reaches it and is read, and the row is
free again. In between nobody could change it, so a faithful copy has the same values.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from slackwater.errors import OutsideError
from slackwater.facts.compare import Bounds, How, KeyValues, Proof, RowDifference
from slackwater.operations.compare.sides import Meeting, Side
from slackwater.outside.mysql import compare as mysql_compare
from slackwater.outside.mysql import compare_sql
from slackwater.outside.mysql.compare import Reader
from slackwater.outside.mysql.session import Session

PAUSES_S = (0.0, 0.05, 0.1)  # before each look at rows that were not the same
MANY = 2000  # rows for which two looks have to do
HOLD_S = 0.1  # how long a locked row may wait for the other server
HOLD_TRIES = 10
BETWEEN_S = 0.2
STABLE_LOOKS = 8  # where no row can be locked


@dataclass
class Settled:
    """What became of the rows of a chunk that was not the same."""

    differences: list[RowDifference] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    unproven: int = 0  # stayed different, and were too many to be proven one by one
    rechecked: int = 0  # were the same at a later look


class Rows:
    """One table on the reference and on one other server."""

    def __init__(self, meeting: Meeting, other: Side, ours: Reader, theirs: Reader) -> None:
        self.meeting, self.other, self.ours, self.theirs = meeting, other, ours, theirs
        self._lockable = ours.table.lockable

    async def settle(self, parts: Sequence[Bounds], *, prove: int) -> Settled:
        """Look at the rows of those parts of a chunk until each is the same or proven not to be.
        At most `prove` of them are proven. Raises CannotTell, Interrupted, OutsideError."""
        settled = Settled()
        for part in parts:
            self.meeting.go_on()
            await self._settle_part(*part, prove - len(settled.differences), settled)
        return settled

    async def _settle_part(
        self, after: KeyValues | None, to: KeyValues | None, prove: int, settled: Settled
    ) -> None:
        mine = await self.ours.rows(after, to)
        await self._reach()
        theirs = await self.theirs.rows(after, to)
        suspects = _unequal(mine, theirs)
        first = len(suspects)
        for pause in PAUSES_S[: 2 if first > MANY else None]:
            if not suspects:
                break
            await self.meeting.rest(pause)
            keys = list(suspects)
            mine = await self.ours.these(keys)
            await self._reach()
            theirs = await self.theirs.these(keys)
            suspects = {k for k in keys if mine.get(k) != theirs.get(k)}
        settled.rechecked += first - len(suspects)
        ordered, prove = sorted(suspects), max(0, prove)
        settled.unproven += len(ordered[prove:])
        seen: set[tuple[str, ...]] = set()
        for key in ordered[:prove]:
            await self._prove(key, settled, seen)

    async def _prove(
        self, key: KeyValues, settled: Settled, seen: set[tuple[str, ...]]
    ) -> None:
        both = await self._locked(key) if self._locks else None
        if both is None and not self._locks:  # not here, or, as was found just now, not for us
            both = await self._stable(key)
        shown = compare_sql.shown(self.ours.table, key)
        if both is None:
            settled.undecided.append(shown)
            return
        mine, theirs = both
        if mine == theirs:
            settled.rechecked += 1
            return
        # The key in another spelling (abc, ABC) finds the same two rows again.
        both_texts = (*mine, *theirs)
        if mine and theirs and both_texts in seen:
            return
        seen.add(both_texts)
        how = How.DIFFERS if mine and theirs else How.MISSING if mine else How.EXTRA
        proof = Proof.LOCKED if self._locks else Proof.STABLE
        settled.differences.append(RowDifference(shown, how, proof, self._columns(mine, theirs)))

    @property
    def _locks(self) -> bool:
        return self._lockable and self.meeting.may_lock

    async def _locked(self, key: KeyValues) -> tuple[list[str], list[str]] | None:
        """Both sides of a row that nobody could change meanwhile; None when that was not to be
        had."""
        for _ in range(HOLD_TRIES):
            await self._reach()  # so that it has little to catch up with while the row is locked
            session = await self.meeting.reference.locking()
            try:
                both = await self._under_lock(session, key)
            except OutsideError as error:
                if mysql_compare.denied(error):
                    self.meeting.may_lock = False
                    return None
                if not mysql_compare.busy(error):
                    raise
                both = None  # somebody else has it for longer than a second
            if both is not None:
                await self.meeting.same_roles()
                return both
            await self.meeting.rest(BETWEEN_S)
        return None

    async def _under_lock(
        self, session: Session, key: KeyValues
    ) -> tuple[list[str], list[str]] | None:
        try:
            await mysql_compare.begin_hold(session)
            locked = self.ours.using(session)
            mine = await locked.one(key, lock=True)
            position = await mysql_compare.visible(session)
            if not await mysql_compare.wait_applied(
                self.other.control, position, limit_s=HOLD_S
            ):
                return None
            async with asyncio.timeout(HOLD_S * 10):
                return mine, await self.theirs.one(key)
        except TimeoutError:
            return None
        finally:
            try:
                await mysql_compare.end_hold(session, limit_s=1.0)
            except BaseException:
                session.drop("its transaction could not be ended")  # which frees the row at once
                raise

    async def _stable(self, key: KeyValues) -> tuple[list[str], list[str]] | None:
        """Both sides of a row, found the same in many looks; None when they kept changing."""
        before: tuple[list[str], list[str]] | None = None
        for look in range(STABLE_LOOKS):
            await self.meeting.rest(BETWEEN_S if look else 0.0)
            mine = await self.ours.one(key)
            await self._reach()
            theirs = await self.theirs.one(key)
            if mine == theirs:
                return mine, theirs
            if await self.ours.one(key) != mine or before not in (None, (mine, theirs)):
                return None
            before = mine, theirs
        await self.meeting.same_roles()
        return before

    async def _reach(self) -> None:
        position = await mysql_compare.visible(self.ours.session)
        await self.meeting.reach(self.other, position)

    def _columns(self, mine: list[str], theirs: list[str]) -> tuple[str, ...]:
        if not mine or not theirs:
            return ()
        each = zip(self.ours.values, mine[1:], theirs[1:], strict=True)
        names = [name for (name, _), a, b in each if a != b and name]
        return tuple(dict.fromkeys(names))


def _unequal(
    mine: dict[KeyValues, str], theirs: dict[KeyValues, str]
) -> set[KeyValues]:
    return {k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k)}
