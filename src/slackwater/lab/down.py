"""End a lab: every process of it, then its directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slackwater.errors import Refused
from slackwater.lab import directory as place


@dataclass(frozen=True)
class Ended:
    """What `down` found and removed."""

    directory: Path
    processes: int
    removed: bool


def down(directory: Path | None = None, *, limit_s: float = 20.0) -> Ended:
    """Kill the lab's processes and delete its directory. Safe to repeat, and after any crash.

    The data is thrown away, so the servers get SIGKILL (MySQL takes some 12 s to stop while
    a replica is connected). Raises Refused when the directory is there but is no lab.
    """
    path = place.resolve(directory)
    if not path.exists():  # deleted under the feet of its processes
        return Ended(path, place.end_processes(path, limit_s), False)
    running = bool(place.processes(path))
    if not running and not place.is_lab(path):
        reason = "it does not look like one that `lab up` made"
        raise Refused(f"{path} is no lab; nothing was touched", [reason])
    with place.lock(path, limit_s):
        return clean(path, limit_s=limit_s)


def clean(path: Path, *, limit_s: float = 20.0) -> Ended:
    """`down` for somebody who holds the lock."""
    ended = place.end_processes(path, limit_s)
    place.delete(path)
    return Ended(path, ended, True)
