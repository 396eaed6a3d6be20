"""Faults on purpose, so that every way out of a plan is walked in tests.

`SLACKWATER_INJECT` holds faults separated by `;`, each `KIND:STEP[:COMMAND]`:

  before:STEP   do fails before it acts          lost:STEP    do acts, its answer is lost
  after:STEP    do acts, then fails              verify:STEP  the look says "not done"
  undo:STEP     undo fails                       kill:STEP    SIGKILL to ourselves before do
  killed:STEP   SIGKILL to ourselves after do    killgroup:STEP  SIGKILL to our process group
  run:STEP:COMMAND  a shell command just before do (stop a server, cut a network)

Only a lab's configuration (`lab = true`) honours it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass

from slackwater.errors import OutsideError, StepFailed, UsageError

VARIABLE = "SLACKWATER_INJECT"
RUN_LIMIT_S = 60.0
KINDS = ("before", "lost", "after", "verify", "undo", "kill", "killed", "killgroup", "run")


@dataclass(frozen=True)
class Fault:
    """One fault: its kind, the step it befalls, and for `run` a command."""

    kind: str
    step: str
    command: str = ""


class Faults:
    """The faults asked for; empty in production."""

    def __init__(self, faults: tuple[Fault, ...] = ()) -> None:
        self._faults = faults

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Read the variable's text; raises UsageError naming the part that is wrong."""
        faults = []
        for part in filter(None, (p.strip() for p in text.split(";"))):
            kind, _, rest = part.partition(":")
            step, _, command = rest.partition(":")
            if kind not in KINDS or not step:
                kinds = ", ".join(KINDS)
                raise UsageError(f"{VARIABLE}: {part!r} is not KIND:STEP; kinds: {kinds}")
            faults.append(Fault(kind, step, command))
        return cls(tuple(faults))

    def check(self, steps: list[str]) -> None:
        """Raises UsageError for a step that the plan lacks: such a fault would test nothing."""
        for fault in self._faults:
            if fault.step not in steps:
                raise UsageError(f"{VARIABLE}: no step {fault.step!r}; steps: {', '.join(steps)}")

    def before(self, step: str) -> None:
        """Called before `do`."""
        for fault in self._of(step):
            if fault.kind == "run":
                # Standard output is for the operation's own JSON.
                subprocess.run(fault.command, shell=True, check=False, timeout=RUN_LIMIT_S,
                               stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno())
            elif fault.kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif fault.kind == "killgroup":
                os.killpg(0, signal.SIGKILL)
            elif fault.kind == "before":
                raise StepFailed(f"injected: {step} fails before it acts")

    def after(self, step: str) -> None:
        """Called after `do` returned."""
        for fault in self._of(step):
            if fault.kind == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            elif fault.kind == "lost":
                raise OutsideError("injected", f"the answer to {step} is lost", sent=True)
            elif fault.kind == "after":
                raise StepFailed(f"injected: {step} fails after it acted")

    def denies(self, step: str) -> bool:
        """True when the look at this step shall say "not done"."""
        return any(f.kind == "verify" for f in self._of(step))

    def undo(self, step: str) -> None:
        """Called before `undo`."""
        if any(f.kind == "undo" for f in self._of(step)):
            raise StepFailed(f"injected: undo of {step} fails")

    def _of(self, step: str) -> list[Fault]:
        return [f for f in self._faults if f.step == step]
