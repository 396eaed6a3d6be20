"""Steps and plans: what an operation is before it is an act."""

from __future__ import annotations

import dataclasses
import enum
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

World = TypeVar("World")


class Seen(enum.Enum):
    """What a look at the world says of a step."""

    DONE = "done"
    NOT_DONE = "not done"
    UNKNOWN = "unknown"  # could not look; never guess


class Outcome(enum.StrEnum):
    """The five words an operation ends in."""

    DONE = "done"
    REFUSED = "refused"
    UNDONE = "undone"
    STUCK = "stuck"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Step(Generic[World]):
    """One act upon the world, its proof, and its way back.

    A subclass is a frozen dataclass: its fields are its arguments, so that it prints and
    compares. The first line of its docstring is what people see. `do` and `undo` may be
    repeated: both look before they act.
    """

    limit_s: ClassVar[float] = 5.0
    undo_limit_s: ClassVar[float] = 5.0
    # Nothing past this step is undone: from its `do` on, the runner only goes forward.
    commit: ClassVar[bool] = False
    # Past the commit point: how often it is tried. 1 for a step that is itself a long wait.
    forward_tries: ClassVar[int] = 3
    # A step without undo says why, in words.
    no_undo: ClassVar[str] = ""
    # Without undo, and people have to know: where the rest is undone, the report names it as what
    # stays, with the words of `no_undo`.
    stays: ClassVar[bool] = False
    # The class of an earlier step whose undo, after a crash, brings back what this one did too:
    # should a machine that dies forget that this one was begun, nothing is lost by it.
    undone_with: ClassVar[str] = ""

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def summary(self) -> str:
        """The line people see; `{field}` in the docstring is filled from the step's fields."""
        first = (type(self).__doc__ or self.name).strip().splitlines()[0].rstrip(".")
        return re.sub(r"\{(\w+)\}", lambda m: _plain(getattr(self, m[1])), first)

    async def precheck(self, world: World) -> list[str]:
        """Look, and return every reason not to start the operation. Touches nothing."""
        return []

    async def do(self, world: World) -> Seen | None:
        """Act. Returns Seen.DONE when the reply itself showed that the goal holds, else None;
        then `verify` is asked. While clients are held, a second look is time they wait.

        A first step that finds others at work raises Refused: then the operation was not begun.
        """
        raise NotImplementedError

    async def verify(self, world: World) -> Seen:
        """Look whether this step's goal holds now. Looks, never remembers."""
        raise NotImplementedError

    async def passed(self, world: World) -> Seen:
        """Of a commit step, after a crash: was this point ever passed?"""
        return await self.verify(world)

    async def undo(self, world: World) -> None:
        """Bring back what was. Safe if `do` never ran, or ran half."""
        raise NotImplementedError


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_plain(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Plan(Generic[World]):
    """A titled list of steps. `arguments` rebuild it after a crash: plain JSON values."""

    operation: str
    title: str
    steps: tuple[Step[World], ...]
    arguments: dict[str, Any]
    onward: str = ""  # for people, where it was undone or is stuck: what finishes the work

    def __post_init__(self) -> None:
        names = [s.name for s in self.steps]
        assert len(set(names)) == len(names), f"a step's name is its key in the journal: {names}"
        assert sum(s.commit for s in self.steps) <= 1, "a plan has one commit point"
        for at, step in enumerate(self.steps):
            has_undo = type(step).undo is not Step.undo
            assert has_undo or step.no_undo, f"{step.name} has neither undo nor a reason why not"
            before = {"", *(type(s).__name__ for s in self.steps[:at])}
            assert step.undone_with in before, step.name
            assert step.no_undo or not step.stays, f"{step.name} stays, and does not say why"

    def commit_index(self) -> int:
        """Position of the commit step; len(steps) when the plan has none."""
        return next((i for i, s in enumerate(self.steps) if s.commit), len(self.steps))

    def describe(self) -> list[dict[str, Any]]:
        """The plan as data for `--plan --json`."""
        return [
            {
                "name": step.name,
                "summary": step.summary,
                "arguments": dataclasses.asdict(step),
                "limit_s": step.limit_s,
                "commit": step.commit,
                "undo": step.no_undo or "yes",
            }
            for step in self.steps
        ]
