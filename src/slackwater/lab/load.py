"""The verifying load: `run` offers writes, remembers what was acknowledged, and looks for it.

`python -m slackwater.lab.load` is the same as `slackwater lab load`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from slackwater.errors import UsageError
from slackwater.lab.load_engine import Engine
from slackwater.lab.load_plan import LoadPlan, Target
from slackwater.lab.load_record import Record
from slackwater.lab.load_report import LoadReport
from slackwater.lab.load_verify import create_table, verify

__all__ = ["Load", "LoadPlan", "LoadReport", "Target", "run"]


class Load:
    """A load that can be stopped: `run` in one thread, `stop` from another or from a signal."""

    def __init__(self, target: Target, plan: LoadPlan) -> None:
        """Raises UsageError with every reason why the plan makes no sense."""
        reasons = plan.rejected()
        if not target.frontends:
            reasons.append("no frontend to connect to")
        if reasons:
            raise UsageError("; ".join(reasons))
        self.target = target
        self.plan = plan
        self._engine = Engine(target, plan)

    def stop(self) -> None:
        """End early, within 50 ms plus the answers under way; `run` still reports in full."""
        self._engine.stop = True

    @property
    def record(self) -> Record:
        """What was seen so far; another thread may look while `run` adds to it."""
        return self._engine.record

    def run(self, progress: Callable[[str], None] | None = None) -> LoadReport:
        """Create the table, offer the load, wait for its end, verify. Once per object.

        `progress` gets a line of text every second. Raises OutsideError when the table cannot
        be created; nothing else that servers do makes it fail.
        """
        create_table(self.target, limit_s=self.plan.connect_limit_s)
        started = time.time() * 1e3
        self._engine.run(progress)
        ended = time.time() * 1e3
        record = self._engine.record
        seen = None
        if self.target.servers:
            fates = bytes(record.fates)
            seen = verify(self.target, record.base, fates, catch_up_s=self.plan.catch_up_s)
        return LoadReport(
            plan=self.plan,
            record=record,
            verification=seen,
            started_ms=round(started, 3),
            ended_ms=round(ended, 3),
            cpu_s=self._engine.cpu_s,
        )


def run(
    target: Target, plan: LoadPlan, progress: Callable[[str], None] | None = None
) -> LoadReport:
    """Offer `plan` to `target` and verify it: `Load(target, plan).run(progress)`."""
    return Load(target, plan).run(progress)


if __name__ == "__main__":
    import typer

    from slackwater.cli.load import load

    typer.run(load)
