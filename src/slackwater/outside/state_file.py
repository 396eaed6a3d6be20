"""Small JSON files that are there whole or not at all, and who may hold on to one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Any


def write(path: Path, said: dict[str, Any], *, like: Path | None = None) -> None:
    """Replace the file in one go, on disk before the return. Mode 0600.

    `like`: it gets that file's or directory's owner, and mode 0640. Raises OSError.
    """
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    mode = 0o600 if like is None else 0o640
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        if like is not None:
            owner = like.stat()
            os.fchown(fd, owner.st_uid, owner.st_gid)
        os.write(fd, (json.dumps(said, indent=1) + "\n").encode())
        os.fsync(fd)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    finally:
        os.close(fd)
    new.replace(path)


def read(path: Path) -> dict[str, Any] | None:
    """What the file says; None when it is not there or says nothing that can be read."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def only_one(path: Path) -> int | None:
    """Lock a file; its descriptor, or None when somebody else has it locked.

    The kernel frees it when the last process that has this descriptor has closed it or died, and
    a child may inherit it: so it tells for certain whether one of them lives.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def why_not_recorded(directory: Path, lock: str) -> str:
    """Why operations cannot be recorded in a directory, where `lock` is their lock file; "" when
    they can. Makes nothing: a directory that is not there can be made where its parent lets us."""
    place = directory
    while not _seen(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return f"cannot write in the state directory {directory}: {place} is not a directory"
    if not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        return f"cannot write in the state directory {directory}: no right to write in {place}"
    file = directory / lock
    if _seen(file) and not os.access(file, os.R_OK | os.W_OK, effective_ids=True):
        return f"cannot write in the state directory {directory}: no right to write {file}"
    return ""


def _seen(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return False  # not there, or behind what we may not enter
    return True
