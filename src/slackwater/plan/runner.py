"""The one loop that walks every plan: precheck all, then do and verify each; unwind or go on.

The rules (docs/explanation/engine.md has the reasons):
1. Every reason to refuse is collected before anything is touched.
2. A step that failed is looked at before anything else is decided: its answer may be what was
   lost, not its work.
3. Before the commit point, what was begun is undone, last first, in a time of its own.
4. From the commit point on, only forward: each step is tried again, none is undone, and one that
   will not succeed does not keep the others from being done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, Protocol

from slackwater import clock
from slackwater.errors import Refused, SlackwaterError
from slackwater.plan.faults import Faults
from slackwater.plan.journal import Journal, JournalError, Past
from slackwater.plan.recovery import Way, recovery
from slackwater.plan.report import Report, StepRecord
from slackwater.plan.step import Outcome, Plan, Seen, Step, World

UNWIND_LIMIT_S = 30.0
HASTE_S = 0.5  # two signals in less are one wish to end
LOOK_LIMIT_S = 3.0
PRECHECK_LIMIT_S = 15.0
FORWARD_PAUSE_S = 0.1  # between two tries: what hindered the first may pass; clients may be waiting
FORWARD_LIMIT_S = 30.0  # for all tries of a step; none is begun later

Tell = Callable[[dict[str, Any]], None]
Guard = Callable[[], Awaitable[list[str]]]


class HasFigures(Protocol):
    """What the runner asks of a world: figures for the report."""

    figures: dict[str, Any]


class Runner(Generic[World]):
    """Walks one plan once. `interrupt()` is what Ctrl-C does."""

    def __init__(
        self,
        plan: Plan[World],
        world: World,
        journal: Journal,
        *,
        tell: Tell,
        faults: Faults | None = None,
        unwind_limit_s: float = UNWIND_LIMIT_S,
    ) -> None:
        self.plan, self.world, self.journal = plan, world, journal
        self._tell, self._faults = tell, faults or Faults()
        self._unwind_limit_s = unwind_limit_s
        self._interrupts = 0
        self._doing: asyncio.Task[Any] | None = None
        self._first_interrupt = 0.0  # clock.mono()
        self._unwinding: asyncio.Task[None] | None = None
        self._at_commit = False
        self._committed = False
        self._declined: list[str] = []  # why a step says that the operation must not begin
        self._faults.check([s.name for s in plan.steps])
        self.records = [StepRecord(s.name, s.summary) for s in plan.steps]
        self.report = Report(
            plan.operation, journal.id, plan.title, Outcome.DONE, self.records, clock.unix()
        )

    def interrupt(self) -> None:
        """Stop before the commit point and undo; a second call stops the undoing too, unless it
        comes within HASTE_S of the first: who presses Ctrl-C twice means the operation."""
        self._interrupts += 1
        if self._interrupts == 1:
            self._first_interrupt = clock.mono()
        if self._committed:
            self._event("told", text="past the commit point: finishing, not stopping")
        elif self._unwinding is not None:
            haste = clock.mono() - self._first_interrupt < HASTE_S
            if self._interrupts > 1 and not haste:
                self._unwinding.cancel()
            else:
                self._event(
                    "told", text="undoing already; once more, in a moment, stops the undoing")
        elif self._at_commit:
            # Cutting it short would lose its answer at the one place where it counts most.
            self._event("told", text="at the commit point: waiting for its answer first")
        elif self._doing is not None:
            self._doing.cancel()

    async def run(self, guard: Guard) -> Report:
        """Walk the plan from the start. `guard` gives the reasons that belong to no one step."""
        reasons = await self._refusals(guard)
        if self._interrupts:
            reasons.append("interrupted before anything was touched")
        if reasons:
            return self._end(Outcome.REFUSED, reasons)
        for index in range(len(self.plan.steps)):
            if self._committed:
                await self._forward(index)
                continue
            if why_not := self._cannot_begin(index):
                # It has not begun, so there is nothing of it to look at or to undo.
                return await self._unwind(index - 1, why_not)
            seen, why = await self._attempt(index)
            if seen is Seen.DONE:
                self._committed = index == self.plan.commit_index()
            elif seen is Seen.UNKNOWN and self.plan.steps[index].commit:
                return self._end(Outcome.UNKNOWN, [why], left=self._left_from(index))
            else:
                return await self._unwind(index, why)
        return self._finish_forward()

    async def recover(self, past: Past) -> Report:
        """Finish or undo what a crash left, by the journal and by looking."""
        self.journal.write_if_possible("recovering")
        found, commit = recovery(self.plan, past), self.plan.commit_index()
        if found.way is Way.UNDO:
            why = "the operation was cut off before its commit point"
            return await self._unwind(found.last, why)
        step = self.plan.steps[commit]
        seen = Seen.DONE if found.way is Way.FINISH else await self._passed(step)
        if seen is Seen.NOT_DONE:
            return await self._unwind(commit, "the operation was cut off at its commit point")
        if seen is Seen.UNKNOWN:
            question = f"cannot tell whether {step.name} took effect ({step.summary})"
            return self._end(Outcome.UNKNOWN, [question], left=self._left_from(commit))
        self._committed = True
        for index in range(commit):
            self.records[index].state = "done"
        await self._forward(commit, look_first=True)
        if self.records[commit].state != "done":
            # It was passed once and does not hold now: a server restarted, or others decided anew.
            # What follows would send clients where nobody serves them.
            return self._end(Outcome.STUCK, [f"{step.name}: {self.records[commit].error}"],
                             left=self._left_from(commit))
        for index in range(commit + 1, len(self.plan.steps)):
            await self._forward(index, look_first=True)
        return self._finish_forward()

    async def _refusals(self, guard: Guard) -> list[str]:
        """Ask everyone, one after the other; who cannot be asked is a reason too."""
        reasons: list[str] = []
        asks: list[tuple[str, Guard]] = [("", guard)]
        asks += [(s.name, partial(s.precheck, self.world)) for s in self.plan.steps]
        for name, ask in asks:
            if self._interrupts:
                break
            self._doing = asyncio.ensure_future(_collect(ask, reasons))
            try:
                async with asyncio.timeout(PRECHECK_LIMIT_S):
                    await self._doing
            except asyncio.CancelledError:
                self._interrupts = self._interrupts or 1
            except Exception as error:
                reasons.append(f"{name}: {_words(error)}" if name else _words(error))
            finally:
                self._doing = None
        return list(dict.fromkeys(reasons))

    def _cannot_begin(self, index: int) -> str:
        """Put the beginning of a step on disk; returns why it must not begin, or ""."""
        step, record = self.plan.steps[index], self.records[index]
        if self._interrupts:
            return "interrupted"
        try:
            self.journal.write("started", sync=_matters_after_a_crash(step), step=step.name)
        except JournalError as failure:
            record.state, record.error = "failed", _words(failure)
            self._event("failed", step=step.name, error=record.error)
            return f"{step.name}: {record.error}"
        return ""

    async def _attempt(self, index: int) -> tuple[Seen, str]:
        """Do and verify one step; after a failure look before answering."""
        step, record = self.plan.steps[index], self.records[index]
        begun = clock.mono()
        error, seen = "", None
        self._at_commit = step.commit
        self._event("started", step=step.name, summary=step.summary)
        try:
            seen = await self._do(step)
        except asyncio.CancelledError:
            error = "interrupted"
        except Refused as refusal:
            error, self._declined = _words(refusal), refusal.reasons
        except Exception as failure:
            error = _words(failure)
        if self._declined:
            seen = Seen.NOT_DONE  # it says so itself
        elif error == "interrupted" and not step.commit and not self._committed:
            seen = Seen.NOT_DONE  # it will be undone, whatever a look would say
        elif seen is not Seen.DONE or self._faults.denies(step.name):
            seen = await self._look(step, step.verify)
        self._at_commit = False
        record.ms += (clock.mono() - begun) * 1000
        if seen is Seen.DONE:
            record.state = "done"
            # Not worth a sync of its own: recover looks whether a step without it took effect.
            self.journal.write_if_possible(
                "done", sync=False, step=step.name, ms=round(record.ms, 2)
            )
            self._event("done", step=step.name, ms=round(record.ms, 2), after=error)
            return seen, ""
        error = error or ("cannot look whether it took effect" if seen is Seen.UNKNOWN else
                          "it answered, but a look says it is not so")
        record.state, record.error = "failed", error
        self.journal.write_if_possible("failed", step=step.name, error=error, seen=seen.value)
        self._event("failed", step=step.name, error=error)
        return seen, f"{step.name}: {error}"

    async def _do(self, step: Step[World]) -> Seen | None:
        self._faults.before(step.name)

        async def limited() -> Seen | None:
            async with asyncio.timeout(step.limit_s):
                return await step.do(self.world)

        self._doing = doing = asyncio.ensure_future(limited())
        try:
            seen = await doing
        finally:
            self._doing = None
        self._faults.after(step.name)
        return seen

    async def _look(
        self, step: Step[World], look: Callable[[World], Awaitable[Seen]]
    ) -> Seen:
        if self._faults.denies(step.name):
            return Seen.NOT_DONE
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                return await look(self.world)
        except Exception:  # whatever went wrong, we did not see it
            return Seen.UNKNOWN

    async def _passed(self, step: Step[World]) -> Seen:
        return await self._look(step, step.passed)

    async def _forward(self, index: int, *, look_first: bool = False) -> None:
        step, record = self.plan.steps[index], self.records[index]
        if look_first and await self._look(step, step.verify) is Seen.DONE:
            record.state = "done"
            return
        until = clock.mono() + FORWARD_LIMIT_S
        for tried in range(step.forward_tries):
            if tried:
                if clock.mono() >= until:
                    return
                await asyncio.sleep(FORWARD_PAUSE_S)
            # Every step from here on is looked at by recover, begun or not: no sync of its own.
            self.journal.write_if_possible("started", sync=False, step=step.name)
            seen, _error = await self._attempt(index)
            if seen is Seen.DONE:
                record.error = ""
                return

    def _finish_forward(self) -> Report:
        failed = [r for r in self.records if r.state == "failed"]
        if not failed:
            return self._end(Outcome.DONE, [])
        return self._end(
            Outcome.STUCK,
            [f"{r.name}: {r.error}" for r in failed],
            left=[r.summary for r in failed],
        )

    async def _unwind(self, last: int, why: str) -> Report:
        """Undo steps last..0. Its own time; Ctrl-C does not reach it, a second one does."""
        self._event("unwinding", reason=why)
        self._unwinding = asyncio.ensure_future(self._undo_all(last))
        reasons = [why]
        # A step that needs longer than steps do, such as an ALTER, says so itself.
        longer = sum(max(0.0, s.undo_limit_s - Step.undo_limit_s)
                     for s in self.plan.steps[: last + 1] if not s.no_undo)
        limit_s = self._unwind_limit_s + longer
        try:
            async with asyncio.timeout(limit_s):
                await self._unwinding
        except TimeoutError:
            reasons.append(f"undoing took longer than {limit_s:g} s")
        except asyncio.CancelledError:
            reasons.append("undoing was interrupted")
        left = [
            f"undo: {r.summary}"
            for s, r in list(zip(self.plan.steps, self.records, strict=True))[: last + 1]
            if not s.no_undo and r.state != "undone"
        ]
        begun = self.plan.steps[: last + 1]
        self.report.stays = [f"{s.summary}: {s.no_undo}" for s in begun if s.stays]
        if self._declined and last == 0 and not left:
            return self._end(Outcome.REFUSED, self._declined)
        outcome = Outcome.STUCK if left else Outcome.UNDONE
        reasons += [
            f"undo of {r.name}: {r.error}" for r in self.records if r.state == "undo failed"
        ]
        return self._end(outcome, reasons, left=left)

    async def _undo_all(self, last: int) -> None:
        for index in range(last, -1, -1):
            step, record = self.plan.steps[index], self.records[index]
            if step.no_undo:
                record.state = record.state if record.state == "failed" else "kept"
                continue
            try:
                self.journal.write_if_possible("undo_started", step=step.name)
                self._faults.undo(step.name)
                async with asyncio.timeout(step.undo_limit_s):
                    await step.undo(self.world)
                record.state = "undone"
                self.journal.write_if_possible("undone", step=step.name)
                self._event("undone", step=step.name)
            except Exception as error:
                record.state, record.error = "undo failed", _words(error)
                self.journal.write_if_possible("undo_failed", step=step.name, error=record.error)
                self._event("undo_failed", step=step.name, error=record.error)

    def _left_from(self, index: int) -> list[str]:
        return [s.summary for s in self.plan.steps[index:]]

    def _end(
        self, outcome: Outcome, reasons: list[str], *, left: list[str] | None = None
    ) -> Report:
        report = self.report
        report.outcome, report.reasons, report.left = outcome, reasons, left or []
        report.onward = self.plan.onward if outcome in (Outcome.UNDONE, Outcome.STUCK) else ""
        report.ended = clock.unix()
        report.figures = getattr(self.world, "figures", {})
        if outcome is Outcome.REFUSED:
            for record in self.records:
                record.state = "skipped"
        self.journal.write_if_possible("ended", **report.as_json())
        if self.journal.lost:
            report.figures["journal_lost"] = self.journal.lost
        return report

    def _event(self, event: str, **fields: Any) -> None:
        # Whoever listens must not be able to stop an operation half way.
        with contextlib.suppress(Exception):
            self._tell({"at": clock.unix(), "event": event, **fields})


async def _collect(precheck: Guard, into: list[str]) -> None:
    into.extend(await precheck())


def _words(error: BaseException) -> str:
    if isinstance(error, ExceptionGroup):
        return "; ".join(_words(e) for e in error.exceptions)
    if isinstance(error, TimeoutError) and not str(error):
        return "took longer than its time limit"
    hint = getattr(error, "hint", "")
    text = str(error) or type(error).__name__
    if not isinstance(error, (SlackwaterError, OSError, TimeoutError)):
        text = f"{type(error).__name__}: {error}"  # nobody foresaw it: a KeyError's text is no word
    return f"{text} (try: {hint})" if hint else text


def _matters_after_a_crash(step: Step[Any]) -> bool:
    """Whether its beginning has to be on the disk before it: the kernel has it in any case, so only
    a machine that dies loses it. Of a step that is never undone, or with an earlier one, recover
    then does the same."""
    return step.commit or step.stays or not (step.no_undo or step.undone_with)
