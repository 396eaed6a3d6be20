"""The append-only record of one operation: one event a line, on disk before we act on it.

The file is written over reserved blank space. So a disk that fills up half way cannot stop an
operation in the middle, and a sync need not change the file's size, which makes it cheaper.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slackwater import clock
from slackwater.errors import SlackwaterError

RESERVED_BYTES = 65_536  # a switchover writes some 8 KiB
UNFINISHED = ("stuck", "unknown")


class JournalError(SlackwaterError):
    """The journal cannot be written or read."""


class Journal:
    """Writer of one operation's events. `path` is `<directory>/<id>.jsonl`, mode 0600."""

    def __init__(self, path: Path, fd: int, offset: int) -> None:
        self.path = path
        self.id = path.stem
        self.lost: list[str] = []  # events that could not be written, told in the report
        self._fd = fd
        self._offset = offset

    @classmethod
    def create(cls, directory: Path, operation: str) -> Journal:
        """Begin a new journal with its space reserved; raises JournalError if that fails."""
        stamp = clock.text(clock.unix())[:19].replace(":", "").replace("-", "")
        path = directory / f"{stamp}-{operation}-{secrets.token_hex(3)}.jsonl"
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _cannot("begin", path, error) from error
        try:
            _write_all(fd, b"\n" * RESERVED_BYTES, 0)
            os.fsync(fd)
            _sync_directory(directory)
        except OSError as error:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise _cannot("reserve space for", path, error) from error
        return cls(path, fd, 0)

    @classmethod
    def reopen(cls, path: Path) -> Journal:
        """Continue a journal that a crash left, after its last whole line."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise _cannot("open", path, error) from error
        try:
            written = path.read_bytes().rstrip(b"\n\0")
            # A line torn by a crash stays where it is, ended here; the reader skips it.
            if written:
                _write_all(fd, b"\n", len(written))
        except OSError as error:
            os.close(fd)
            raise _cannot("open", path, error) from error
        return cls(path, fd, len(written) + 1 if written else 0)

    def write(self, event: str, *, sync: bool = True, **fields: Any) -> None:
        """Put one event on disk before returning. Raises JournalError.

        With `sync=False` the kernel has it, so that it outlives us, and the next event's sync puts
        it on disk: for an event that the one after it follows at once.
        """
        record = {"at": round(clock.unix(), 4), "event": event, **fields}
        line = json.dumps(record, default=str).encode() + b"\n"
        try:
            _write_all(self._fd, line, self._offset)
            if sync:
                os.fdatasync(self._fd)
        except OSError as error:
            raise _cannot("write", self.path, error) from error
        self._offset += len(line)

    def write_if_possible(self, event: str, *, sync: bool = True, **fields: Any) -> None:
        """As write, where stopping would be worse than a hole in the record."""
        try:
            self.write(event, sync=sync, **fields)
        except JournalError as error:
            self.lost.append(f"{event}: {error}")

    def close(self) -> None:
        """Give the reserved space back and close the file."""
        try:
            os.ftruncate(self._fd, self._offset)
        except OSError:
            pass  # blank lines at the end do no harm
        finally:
            os.close(self._fd)


@dataclass(frozen=True)
class Past:
    """What a journal says of one operation."""

    path: Path
    events: tuple[dict[str, Any], ...]

    @property
    def id(self) -> str:
        return self.path.stem

    @property
    def planned(self) -> dict[str, Any]:
        """The first event: operation, title, pair, arguments, pid, host."""
        first = self.events[0] if self.events else {}
        return first if first.get("event") == "planned" else {}

    @property
    def outcome(self) -> str | None:
        """The last outcome told, None while none was."""
        ends = [e["outcome"] for e in self.events if e["event"] == "ended"]
        return ends[-1] if ends else None

    @property
    def unfinished(self) -> bool:
        """True when something may be left to finish or undo."""
        began = any(e["event"] == "started" for e in self.events)
        return began and (self.outcome is None or self.outcome in UNFINISHED)

    @property
    def taken_over_by(self) -> str:
        """The operation that took this one's place, if it went on; "" when none did."""
        return next((e["by"] for e in reversed(self.events) if e["event"] == "taken over"), "")

    def steps(self, event: str) -> list[str]:
        """Names of the steps that have such an event, in order."""
        return [e["step"] for e in self.events if e["event"] == event]

    @property
    def notes(self) -> dict[str, Any]:
        """What steps noted down for those who undo or finish."""
        return {e["key"]: e["value"] for e in self.events if e["event"] == "noted"}


def read(path: Path) -> Past:
    """Read a journal; a torn last line (we died while writing it) is left out.

    Raises JournalError when the file cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise _cannot("read", path, error) from error
    events = []
    for line in lines:
        try:
            event = json.loads(line.strip(b"\0"))  # a crash of the machine may leave blanks
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            events.append(event)
    return Past(path, tuple(events))


def read_all(directory: Path, *, since: float = 0.0) -> list[Past]:
    """All operations recorded there, oldest first. Raises JournalError.

    `since`: only those whose journal was written to since then (seconds of the epoch).
    A directory that may not be read is no empty one: what is unfinished may be in it.
    """
    try:
        with os.scandir(directory) as found:
            names = [
                entry.name for entry in found
                if entry.name.endswith(".jsonl")
                and (not since or entry.stat().st_mtime >= since)
            ]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise JournalError(
            f"cannot read the journals in {directory}: {error.strerror}",
            hint="run this as the user that runs slackwater's operations here (`sudo slackwater "
                 "…`), or set [state] directory in slackwater.toml",
        ) from error
    every = [read(directory / name) for name in names]
    # Names tell the second only; two operations can begin within one.
    return sorted(every, key=lambda p: (p.events[0].get("at", 0.0) if p.events else 0.0, p.id))


def unfinished(directory: Path) -> list[Past]:
    """Those that something may be left of, oldest first. Raises JournalError.

    Not one whose place another took: unless that one came to nothing itself.
    """
    every = read_all(directory)
    by_id = {p.id: p for p in every}

    def taken_over(past: Past) -> bool:
        taker = by_id.get(past.taken_over_by)
        began = taker is not None and bool(taker.steps("started"))
        return began and taker is not None and taker.outcome not in ("refused", "undone")

    return [p for p in every if p.unfinished and not taken_over(p)]


def process() -> dict[str, Any]:
    """Who writes: for the first event of a journal."""
    return {"pid": os.getpid(), "host": socket.gethostname()}


def _write_all(fd: int, data: bytes, offset: int) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _cannot(verb: str, path: Path, error: OSError) -> JournalError:
    return JournalError(
        f"cannot {verb} the journal {path}: {error.strerror}",
        hint="make room or rights there, or set [state] directory in slackwater.toml",
    )
