"""Which way a journal leads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from tests.plan.memory_world import COMMIT, NAMES, plan

from slackwater.plan.journal import Past
from slackwater.plan.recovery import Way, recovery
from slackwater.plan.step import Plan, Step


def past(*begun: str, done: tuple[str, ...] = ()) -> Past:
    events = [{"event": "started", "step": s} for s in begun]
    return Past(Path("x"), (*events, *({"event": "done", "step": s} for s in done)))


@pytest.mark.parametrize(("found", "way", "acts"), [
    (past(), Way.UNDO, []),
    (past(*NAMES[:3]), Way.UNDO, [("undo", "Fence"), ("undo", "Hold")]),
    (past(*NAMES[:COMMIT + 1]), Way.LOOK, [("look at", "Promote")]),
    (past(*NAMES[:COMMIT + 2], done=("Promote",)), Way.FINISH,
     [("do", "Promote"), ("do", "Send"), ("do", "Tidy")]),
])
def test_the_way(found: Past, way: Way, acts: list[tuple[str, str]]) -> None:
    seen = recovery(plan(), found)
    assert (seen.way, [(act, s.name) for act, s in seen.steps(plan())]) == (way, acts)


def test_a_step_that_is_undone_with_another_stands_behind_it() -> None:
    """Its beginning may be forgotten: only the other's undo brings it back then."""

    @dataclass(frozen=True)
    class Fence(Step[None]):
        """Fence"""

        undone_with: ClassVar[str] = "Hold"

        async def undo(self, world: None) -> None:
            pass

    @dataclass(frozen=True)
    class Hold(Fence):
        """Hold"""

        undone_with: ClassVar[str] = ""

    Plan("x", "x", (Hold(), Fence()), {})
    for steps in ((Fence(),), (Fence(), Hold())):
        with pytest.raises(AssertionError, match="Fence"):
            Plan("x", "x", steps, {})
