"""What an operation has to say for itself at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from slackwater import clock
from slackwater.errors import EXIT_DONE, EXIT_REFUSED, EXIT_STUCK, EXIT_UNDONE
from slackwater.plan.step import Outcome

EXIT_CODES = {
    Outcome.DONE: EXIT_DONE,
    Outcome.REFUSED: EXIT_REFUSED,
    Outcome.UNDONE: EXIT_UNDONE,
    Outcome.STUCK: EXIT_STUCK,
    Outcome.UNKNOWN: EXIT_STUCK,
}


@dataclass
class StepRecord:
    """One line of the report.

    States: waiting (not begun), done, failed, undone, undo failed, kept (needs no undo), skipped.
    """

    name: str
    summary: str
    state: str = "waiting"
    ms: float = 0.0
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {"name": self.name, "state": self.state, "ms": round(self.ms, 2)}
        return record | ({"error": self.error} if self.error else {})


@dataclass
class Report:
    """The outcome in one word, the steps, the reasons, the figures of the operation."""

    operation: str
    id: str
    title: str
    outcome: Outcome
    steps: list[StepRecord]
    started: float  # unix seconds
    ended: float = 0.0
    reasons: list[str] = field(default_factory=list)  # why refused, undone, stuck or unknown
    left: list[str] = field(default_factory=list)  # what a person or `recover` still has to do
    stays: list[str] = field(default_factory=list)  # where the rest was undone: what was not
    onward: str = ""  # what to do then
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.outcome]

    def as_json(self) -> dict[str, Any]:
        return {
            "operation": self.operation,
            "id": self.id,
            "outcome": self.outcome.value,
            "title": self.title,
            "steps": [s.as_json() for s in self.steps],
            "started": clock.text(self.started),
            "ended": clock.text(self.ended),
            "reasons": self.reasons,
            "left": self.left,
            **({"stays": self.stays} if self.stays else {}),
            **({"next": self.onward} if self.onward else {}),
            **self.figures,
        }
