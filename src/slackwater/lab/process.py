"""Processes of a lab: started so that they can always be found, ended so that no other is hit.

A process is named by its pid *and* the moment it started (clock ticks since boot, field 22 of
/proc/PID/stat), so that a reused pid is never taken for it. Each one also carries the mark
``SLACKWATER_LAB=DIRECTORY`` in its environment: when a lab's own notes are gone or were never
written, `marked` still finds what belongs to it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

MARK = "SLACKWATER_LAB"
_POLL_S = 0.005
# Those that this very process started: ended ones have to be reaped.
_children: dict[int, subprocess.Popen[bytes]] = {}


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
        if gone and (child := _children.pop(self.pid, None)):
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


def spawn(command: Sequence[str], *, mark: Path, output: Path) -> ProcessId | None:
    """Start a command that outlives us: own session, no input, no stray file descriptors.

    Its own session keeps a Ctrl-C at the terminal away from it. `output` gets what it prints
    (mode 0600). `mark` is the lab's directory. None when it has ended already.
    """
    fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=fd,
            stderr=subprocess.STDOUT,
            env=environment(mark),
            cwd="/",
            start_new_session=True,
            close_fds=True,
        )
    finally:
        os.close(fd)
    _children[child.pid] = child
    return ProcessId.of(child.pid)


def environment(mark: Path) -> dict[str, str]:
    """What lab processes get: our environment, the C locale, and the mark."""
    return {**os.environ, "LC_ALL": "C", MARK: str(mark)}


def marked(mark: Path) -> list[ProcessId]:
    """Every living process that a lab in this directory started and that we may look at."""
    return with_variable(MARK, str(mark))


def with_variable(name: str, value: str) -> list[ProcessId]:
    """Every living process, but for this one, that was started with this environment variable."""
    wanted = f"{name}={value}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # gone meanwhile, or somebody else's
        if wanted in words and (process := ProcessId.of(int(entry.name))):
            found.append(process)
    return found


def kill_all(processes: Iterable[ProcessId], limit_s: float = 10.0) -> list[ProcessId]:
    """SIGKILL them all, then wait; returns those that are still there at the limit."""
    todo = list(processes)
    for process in todo:
        process.signal(signal.SIGKILL)
    end = time.monotonic() + limit_s
    return [p for p in todo if not p.wait_gone(max(0.0, end - time.monotonic()))]


def poll_pause() -> None:
    """The pause between two looks."""
    time.sleep(_POLL_S)


def _stat(pid: int) -> tuple[str, int] | None:
    """(state, start time) of a pid."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError):
        return None
    fields = text.rpartition(")")[2].split()  # a program's name may hold blanks and brackets
    return fields[0], int(fields[19])
