"""Every kind of fault at every step: the outcome is told truthfully and nothing is left over."""

from __future__ import annotations

import pytest
from tests.plan.memory_world import AFTER, BEFORE, COMMIT, NAMES, World, recover, walk

from slackwater.errors import UsageError
from slackwater.plan import journal
from slackwater.plan.faults import Faults
from slackwater.plan.step import Outcome

HARMLESS = ("lost", "after")  # the work was done: looking finds that out
CASES = [(k, s) for k in ("before", "lost", "after", "verify") for s in NAMES]


def expected(kind: str, step: str) -> Outcome:
    if kind in HARMLESS:
        return Outcome.DONE
    if NAMES.index(step) < COMMIT or (kind == "before" and step == NAMES[COMMIT]):
        return Outcome.UNDONE
    return Outcome.STUCK


@pytest.mark.parametrize(("kind", "step"), CASES)
def test_fault(kind, step, tmp_path):
    world = World()
    report = walk(tmp_path, world, inject=f"{kind}:{step}")
    assert report.outcome is expected(kind, step), report
    assert world.both_writable == 0
    assert sum(world.writable.values()) == 1
    if report.outcome is Outcome.DONE:
        assert world.state == AFTER
    elif report.outcome is Outcome.UNDONE:
        assert world.state == BEFORE
        assert report.reasons[0].startswith(f"{step}: ")
        assert not report.left
    else:
        assert report.left
    assert report.exit_code == {"done": 0, "undone": 2, "stuck": 3}[report.outcome]


@pytest.mark.parametrize(("kind", "step"), CASES)
def test_recover_after_a_fault_leaves_one_active_server(kind, step, tmp_path):
    world = World()
    walk(tmp_path, world, inject=f"{kind}:{step}")
    [past] = journal.read_all(tmp_path)
    if not past.unfinished:
        return
    report = recover(past.path, world)
    assert report.outcome is Outcome.DONE
    assert world.state == AFTER
    assert not journal.read(past.path).unfinished


@pytest.mark.parametrize("step", ["Hold", "Fence"])
def test_undo_that_fails_does_not_stop_the_others(step, tmp_path):
    world = World()
    report = walk(tmp_path, world, inject=f"before:Promote;undo:{step}")
    assert report.outcome is Outcome.STUCK
    states = {r.name: r.state for r in report.steps}
    other = {"Hold": "Fence", "Fence": "Hold"}[step]
    assert (states[step], states[other]) == ("undo failed", "undone")
    assert states["Wait"] == "kept"
    assert [line for line in report.left if line.startswith("undo: ")] == report.left
    assert any(f"undo of {step}: injected" in r for r in report.reasons)
    [past] = journal.read_all(tmp_path)
    assert recover(past.path, world).outcome is Outcome.UNDONE
    assert world.state == BEFORE


def test_table(tmp_path, capsys):
    """The table of all this, for people: `pytest -k test_table -s`."""
    with capsys.disabled():
        print("\n  fault at step   " + "".join(f"{n:>9}" for n in NAMES))
        for kind in ("before", "lost", "after", "verify"):
            outcomes = [walk(tmp_path, World(), inject=f"{kind}:{n}").outcome for n in NAMES]
            print(f"  {kind:<16}" + "".join(f"{o.value:>9}" for o in outcomes))


def test_run_executes_a_command_before_the_step(tmp_path):
    mark = tmp_path / "mark"
    report = walk(tmp_path, World(), inject=f"run:Fence:touch {mark}; before:Promote")
    assert mark.exists()
    assert report.outcome is Outcome.UNDONE


@pytest.mark.parametrize(
    ("text", "why"),
    [("nonsense", "not KIND:STEP"), ("before:", "not KIND:STEP"), ("burn:Hold", "kinds: before")],
)
def test_wrong_text(text, why):
    with pytest.raises(UsageError, match=why):
        Faults.parse(text)


def test_a_fault_for_a_step_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="no step 'Hodl'; steps: Hold, Wait"):
        walk(tmp_path, World(), inject="before:Hodl")
