"""recover, from every place where slackwater can be killed.

A kill is simulated twice over: the world stays as it was at a moment, and the journal ends
there, whole or in the middle of a line. Where the machine itself dies, it ends at its last sync.
"""

from __future__ import annotations

import asyncio

import pytest
from tests.plan.memory_world import (
    AFTER,
    BEFORE,
    COMMIT,
    NAMES,
    STEPS,
    World,
    make,
    no_reasons,
    plan,
    recover,
)

from slackwater.errors import StepFailed
from slackwater.plan import journal
from slackwater.plan.runner import Runner
from slackwater.plan.step import Outcome, Seen

RUNS = ["", "before:Promote", "lost:Promote", "before:Send", "verify:Promote", "before:Tidy",
        "before:Fence;undo:Hold"]


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, nothing is cleaned up."""


def moments(directory, inject):
    """(journal's bytes, world) at each moment at which the journal or the world changed; each of
    them again with what a machine that lost its power has on its disk."""
    world = World()
    runner, _ = make(directory, world, inject=inject)
    found: list[tuple[bytes, World]] = []

    def written() -> bytes:
        return runner.journal.path.read_bytes().rstrip(b"\n") + b"\n"

    on_disk = [written()]

    def remember() -> None:
        found.append((written(), world.copy()))
        if on_disk[-1] != found[-1][0]:
            found.append((on_disk[-1], world.copy()))

    write, forward = runner.journal.write, runner._faults.after

    def write_and_remember(*given, sync=True, **named):
        remember()  # killed just before the line was written
        write(*given, sync=sync, **named)
        if sync:
            on_disk.append(written())
        remember()

    def after(step: str) -> None:
        remember()  # killed when the step was done and nothing of it was written
        forward(step)

    runner.journal.write = write_and_remember
    runner._faults.after = after
    asyncio.run(runner.run(no_reasons))
    runner.journal.close()
    return runner.journal.path.stem, found


@pytest.mark.parametrize("torn", [False, True], ids=["whole-lines", "torn-line"])
@pytest.mark.parametrize("inject", RUNS, ids=[r or "done" for r in RUNS])
def test_from_every_cut_off_point(inject, torn, tmp_path):
    name, found = moments(tmp_path / "run", inject)
    assert len(found) > 10
    ends = set()
    for number, (text, world) in enumerate(found):
        path = tmp_path / f"{name}-{number}.jsonl"
        path.write_bytes(text + b'{"at": 1, "event": "do' * torn)
        past = journal.read(path)
        if not past.unfinished:
            assert world.state in (BEFORE, AFTER)
            continue
        committed = world.writable["b"]
        report = recover(path, world)
        assert report.outcome is (Outcome.DONE if committed else Outcome.UNDONE), (number, report)
        assert world.state == (AFTER if committed else BEFORE), number
        assert world.both_writable == 0
        ends.add(report.outcome)
        assert not journal.read(path).unfinished
        world.changes.clear()
        again = recover(path, world)
        assert again.outcome is report.outcome
        assert world.changes == [], "a second recover changes nothing"
    assert ends


def test_killed_while_recovering(tmp_path):
    """A recover that is itself cut off anywhere is finished by the next one."""
    name, found = moments(tmp_path / "run", "")
    for number, (text, world) in enumerate(found):
        for line in range(0, 12, 3):
            path = tmp_path / f"{name}-{number}-{line}.jsonl"
            path.write_bytes(text)
            if not journal.read(path).unfinished:
                continue
            there = world.copy()
            committed = there.writable["b"]
            _recover_and_die_at(path, there, line)
            recover(path, there)
            assert there.state == (AFTER if committed else BEFORE), (number, line)
            assert there.both_writable == 0


def _recover_and_die_at(path, world, line):
    runner = Runner(plan(), world, journal.Journal.reopen(path), tell=lambda event: None)
    write, count = runner.journal.write, []

    def dying(*given, **named):
        count.append(1)
        if len(count) > line:
            raise Killed
        write(*given, **named)

    runner.journal.write = dying
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(runner.recover(journal.read(path)))
    except Killed:
        pass
    finally:
        loop.close()
        runner.journal._offset = len(path.read_bytes())
        runner.journal.close()


def test_unknown_changes_nothing(tmp_path):
    _, found = moments(tmp_path / "run", "")
    text, world = next(f for f in found if b'"step": "Promote"' in f[0] and b'"done"' in f[0]
                       and not f[1].writable["b"])
    path = tmp_path / "cut.jsonl"
    path.write_bytes(text)
    world.dead = {"Promote"}
    state = world.state
    report = recover(path, world)
    assert report.outcome is Outcome.UNKNOWN
    assert "cannot tell whether Promote took effect" in report.reasons[0]
    assert report.left == [s.summary for s in STEPS[COMMIT:]]
    assert world.state == state
    assert journal.read(path).unfinished
    world.dead = set()
    assert recover(path, world).outcome is Outcome.UNDONE
    assert world.state == BEFORE


def test_a_done_line_of_the_commit_is_believed_without_a_look(tmp_path):
    world = World()
    for name in ("a", "b"):
        world.set_writable(name, name == "b")
    runner, _ = make(tmp_path, world)
    for step in NAMES[: COMMIT + 1]:
        runner.journal.write("started", step=step)
        runner.journal.write("done", step=step)
    runner.journal.close()
    assert recover(runner.journal.path, world).outcome is Outcome.DONE
    assert world.state == AFTER


def test_a_plan_that_never_started_needs_no_recover(tmp_path):
    runner, _ = make(tmp_path, World())
    runner.journal.close()
    assert not journal.read(runner.journal.path).unfinished


def test_past_a_commit_point_that_no_longer_holds_nothing_is_sent_there(tmp_path, monkeypatch):
    """Others switched back since: to go on would send clients to a server that serves nobody."""
    world = World()
    runner, _ = make(tmp_path, world, inject="before:Tidy")
    assert asyncio.run(runner.run(no_reasons)).outcome is Outcome.STUCK
    runner.journal.close()
    promote = type(STEPS[COMMIT])

    async def refuses(self, world):
        raise StepFailed("others decided anew")

    async def looks(self, world):
        return Seen.NOT_DONE

    monkeypatch.setattr(promote, "do", refuses)
    monkeypatch.setattr(promote, "verify", looks)
    report = recover(runner.journal.path, world)
    assert report.outcome is Outcome.STUCK
    assert [r.state for r in report.steps[COMMIT + 1:]] == ["waiting"] * (len(STEPS) - COMMIT - 1)
