"""A server's data directory: whose process works in it, and other files in the place of its own."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from slackwater.errors import StepFailed
from slackwater.outside import command
from slackwater.outside.process import ProcessId

_LOG_NAME = re.compile(r"(?:.*/)?([^/]+\.\d{6,})")
# What belongs to the server that the files were of, not to its data.
_OWN = ("auto.cnf", "master.info", "relay-log.info", "multi-master.info", "master-*.info",
        "relay-log-*.info", "*.pid", "slackwater-snapshot.json")
_STAYS = frozenset({"lost+found"})
REMOVE_LIMIT_S = 3600.0


def process_of(datadir: Path, pid_file: str) -> ProcessId | None:
    """The server that works there, by its pid file (relative ones are in the data directory)."""
    try:
        pid = int((datadir / pid_file).read_text())
        works_there = Path(f"/proc/{pid}/cwd").resolve() == datadir.resolve()
    except (OSError, ValueError):
        return None
    return ProcessId.of(pid) if works_there else None


@dataclass(frozen=True)
class Place:
    """A data directory and, on its file system, a directory to work in.

    The directory itself stays: it may be a mount point, and its owner and labels are right.
    """

    datadir: Path
    work: Path

    @classmethod
    def of(cls, datadir: Path) -> Place:
        """Beside it; inside where it is a file system (or subvolume) of its own."""
        datadir, parent = datadir.resolve(), datadir.resolve().parent
        beside = parent.stat().st_dev == datadir.stat().st_dev and os.access(parent, os.W_OK)
        name = f".slackwater-seed-{datadir.name}"
        return cls(datadir, (parent if beside else datadir) / name)

    @property
    def new(self) -> Path:
        """What shall be the data."""
        return self.work / "new"

    @property
    def old(self) -> Path:
        """What was the data: all of it, once `swap` has got so far."""
        return self.work / "old"

    @property
    def _part(self) -> Path:
        return self.work / "old.part"

    @property
    def begun(self) -> bool:
        """Whether `swap` has moved anything that `put_back` has not moved back."""
        return self.old.exists() or self._part.exists()

    def swap(self) -> None:
        """Put `new` in the place of the data. The server must not run. Raises OSError."""
        self._part.mkdir(mode=0o700)
        _move(self._entries(), self._part)
        self._part.rename(self.old)
        _move(self.new.iterdir(), self.datadir)
        self.new.rmdir()

    def put_back(self) -> None:
        """The way back, from wherever `swap` or this was cut off. Raises OSError."""
        if self.old.exists():
            dropped = self.work / "dropped"
            dropped.mkdir(exist_ok=True)
            _move(self._entries(), dropped)
            self.old.rename(self._part)
        if self._part.exists():
            _move(self._part.iterdir(), self.datadir)
            self._part.rmdir()

    async def forget(self) -> None:
        """Remove what was the data, and all else that is there: no longer `old` from one moment on,
        so that nobody puts back what was deleted in part. Raises StepFailed, OSError."""
        if self.old.exists():
            self.old.rename(self.work / "going")
        await self.clear()

    async def clear(self) -> None:
        """Remove the directory to work in, which has nothing that was the data. Raises StepFailed.
        """
        if not self.work.exists():
            return
        if self.begun:
            raise StepFailed(f"{self.work} has data that was not put back: look at it, and move it "
                             "elsewhere or delete it")
        code, said = await command.run(
            ["rm", "-rf", "--one-file-system", "--", str(self.work)], limit_s=REMOVE_LIMIT_S)
        if code:
            raise StepFailed(f"cannot remove {self.work}: {said.strip()[-300:]}")

    def _entries(self) -> Iterable[Path]:
        return [p for p in self.datadir.iterdir() if p != self.work and p.name not in _STAYS]


def _move(entries: Iterable[Path], to: Path) -> None:
    for each in list(entries):
        each.rename(to / each.name)


def size_of(directory: Path) -> int:
    """Bytes on disk of all that is in it, as far as we may look."""
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total


def logs_in(data: Path) -> dict[Path, list[str]]:
    """The indexes of binary and relay logs in a data directory, with the names of the logs."""
    found = {}
    for index in data.glob("*.index"):
        lines = index.read_text(errors="replace").split("\n")
        names = [_LOG_NAME.fullmatch(line) for line in lines if line]
        if all(names):
            found[index] = [m[1] for m in names if m]
    return found


def keep_logs_inside(data: Path) -> None:
    """Have a copy's indexes name the copy's own logs: where `log_bin` is an absolute path they name
    those of the server that runs, and a booting one may cut them short."""
    for index, names in logs_in(data).items():
        with index.open("r+") as file:
            file.write("".join(f"./{name}\n" for name in names))
            file.truncate()


def strip(data: Path) -> None:
    """Remove what is the origin's own: identity, binary logs and relay logs."""
    for index, names in logs_in(data).items():
        for name in names:
            (data / name).unlink(missing_ok=True)
            (data / f"{name}.idx").unlink(missing_ok=True)
        index.with_suffix(".state").unlink(missing_ok=True)
        index.unlink()
    for pattern in _OWN:
        for path in data.glob(pattern):
            path.unlink()
