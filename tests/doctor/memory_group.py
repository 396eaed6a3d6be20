"""A memory cgroup of our own below the one that we are in, or below the root (version 2)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.patience import eventually

_ROOT = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """Its directory: write a pid into cgroup.procs there. Skips where there is none for us."""
    if os.geteuid():
        pytest.skip("a memory cgroup needs root")
    name = f"slackwater-test-{os.getpid()}"
    if "memory" in _read(_ROOT / "cgroup.subtree_control").split():
        made, limit = _ROOT / name, "memory.max"
    else:
        own = next((line.split(":", 2)[2] for line in _read(Path("/proc/self/cgroup")).splitlines()
                    if line.split(":")[1] == "memory"), "")
        made, limit = _ROOT / "memory" / own.lstrip("/") / name, "memory.limit_in_bytes"
    try:
        made.mkdir()
        (made / limit).write_text(str(limit_bytes))
        if (made / "memory.swappiness").exists():
            (made / "memory.swappiness").write_text("0")
    except OSError as error:
        with contextlib.suppress(OSError):
            made.rmdir()
        pytest.skip(f"no memory cgroup of our own here: {error}")
    try:
        yield made
    finally:
        eventually(lambda: not _read(made / "cgroup.procs"), "the group is empty")
        eventually(lambda: _gone(made), "the group is gone")


def _gone(made: Path) -> bool:
    try:
        made.rmdir()
    except OSError:
        return False
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
