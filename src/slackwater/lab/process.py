"""Processes of a lab: started so that they can always be found, ended so that no other is hit.

A process is an `outside.process.ProcessId`. Each one also carries the mark
``SLACKWATER_LAB=DIRECTORY`` in its environment: when a lab's own notes are gone or were never
written, `marked` still finds what belongs to it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from slackwater.outside.process import ProcessId, children

__all__ = [
    "MARK", "ProcessId", "environment", "kill_all", "marked", "poll_pause", "spawn",
    "with_variable",
]  # fmt: skip

MARK = "SLACKWATER_LAB"
_POLL_S = 0.005


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
    children[child.pid] = child
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
