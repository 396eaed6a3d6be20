"""Which way a journal leads."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.plan.memory_world import COMMIT, NAMES, plan

from slackwater.plan.journal import Past
from slackwater.plan.recovery import Way, recovery


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
