"""One process for ever: named by its pid and the moment it started.

A pid is used again after its process has ended; with the start time (clock ticks since boot, field
22 of /proc/PID/stat) no other process is taken for it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

# Those that this very process started, by pid: ended ones have to be reaped.
children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class ProcessId:
    """One process for ever: `started` is in clock ticks since boot."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The process that has this pid now; None if there is none, or only a zombie."""
        stat = _stat(pid)
        return None if stat is None or stat[0] in "ZX" else cls(pid, stat[1])

    @property
    def alive(self) -> bool:
        """Whether it still runs (a stopped one does, a zombie does not)."""
        return ProcessId.of(self.pid) == self

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to this very process; False if it is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:  # looked at after the handle was taken, so no reuse in between
                return False
            signal.pidfd_send_signal(handle, number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)

    def wait_gone(self, limit_s: float) -> bool:
        """Wait until it has ended, at most `limit_s`; False if it still runs then."""
        gone = self._wait_gone(limit_s)
        if gone and (child := children.pop(self.pid, None)):
            child.wait()
        return gone

    def _wait_gone(self, limit_s: float) -> bool:
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive:
                return True
            # Readable once the process has ended, whether or not somebody reaps it.
            return bool(select.select([handle], [], [], limit_s)[0])
        finally:
            os.close(handle)


def age_s() -> float:
    """How long ago this process began, to a hundredth of a second."""
    stat = _stat(os.getpid())
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    return now - stat[1] / os.sysconf("SC_CLK_TCK") if stat else 0.0


def _stat(pid: int) -> tuple[str, int] | None:
    """(state, start time) of a pid."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError):
        return None
    fields = text.rpartition(")")[2].split()  # a program's name may hold blanks and brackets
    return fields[0], int(fields[19])
