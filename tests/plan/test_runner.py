"""The runner: refusals, limits, interrupts, going forward, and what it says at the end."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from tests.plan.memory_world import AFTER, BEFORE, NAMES, STEPS, World, make, no_reasons, walk

from slackwater.cli.present import report_text
from slackwater.errors import OutsideError, Refused, StepFailed
from slackwater.plan import journal
from slackwater.plan import runner as runner_module
from slackwater.plan.step import Outcome, Plan, Seen, Step


@dataclass(frozen=True)
class Probe(Step[World]):
    """Do what a test wants"""

    reasons: tuple[str, ...] = ()
    raises: BaseException | None = None
    acts: Any = None
    undoes: Any = None
    seen: Seen = Seen.DONE
    calls: list[str] = field(default_factory=list)
    limit_s: ClassVar[float] = 0.05
    undo_limit_s: ClassVar[float] = 0.05

    async def precheck(self, world: World) -> list[str]:
        self.calls.append("precheck")
        if self.raises is not None:
            raise self.raises
        return list(self.reasons)

    async def do(self, world: World) -> None:
        self.calls.append("do")
        if self.acts:
            await self.acts()

    async def verify(self, world: World) -> Seen:
        self.calls.append("verify")
        return self.seen

    async def undo(self, world: World) -> None:
        self.calls.append("undo")
        if self.undoes:
            await self.undoes()


class Probe2(Probe):
    """Do something else"""


class ProbeCommit(Probe):
    """Pass the point of no return"""

    commit: ClassVar[bool] = True
    no_undo: ClassVar[str] = "only forward"


async def forever() -> None:
    await asyncio.Event().wait()


def test_done(tmp_path):
    world = World()
    runner, told = make(tmp_path, world)
    report = asyncio.run(runner.run(no_reasons))
    runner.journal.close()
    assert report.outcome is Outcome.DONE
    assert world.state == AFTER
    assert [e["step"] for e in told if e["event"] == "done"] == NAMES
    assert {s.state for s in report.steps} == {"done"}
    data = report.as_json()
    assert data["outcome"] == "done" and data["steps"][0].keys() == {"name", "state", "ms"}


def test_only_what_a_dead_machine_must_not_forget_waits_for_the_disk(tmp_path):
    """Clients wait for each sync: the beginnings of steps that nobody undoes go without one."""
    runner, _ = make(tmp_path, World())
    write, synced = runner.journal.write, []

    def written(event, *, sync=True, **fields):
        synced.append((event, fields.get("step"))) if sync else None
        write(event, sync=sync, **fields)

    runner.journal.write = written
    asyncio.run(runner.run(no_reasons))
    runner.journal.close()
    assert synced == [("started", "Hold"), ("started", "Fence"), ("started", "Promote"),
                      ("ended", None)]


def test_every_refusal_is_collected_and_nothing_is_touched(tmp_path):
    one = Probe(reasons=("first", "second"))
    two = Probe2(raises=OutsideError("server b", "no route", sent=False, hint="look at the cable"))

    async def guard() -> list[str]:
        return ["from the guard", "first"]

    runner, _ = make(tmp_path, World(), steps=(one, two))
    report = asyncio.run(runner.run(guard))
    assert report.outcome is Outcome.REFUSED
    assert report.reasons == [
        "from the guard", "first", "second", "Probe2: server b: no route (try: look at the cable)",
    ]
    assert one.calls == two.calls == ["precheck"]
    assert {s.state for s in report.steps} == {"skipped"}
    assert report.exit_code == 1
    assert not journal.read(runner.journal.path).unfinished


def test_a_precheck_that_breaks_is_a_refusal(tmp_path):
    report = walk(tmp_path, World(), steps=(Probe(raises=KeyError("lag")),))
    assert report.outcome is Outcome.REFUSED
    assert report.reasons == ["Probe: KeyError: 'lag'"]


@pytest.mark.parametrize("first", [True, False])
def test_a_step_that_finds_others_at_work_refuses_only_before_anything_was_touched(first, tmp_path):
    async def refuse():
        raise Refused("cannot begin", ["another works on this pair"])

    step = Probe(acts=refuse)  # a look would say that it is done
    report = walk(tmp_path, World(), steps=(step, *STEPS) if first else (STEPS[0], step))
    assert report.outcome is (Outcome.REFUSED if first else Outcome.UNDONE)
    assert step.calls == ["precheck", "do", "undo"]
    assert "another works on this pair" in report.reasons[0]


def test_a_first_step_that_refuses_and_cannot_be_undone_is_stuck(tmp_path):
    async def refuse():
        raise Refused("cannot begin", ["another works on this pair"])

    async def fail():
        raise StepFailed("no way back")

    report = walk(tmp_path, World(), steps=(Probe(acts=refuse, undoes=fail),))
    assert report.outcome is Outcome.STUCK


def test_a_step_has_a_time_limit(tmp_path):
    probe = Probe(acts=forever, seen=Seen.NOT_DONE)
    report = walk(tmp_path, World(), steps=(probe,))
    assert report.outcome is Outcome.UNDONE
    assert report.reasons == ["Probe: took longer than its time limit"]
    assert probe.calls == ["precheck", "do", "verify", "undo"]


def test_an_answer_that_a_look_denies_is_a_failure(tmp_path):
    report = walk(tmp_path, World(), steps=(Probe(seen=Seen.NOT_DONE),))
    assert "a look says it is not so" in report.reasons[0]


@pytest.mark.parametrize(
    ("seen", "outcome"),
    [(Seen.UNKNOWN, Outcome.UNKNOWN), (Seen.NOT_DONE, Outcome.UNDONE), (Seen.DONE, Outcome.DONE)],
)
def test_commit_whose_answer_is_lost(seen, outcome, tmp_path):
    async def lose() -> None:
        raise OutsideError("server b", "connection lost", sent=True)

    before, commit = Probe(), ProbeCommit(acts=lose, seen=seen)
    report = walk(tmp_path, World(), steps=(before, commit))
    assert report.outcome is outcome
    assert ("undo" in before.calls) == (outcome is Outcome.UNDONE)
    if outcome is Outcome.UNKNOWN:
        assert report.exit_code == 3
        assert report.left == ["Pass the point of no return"]
        assert journal.read_all(tmp_path)[0].unfinished


def test_before_the_commit_an_unknown_step_is_undone(tmp_path):
    world = World()
    world.dead = {"Fence"}
    report = walk(tmp_path, world)
    assert report.outcome is Outcome.UNDONE
    assert world.state == BEFORE


def test_forward_steps_are_tried_three_times_and_do_not_stop_the_others(tmp_path):
    stubborn = Probe(seen=Seen.NOT_DONE)
    last = Probe2()
    report = walk(tmp_path, World(), steps=(ProbeCommit(), stubborn, last))
    assert report.outcome is Outcome.STUCK
    assert stubborn.calls.count("do") == 3
    assert last.calls.count("do") == 1
    assert report.left == ["Do what a test wants"]


def test_no_forward_try_begins_past_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(runner_module, "FORWARD_LIMIT_S", 0.0)
    stubborn = Probe(seen=Seen.NOT_DONE)
    assert walk(tmp_path, World(), steps=(ProbeCommit(), stubborn)).outcome is Outcome.STUCK
    assert stubborn.calls.count("do") == 1


def test_a_forward_step_that_succeeds_later_leaves_no_error(tmp_path):
    tries: list[int] = []

    async def third_time() -> None:
        tries.append(1)
        if len(tries) == 3:
            object.__setattr__(step, "seen", Seen.DONE)

    step = Probe(acts=third_time, seen=Seen.NOT_DONE)
    report = walk(tmp_path, World(), steps=(ProbeCommit(), step))
    assert report.outcome is Outcome.DONE
    assert report.steps[1].error == ""


def test_unwinding_has_a_budget_of_its_own(tmp_path):
    async def slow() -> None:
        await asyncio.sleep(0.04)

    first, second = Probe(), Probe2(undoes=slow, seen=Seen.NOT_DONE)
    begun = time.monotonic()
    report = walk(tmp_path, World(), steps=(first, second), unwind_limit_s=0.01)
    assert time.monotonic() - begun < 1
    assert report.outcome is Outcome.STUCK
    assert "undoing took longer than 0.01 s" in report.reasons
    assert report.left == ["undo: Do what a test wants", "undo: Do something else"]


def test_an_undo_that_hangs_does_not_stop_the_others(tmp_path):
    first, second = Probe(), Probe2(undoes=forever, seen=Seen.NOT_DONE)
    report = walk(tmp_path, World(), steps=(first, second))
    assert report.outcome is Outcome.STUCK
    assert "undo" in first.calls
    assert report.left == ["undo: Do something else"]


def interrupted(tmp_path, *, at: str, event: str = "started", steps=STEPS, world=None):
    """Run, and interrupt when that event of that step is told."""
    world = world or World()
    runner, told = make(tmp_path, world, steps=steps)

    def tell(e: dict[str, Any]) -> None:
        told.append(e)
        if e["event"] == event and e.get("step") == at:
            runner.interrupt()

    runner._tell = tell
    report = asyncio.run(runner.run(no_reasons))
    runner.journal.close()
    return report, world, told


@pytest.mark.parametrize("event", ["started", "done"])
@pytest.mark.parametrize("at", NAMES)
def test_interrupt(at, event, tmp_path):
    report, world, _ = interrupted(tmp_path, at=at, event=event)
    position = NAMES.index(at) * 2 + (event == "done")
    # `started` of the commit step is told before its do: from there it is only forward.
    committed = position >= NAMES.index("Promote") * 2 + 1
    begun_commit = (at, event) == ("Promote", "started")
    if committed or begun_commit:
        assert report.outcome is Outcome.DONE and world.state == AFTER
    else:
        assert report.outcome is Outcome.UNDONE and world.state == BEFORE
        assert "interrupted" in report.reasons[0]


def test_interrupt_cuts_a_long_step_short(tmp_path):
    class Long(Probe):
        """Wait for very long"""

        limit_s: ClassVar[float] = 30.0

    async def interrupt_while_it_runs() -> None:
        asyncio.get_running_loop().call_soon(runner.interrupt)
        await forever()

    runner, _ = make(tmp_path, World(), steps=(Long(acts=interrupt_while_it_runs),))
    report = asyncio.run(asyncio.wait_for(runner.run(no_reasons), 5))
    assert report.outcome is Outcome.UNDONE
    assert report.reasons == ["Long: interrupted"]


def test_interrupt_before_anything_was_touched_refuses(tmp_path):
    runner, _ = make(tmp_path, World())
    runner.interrupt()
    report = asyncio.run(runner.run(no_reasons))
    assert report.outcome is Outcome.REFUSED
    assert report.reasons == ["interrupted before anything was touched"]


def test_a_second_interrupt_stops_the_undoing(tmp_path, monkeypatch):
    monkeypatch.setattr("slackwater.plan.runner.HASTE_S", 0.0)
    calls: list[str] = []

    async def interrupt_again() -> None:
        runner.interrupt()  # the first stopped the plan
        calls.append("interrupted")
        await asyncio.sleep(0.03)

    first, second = Probe(), Probe2(undoes=interrupt_again, seen=Seen.NOT_DONE)
    runner, told = make(tmp_path, World(), steps=(first, second))
    runner._tell = lambda e: runner.interrupt() if e["event"] == "unwinding" else told.append(e)
    report = asyncio.run(runner.run(no_reasons))
    assert calls == ["interrupted"]
    assert "undo" not in first.calls
    assert report.outcome is Outcome.STUCK
    assert "undoing was interrupted" in report.reasons
    assert len(report.left) == 2


def test_two_interrupts_in_haste_are_one(tmp_path):
    """A stopped undoing leaves clients held, for their operator had no patience for 10 ms."""

    async def interrupt_twice() -> None:
        for _ in range(2):
            asyncio.get_running_loop().call_soon(runner.interrupt)
        await forever()

    async def interrupt_again() -> None:
        runner.interrupt()
        await asyncio.sleep(0.03)

    first, second = Probe(), Probe2(acts=interrupt_twice, undoes=interrupt_again)
    runner, told = make(tmp_path, World(), steps=(first, second))
    report = asyncio.run(asyncio.wait_for(runner.run(no_reasons), 5))
    assert report.outcome is Outcome.UNDONE and "undo" in first.calls
    assert any("stops the undoing" in e.get("text", "") for e in told)


def test_one_interrupt_does_not_stop_an_undoing_that_a_failure_began(tmp_path):
    async def interrupt() -> None:
        runner.interrupt()
        await asyncio.sleep(0)

    first, second = Probe(), Probe2(undoes=interrupt, seen=Seen.NOT_DONE)
    runner, told = make(tmp_path, World(), steps=(first, second))
    report = asyncio.run(runner.run(no_reasons))
    assert report.outcome is Outcome.UNDONE
    assert any("stops the undoing" in e.get("text", "") for e in told)


def test_a_listener_that_fails_stops_nothing(tmp_path):
    def broken(event: dict[str, Any]) -> None:
        raise BrokenPipeError

    world = World()
    runner, _ = make(tmp_path, world)
    runner._tell = broken
    assert asyncio.run(runner.run(no_reasons)).outcome is Outcome.DONE
    assert world.state == AFTER


def test_a_group_of_errors_is_told_one_by_one(tmp_path):
    async def both() -> None:
        raise ExceptionGroup("", [StepFailed("lb1 is gone"), StepFailed("lb2 is gone", hint="x")])

    report = walk(tmp_path, World(), steps=(Probe(acts=both, seen=Seen.NOT_DONE),))
    assert report.reasons == ["Probe: lb1 is gone; lb2 is gone (try: x)"]


def test_plans_are_checked():
    class NoWayBack(Step[World]):
        """Has neither undo nor a reason"""

    with pytest.raises(AssertionError, match="neither undo nor a reason"):
        Plan("x", "x", (NoWayBack(),), {})
    with pytest.raises(AssertionError, match="key in the journal"):
        Plan("x", "x", (Probe(), Probe()), {})

    class Second(ProbeCommit):
        """Another commit point"""

    with pytest.raises(AssertionError, match="one commit point"):
        Plan("x", "x", (ProbeCommit(), Second()), {})


def test_a_summary_is_filled_from_the_fields():
    @dataclass(frozen=True)
    class Move(Probe):
        """Move {names} within {limit}."""

        names: tuple[str, ...] = ("a", "b")
        limit: float = 5.0

    assert Move().summary == "Move a, b within 5"


class ProbeStays(Probe):
    """Throw something away"""

    undo = Step.undo
    no_undo: ClassVar[str] = "nobody has it any more"
    stays: ClassVar[bool] = True


def test_what_is_not_undone_is_named(tmp_path):
    """Not as everything that is as it was; and only what was begun."""
    told = "Throw something away: nobody has it any more"
    failing = Probe(seen=Seen.NOT_DONE)
    report = walk(tmp_path, World(), steps=(ProbeStays(), failing))
    assert report.outcome is Outcome.UNDONE and report.stays == [told]
    assert "everything is as it was" not in report_text(report) and told in report_text(report)
    report = walk(tmp_path, World(), steps=(failing, ProbeStays()))
    assert report.outcome is Outcome.UNDONE and not report.stays
    assert "everything is as it was" in report_text(report)
