"""What a balancer of the registry can do, and what all of them share: a file, and a reload."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from slackwater import clock
from slackwater.errors import OutsideError, StepFailed
from slackwater.facts.members import PoolView
from slackwater.facts.pools import Pool
from slackwater.outside import command

CHECK_LIMIT_S = 20.0
RELOAD_LIMIT_S = 30.0
EFFECT_LIMIT_S = 5.0


class Balancer(Protocol):
    """One balancer. Both calls are told the whole truth, each time, and may be repeated."""

    name: str

    async def has_members(self) -> bool:
        """Whether it has members now, from an earlier registry."""

    async def at_once(self, views: Sequence[PoolView]) -> bool:
        """Do what can be done without a reload; whether all is in effect now."""

    async def settle(self, views: Sequence[PoolView]) -> bool:
        """Put it into the file, and reload if that is needed; whether it was reloaded."""

    async def still(self, views: Sequence[PoolView]) -> None:
        """See now and then that it is so still (others reload and restart balancers)."""


@dataclass(frozen=True)
class Files:
    """Where a balancer's part is written, and by which commands it is checked and reloaded.

    `check` has `{file}` where the candidate's path goes. `reload` is the only thing that needs a
    privilege; it has no argument from anywhere but the configuration.
    `pid_file`: its main process; with it a reload counts when new workers are there, and where
    old ones say so in their title (`leaving`), when they no longer take connections.
    """

    file: Path
    check: tuple[str, ...]
    reload: tuple[str, ...]
    pid_file: Path | None = None
    leaving: str = ""

    def differs(self, empty: str) -> bool:
        """Whether the file in place is one of ours, and not this one."""
        text = self.text()
        return text.splitlines()[:1] == empty.splitlines()[:1] and text != empty

    def text(self) -> str:
        """What is in place; "" where there is nothing that can be read."""
        try:
            return self.file.read_text()
        except (OSError, UnicodeDecodeError):
            return ""

    @property
    def _owed(self) -> Path:
        return self.file.with_name(f".{self.file.name}.reload")

    @property
    def owes_reload(self) -> bool:
        """Whether one was noted and not seen to be done, by us or before we were started."""
        return self._owed.exists()

    def note_reload(self, where: str, *, owed: bool) -> None:
        """Note it before the file is placed; cross it out after. Raises OutsideError."""
        try:
            self._owed.touch() if owed else self._owed.unlink(missing_ok=True)
        except OSError as error:
            raise OutsideError(where, f"cannot write {self._owed}: {error.strerror}", sent=False
                               ) from error

    async def place(self, where: str, text: str) -> bool:
        """Check a candidate, then put it in place in one go. False: it was so already.

        Raises OutsideError: what is in place stays.
        """
        try:
            if self.file.exists() and self.file.read_text() == text:
                return False
            candidate = self.file.with_name(f".{self.file.name}.candidate")
            await asyncio.to_thread(_write, candidate, text)
        except (OSError, UnicodeDecodeError) as error:
            raise OutsideError(where, f"cannot write {self.file}: {error}", sent=False) from error
        words = [w.replace("{file}", str(candidate)) for w in self.check]
        try:
            code, said = await command.run(words, limit_s=CHECK_LIMIT_S)
            if code:
                raise OutsideError(where, f"does not take {candidate}: {_end(said)}", sent=False,
                                   hint=f"what is in place stays; try {' '.join(words)}")
            candidate.replace(self.file)
            _sync(self.file.parent)
        except StepFailed as error:
            raise OutsideError(where, f"cannot check: {error}", sent=False) from error
        except OSError as error:
            raise OutsideError(where, f"cannot write {self.file}: {error}", sent=False) from error
        return True

    def _leaves(self, pid: int) -> bool:
        if not self.leaving:
            return True
        try:
            return self.leaving in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        except OSError:
            return True

    async def load(self, where: str) -> None:
        """Reload, and wait for it to be in effect. Raises OutsideError."""
        before = _workers(self.pid_file)
        try:
            code, said = await command.run(self.reload, limit_s=RELOAD_LIMIT_S)
        except StepFailed as error:
            raise OutsideError(where, f"cannot reload: {error}", sent=True) from error
        if code:
            raise OutsideError(where, f"the reload failed ({code}): {_end(said)}", sent=True,
                               hint=f"try {' '.join(self.reload)} as the registry's user")
        until = clock.mono() + EFFECT_LIMIT_S
        while before is not None and clock.mono() < until:
            now = _workers(self.pid_file)
            if now and not now <= before and all(self._leaves(pid) for pid, _ in before & now):
                return
            await asyncio.sleep(0.01)
        if before is not None:
            raise OutsideError(where, f"no new worker {EFFECT_LIMIT_S:g} s after its reload",
                               sent=True)


def header(kind: str) -> list[str]:
    """The first lines of a file that is ours."""
    return [f"# Members of the registry's pools, for {kind}. Written by slackwater: do not edit."]


def only(pools: Sequence[Pool], views: Sequence[PoolView]) -> list[tuple[Pool, PoolView]]:
    """This balancer's pools, each with its view, by name. One that was never seen is empty."""
    seen = {v.name: v for v in views}
    return [(p, seen.get(p.name, PoolView(p.name, ()))) for p in sorted(pools, key=_name)]


def _name(pool: Pool) -> str:
    return pool.name


def _end(said: str) -> str:
    return " / ".join(line.strip() for line in said.strip().splitlines()[-4:])[-600:] or "no word"


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _workers(pid_file: Path | None) -> set[tuple[int, str]] | None:
    """Main process's children, each with its start; None where nobody can tell."""
    if pid_file is None:
        return None
    try:
        main = int(pid_file.read_text())
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    except (OSError, ValueError):
        return None
    found = set()
    for pid in children:
        with contextlib.suppress(OSError, IndexError):
            stat = Path(f"/proc/{pid}/stat").read_text()
            found.add((int(pid), stat.rpartition(")")[2].split()[19]))
    return found
