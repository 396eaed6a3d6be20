"""The directories of throwaway copies, and what is left of those whose process died."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from slackwater.config import Config
from slackwater.errors import Refused
from slackwater.operations.snapshot import records
from slackwater.outside import state_file
from slackwater.outside.process import ProcessId

PREFIX = ".slackwater-verify-"


@contextlib.contextmanager
def scratch(config: Config, parent: Path) -> Iterator[Path]:
    """A new directory there, removed at the end. It is written down who has it, before."""
    work = parent.absolute() / f"{PREFIX}{secrets.token_hex(4)}"
    us = ProcessId.of(os.getpid())
    note = _notes(config) / f"{work.name.removeprefix('.')}.json"
    state_file.write(note, {"path": str(work), "pid": us.pid if us else 0,
                            "started": us.started if us else 0})
    try:
        try:
            work.mkdir()
            work.chmod(0o711)  # the server's user goes through it
        except OSError as error:
            raise Refused(f"cannot make a copy in {parent}", [error.strerror or str(error)],
                          hint="name another directory with --scratch") from error
        yield work
    finally:
        _remove(work, note)


def left(config: Config) -> list[Path]:
    """Those that a process left that is gone."""
    return [work for work, _ in _left(config)]


def clear(config: Config) -> None:
    """Remove them."""
    for work, note in _left(config):
        _remove(work, note)


def _left(config: Config) -> list[tuple[Path, Path]]:
    found = []
    for note in sorted(_notes(config).glob("*.json")):
        said = state_file.read(note) or {}
        work = Path(said.get("path", "/"))
        if work.name.startswith(PREFIX) and not ProcessId(said["pid"], said["started"]).alive:
            found.append((work, note))
    return found


def _remove(work: Path, note: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    if not work.exists():
        note.unlink(missing_ok=True)


def _notes(config: Config) -> Path:
    path = records.directory(config) / "verify"
    path.mkdir(exist_ok=True, mode=0o700)
    return path
