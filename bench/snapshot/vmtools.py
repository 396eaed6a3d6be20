"""The calls that VMware's guest tools make around a snapshot, in their order and with their limits.

As open-vm-tools does it (services/plugins/vmbackup): the legacy script first and last, those of
backupScripts.d in the order of their names and back again; a script that fails stops the freeze,
and only those before it get `freezeFail`: itself it never hears of it. A cancel, or the end of the
time for the whole (15 minutes), is SIGTERM for the running script alone, and SIGKILL 5 s later;
then the same as after a failure. A thaw that fails is told when all have been called.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

TIME_LIMIT_S = 900.0
TERM_GRACE_S = 5.0
CANCELLED = "cancelled"


@dataclass
class Told:
    """What the scripts said: exit codes by (name, word), and whether a phase failed."""

    codes: list[tuple[str, str, int | str]] = field(default_factory=list)
    frozen: bool = False
    thawed: bool | None = None  # None: was not called

    @property
    def good(self) -> bool:
        """Whether the host calls the snapshot good."""
        return self.frozen and self.thawed is True

    def of(self, word: str) -> str:
        """The exit codes of one word, for people."""
        found = [str(c) for _, w, c in self.codes if w.lower() == word.lower()]
        return ",".join(found) or "-"


class VMTools:
    """One snapshot with a quiesced guest whose root directory is `root`."""

    def __init__(self, root: Path, environment: Mapping[str, str],
                 *, limit_s: float = TIME_LIMIT_S) -> None:
        self._environment = dict(environment)
        self._before = root / "usr/sbin/pre-freeze-script"
        self._after = root / "usr/sbin/post-thaw-script"
        self._directory = root / "etc/vmware-tools/backupScripts.d"
        self._until = time.monotonic() + limit_s
        self._scripts: list[Path] = []
        self._at = -1
        self.told = Told()

    def freeze(self, *, cancel_after_s: float | None = None) -> bool:
        """Call them all; False after a failure or a cancel, when the others were told already."""
        self._scripts = [self._before] if self._before.is_file() or self._after.is_file() else []
        if self._directory.is_dir():
            self._scripts += sorted(p for p in self._directory.iterdir() if p.is_file())
        until = self._until
        if cancel_after_s is not None:
            until = min(until, time.monotonic() + cancel_after_s)
        for at, script in enumerate(self._scripts):
            self._at = at
            if script.is_file() and self._call(script, "freeze", until) != 0:
                self.freeze_fail()
                return False
        self._at = len(self._scripts)
        self.told.frozen = True
        return True

    def freeze_fail(self, word: str = "freezeFail") -> None:
        """Those that had frozen are told that there will be no snapshot."""
        self._back(word)
        self.told.thawed = False

    def thaw(self) -> bool:
        """All of them, whatever one says."""
        self.told.thawed = self._back("thaw")
        return self.told.thawed

    def _back(self, word: str) -> bool:
        good = True
        for script in reversed(self._scripts[: self._at]):
            called = self._after if script == self._before else script
            if called.is_file():
                good = self._call(called, word, time.monotonic() + TIME_LIMIT_S) == 0 and good
        return good

    def _call(self, script: Path, word: str, until: float) -> int | str:
        # A shell with one simple command becomes that command: its pid is the script's.
        process = subprocess.Popen(
            ["bash", "-c", f'"{script}" {word}'], env=self._environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        code: int | str
        try:
            code = process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = CANCELLED
            process.terminate()
            try:
                process.wait(TERM_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.told.codes.append((script.name, word, code))
        return code
