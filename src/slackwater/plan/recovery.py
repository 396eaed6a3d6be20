"""Which way a journal that a crash left leads: back, forward, or first to a look."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from slackwater.plan.journal import Past
from slackwater.plan.step import Plan, Step


class Way(enum.StrEnum):
    """In the words that people see."""

    UNDO = "undo what was begun"
    LOOK = "look whether the commit point was passed; then finish, or undo"
    FINISH = "finish what comes after the commit point"


@dataclass(frozen=True)
class Recovery:
    """`last`: index of the last step that was begun, -1 when none was."""

    way: Way
    last: int

    def steps(self, plan: Plan[Any]) -> list[tuple[str, Step[Any]]]:
        """What would be done, as ("undo", step), ("look at", step) or ("do", step), in order;
        and ("keep", step) for what stays of what is undone."""
        commit = plan.commit_index()
        if self.way is Way.UNDO:
            begun = plan.steps[: self.last + 1]
            return [("undo", s) for s in reversed(begun) if not s.no_undo] + [
                ("keep", s) for s in begun if s.stays]
        if self.way is Way.LOOK:
            return [("look at", plan.steps[commit])]
        # Each is looked at first, and done only if a look says that it is not.
        return [("do", s) for s in plan.steps[commit:]]


def recovery(plan: Plan[Any], past: Past) -> Recovery:
    """What the journal alone says."""
    started, commit = past.steps("started"), plan.commit_index()
    last = max((i for i, s in enumerate(plan.steps) if s.name in started), default=-1)
    if last < commit:
        return Recovery(Way.UNDO, last)
    if plan.steps[commit].name in past.steps("done"):
        return Recovery(Way.FINISH, last)
    return Recovery(Way.LOOK, last)
