"""The directory of a lab: whose it is, what is in it, and how it goes away."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slackwater.errors import Refused
from slackwater.lab import template
from slackwater.lab.process import ProcessId, kill_all, marked, poll_pause

_FLAG = ".slackwater-lab"  # made first, deleted last: what makes a directory ours
_NOTES = "lab.json"


def default_directory() -> Path:
    """One for each user, in the directory for temporary files."""
    return Path(tempfile.gettempdir(), f"slackwater-lab-{os.geteuid()}")


def resolve(directory: Path | None) -> Path:
    """The absolute, real path of the lab asked for."""
    return Path(directory or default_directory()).absolute().resolve()


def claim(directory: Path) -> None:
    """Make the directory ours: new or empty, closed to others. Raises Refused."""
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        _check_owner(directory)
        if any(directory.iterdir()):
            raise Refused(
                f"cannot make a lab in {directory}", ["it is not empty"], hint="name another one"
            ) from None
    except OSError as problem:
        raise Refused(f"cannot make a lab in {directory}", [str(problem)]) from problem
    (directory / _FLAG).touch(mode=0o600)
    user = template.run_as()
    if user.switch:  # the servers' account may pass through, and nobody else
        os.chown(directory, -1, user.gid)
        directory.chmod(0o710)
    else:
        directory.chmod(0o700)


@contextlib.contextmanager
def lock(directory: Path, limit_s: float) -> Iterator[None]:
    """Hold the directory for one `up` or `down` at a time. Raises Refused at the limit.

    The lock is on the directory itself: it leaves no file, and ends with its holder.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        end = time.monotonic() + limit_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Refused(
                        f"the lab in {directory} is busy",
                        ["another `lab up` or `lab down` is at work there"],
                    ) from None
                poll_pause()
        yield
    finally:
        os.close(handle)


def write_notes(directory: Path, notes: dict[str, Any]) -> None:
    """Write lab.json, whole or not at all (0600)."""
    new = directory / f"{_NOTES}.new"
    write_private(new, json.dumps(notes, indent=1))
    new.replace(directory / _NOTES)


def read_notes(directory: Path) -> dict[str, Any] | None:
    """What lab.json says; None if there is none, or half of one."""
    try:
        said = json.loads((directory / _NOTES).read_text())
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def write_private(path: Path, text: str) -> None:
    """Write a file that only we may read, from its first moment on."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)


def processes(directory: Path) -> list[ProcessId]:
    """Every living process of the lab in this directory."""
    found = set(marked(directory))
    for entry in ((read_notes(directory) or {}).get("processes") or {}).values():
        process = ProcessId(entry["pid"], entry["started"])
        if process.alive:
            found.add(process)
    return sorted(found, key=lambda p: p.pid)


def is_lab(directory: Path) -> bool:
    """Whether what is there (perhaps half deleted) was made by `claim`, or is empty."""
    if not directory.is_dir():
        return False
    if (directory / _FLAG).exists() or not any(directory.iterdir()):
        return True
    for notes in (directory / "lab.json", *directory.glob("*/instance.json")):
        with contextlib.suppress(OSError, ValueError):
            if json.loads(notes.read_text()).get("mark") == str(directory):
                return True
    return False


def end_processes(directory: Path, limit_s: float) -> int:
    """SIGKILL all of a lab's processes, also those that they start meanwhile; how many."""
    ended: set[ProcessId] = set()
    end = time.monotonic() + limit_s
    while found := processes(directory):
        ended.update(found)
        if left := kill_all(found, max(0.1, end - time.monotonic())):
            pids = ", ".join(str(p.pid) for p in left)
            raise Refused(f"the lab in {directory} does not end", [f"still running: {pids}"])
    return len(ended)


def delete(directory: Path) -> None:
    """Delete a lab's directory, the flag that makes it ours last. Safe to repeat."""
    _check_owner(directory)
    for entry in directory.iterdir():
        if entry.name == _FLAG:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    (directory / _FLAG).unlink(missing_ok=True)
    directory.rmdir()


def _check_owner(directory: Path) -> None:
    stat = directory.lstat()
    if not directory.is_dir() or directory.is_symlink():
        raise Refused(f"cannot use {directory}", ["it is not a directory"])
    if stat.st_uid != os.geteuid():
        raise Refused(f"cannot use {directory}", ["it belongs to another user"])
