"""Whether a process, or a command that `command` began, still runs.

Sent to other hosts: standard library and `gate_` modules only; Python 3.8 or later.
"""

from __future__ import annotations

import os

_SESSION, _STARTED = 3, 19  # fields of /proc/PID/stat behind the name: the session, when it began


def started(pid: int) -> str:
    """When a process started (clock ticks since boot), "" when there is none or it is a zombie."""
    words = _words(_read(f"/proc/{pid}/stat"))
    return "" if not words or words[0] in "ZX" else words[_STARTED]


def runs(pid: int, start: str, files: str) -> bool:
    """Whether a command still runs: the shell that waits for it, or, where that was killed alone
    and so left no exit code, the command itself. `files`: the path of what the shell writes,
    without the ends: `.exit`, and `.pid` with the command's line of /proc/PID/stat."""
    if pid and started(pid) == start:
        return True
    if os.path.exists(files + ".exit"):  # noqa: PTH110
        return False
    line = _read(files + ".pid")
    words = _words(line)
    if words:
        return started(int(line.split()[0])) == words[_STARTED]
    return bool(pid) and _in_session(pid)  # killed before it had written that


def _in_session(session: int) -> bool:
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        words = _words(_read(f"/proc/{pid}/stat"))
        if words and words[0] not in "ZX" and words[_SESSION] == str(session):
            return True
    return False


def _words(stat: str) -> list[str]:
    """The fields behind a program's name, which may hold blanks and brackets; [] of a torn line."""
    words = stat.rpartition(")")[2].split()
    return words if len(words) > _STARTED else []


def _read(path: str) -> str:
    try:
        with open(path) as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""
