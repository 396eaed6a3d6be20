"""How an operation talks to people while it runs, and what it says at the end.

Writing happens in a thread of its own: a terminal that hangs must not hold up clients.
"""

from __future__ import annotations

import contextlib
import json
import queue
import sys
import threading
from typing import Any

from slackwater.plan.report import Report
from slackwater.plan.step import Outcome, Plan

MARKS = {"done": "ok", "failed": "FAILED", "undone": "undone", "undo_failed": "UNDO FAILED"}
WORDS = {
    Outcome.DONE: "Done.",
    Outcome.REFUSED: "Refused; nothing was touched.",
    Outcome.UNDONE: "Undone; everything is as it was.",
    Outcome.STUCK: "Stuck; a person has to look.",
    Outcome.UNKNOWN: "Unknown; a person has to look before anything else is changed.",
}

# Written in batches: each wakening of the thread that writes takes from the one that works, which
# while it holds clients has some milliseconds for all.
TOGETHER_S = 0.05

BUT_STAYS = "Undone, but for what stays:"


class Presenter:
    """Takes the runner's events and writes them to standard error, as text or as JSON lines."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._finished = threading.Event()
        self._summaries: dict[str, str] = {}
        self._thread = threading.Thread(target=self._write_all, daemon=True)
        self._thread.start()

    def tell(self, event: dict[str, Any]) -> None:
        """Queue one event; returns at once."""
        self._lines.put(event)

    def finish(self) -> None:
        """Write what is queued; gives up on a terminal that takes none of it."""
        self._finished.set()
        self._lines.put(None)
        self._thread.join(timeout=2)

    def _write_all(self) -> None:
        while (event := self._lines.get()) is not None:
            if self._lines.empty():
                self._finished.wait(TOGETHER_S)
            line = json.dumps(event, default=str) if self._as_json else self._words(event)
            if line:
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.write(line + "\n")
                    sys.stderr.flush()

    def _words(self, event: dict[str, Any]) -> str:
        kind, step = event["event"], event.get("step", "")
        if kind == "started":
            self._summaries[step] = event["summary"]
            return ""
        if kind == "output":
            return "\n".join(f"{'':15}| {line}" for line in event["text"].splitlines())
        if kind == "told":
            return f"  {event['text']}"
        if kind == "unwinding":
            return f"  undoing: {event['reason']}"
        if kind not in MARKS:
            return ""
        taken = f"{event['ms']:8.1f} ms" if "ms" in event else " " * 11
        error = f"\n{'':15}{event['error']}" if "error" in event else ""
        lost = f"  (its answer was lost: {event['after']})" if event.get("after") else ""
        return f"  {MARKS[kind]:>11} {taken}  {self._summaries.get(step, step)}{lost}{error}"


def plan_text(plan: Plan[Any]) -> str:
    """A plan for people: numbered, with the commit point and what has no undo."""
    lines = [f"{plan.title[:1].upper()}{plan.title[1:]}:"]
    for number, step in enumerate(plan.steps, 1):
        lines.append(f"  {number:2}. {step.summary}")
        if step.commit:
            lines.append(f"      -- commit point: {step.no_undo} --")
    return "\n".join(lines)


def report_text(report: Report) -> str:
    """The end of an operation for people."""
    lines = [BUT_STAYS if report.stays and report.outcome is Outcome.UNDONE
             else WORDS[report.outcome]]
    lines += [f"  because {reason}" for reason in report.reasons]
    lines += [f"  left to do: {left}" for left in report.left]
    lines += [f"  stays: {stays}" for stays in report.stays]
    if report.onward:
        lines.append(f"  next: {report.onward}")
    elif report.outcome in (Outcome.STUCK, Outcome.UNKNOWN):
        lines.append("  next: `slackwater status`, then `slackwater recover`")
    return "\n".join(lines)


def refusals_text(reasons: list[str]) -> str:
    """A list of reasons, one a line."""
    return "\n".join(f"  - {reason}" for reason in reasons)
