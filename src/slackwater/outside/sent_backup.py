"""Runs mariadb-backup beside its server and hands its stream on, so that writers never wait for us.

While mariadb-backup blocks commits it must not wait for a slow network, nor for a slackwater that
hangs: from the moment on that it takes its locks, all that it says is taken and kept in memory
until somebody reads it. If it blocks commits for longer than `hold_s`, it is ended; the server then
lets go. It is also ended when standard input ends: then slackwater is gone.

Sent to other hosts: standard library only, Python 3.8 or later. The first line of standard input
is the order (JSON: program, login, words, hold_s, pack); standard error gets JSON lines.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from typing import Any, Deque  # noqa: UP035  (Python 3.8)

PIECE = 1 << 18
BUFFER = 4 << 20  # while nothing is locked
MOST = 1 << 30  # while it is; beyond that it has to wait
_PIPE_SIZE = 1031  # F_SETPIPE_SZ
_LOCKING = ("BACKUP STAGE BLOCK_DDL", "Acquiring BACKUP LOCKS", "FLUSH TABLES WITH READ LOCK")
_BLOCKING = ("Starting BACKUP STAGE BLOCK_COMMIT", "Executing BACKUP STAGE BLOCK_COMMIT",
             "BACKUP STAGE BLOCK_COMMIT")  # fmt: skip
_FREE = ("BACKUP STAGE END", "All tables unlocked")
_LOGGED_IN = "Using server version"
HELD = "it blocked commits for"
_TAIL = 12


class Guard:
    """One run. `out`: where the stream goes; `login`: the file by which it logs in."""

    def __init__(
        self, order: dict[str, Any], child: subprocess.Popen[bytes], out: int, login: str
    ) -> None:
        self.order, self.child, self.out, self.login = order, child, out, login
        self.waiting: Deque[bytes] = deque()  # noqa: UP006
        self.kept = self.passed = 0
        self.locking = False
        self.blocked_at = 0.0
        self.blocked_ms = 0.0
        self.tail: Deque[str] = deque(maxlen=_TAIL)  # noqa: UP006
        self.why = ""
        self._line = b""

    def run(self) -> None:
        """To the end of mariadb-backup, and of what it said."""
        assert self.child.stdout is not None and self.child.stderr is not None
        said, told = self.child.stdout.fileno(), self.child.stderr.fileno()
        os.set_blocking(self.out, False)
        for pipe in (said, self.out):
            with contextlib.suppress(OSError):
                fcntl.fcntl(pipe, _PIPE_SIZE, 1 << 20)
        reading = {said, told}
        while reading or self.waiting:
            room = self.kept < (MOST if self.locking else BUFFER)
            look = [fd for fd in reading if fd != said or room]
            ready, may_write, _ = select.select(
                [*look, 0], [self.out] if self.waiting else [], [], self._pause())
            if told in ready and not self._listen(told):
                reading.discard(told)
            if said in ready and not self._take(said):
                reading.discard(said)
            if may_write:
                self._give()
            if 0 in ready and not os.read(0, PIECE):
                self.end("slackwater is gone")
                return
            if self.blocked_at and time.monotonic() - self.blocked_at > self.order["hold_s"]:
                self.end(f"{HELD} {self.order['hold_s']:g} s")

    def end(self, why: str) -> None:
        """Kill it: the server lets go of what a lost connection held."""
        self.why = self.why or why
        self.blocked_at = 0.0
        with contextlib.suppress(OSError):
            self.child.kill()

    def _pause(self) -> float:
        if not self.blocked_at:
            return 1.0
        return max(0.0, self.blocked_at + float(self.order["hold_s"]) - time.monotonic()) + 0.001

    def _take(self, said: int) -> bool:
        data = os.read(said, PIECE)
        if data:
            self.waiting.append(data)
            self.kept += len(data)
            self.passed += len(data)
        return bool(data)

    def _give(self) -> None:
        data = self.waiting[0]
        try:
            done = os.write(self.out, data)
        except BlockingIOError:
            return
        self.kept -= done
        if done == len(data):
            self.waiting.popleft()
        else:
            self.waiting[0] = data[done:]

    def _listen(self, told: int) -> bool:
        data = os.read(told, PIECE)
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._hear(line.decode("utf-8", "replace"))
        return bool(data)

    def _hear(self, line: str) -> None:
        self.tail.append(line)
        if _LOGGED_IN in line:  # it has read the file by then; nothing of it may stay if we die
            with contextlib.suppress(OSError):
                os.unlink(self.login)  # noqa: PTH108
        if any(word in line for word in _LOCKING):
            self.locking = True
        if not self.blocked_ms and not self.blocked_at and any(w in line for w in _BLOCKING):
            self.locking, self.blocked_at = True, time.monotonic()
            tell(event="blocked")
        if self.blocked_at and any(word in line for word in _FREE):
            self.blocked_ms = round((time.monotonic() - self.blocked_at) * 1000, 1)
            self.blocked_at = 0.0
            tell(event="free", blocked_ms=self.blocked_ms)


def tell(**what: Any) -> None:
    """A line to who began this, if he is there."""
    with contextlib.suppress(OSError):
        os.write(2, (json.dumps(what) + "\n").encode())


def main() -> int:
    """Exit code 0 when mariadb-backup has ended well, and all of it was handed on."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return 1
        line += byte
    order = json.loads(line)
    place = tempfile.mkdtemp(prefix="slackwater-backup-")  # 0700: the login is in it
    try:
        return _run(order, place)
    except BrokenPipeError:
        return 1  # nobody reads it any more
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run(order: dict[str, Any], place: str) -> int:
    login = place + "/login.cnf"
    with open(os.open(login, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:  # noqa: PTH123
        file.write(order["login"])
    child = subprocess.Popen(
        [order["program"], "--defaults-file=" + login, "--backup", "--stream=mbstream",
         "--target-dir=" + place + "/target", *order["words"]],
        cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    packer, out = None, 1
    if order["pack"]:
        packer = subprocess.Popen(order["pack"], stdin=subprocess.PIPE)
        assert packer.stdin is not None
        out = packer.stdin.fileno()
    guard = Guard(order, child, out, login)
    code = 1
    try:
        guard.run()
        code = child.wait()
    finally:
        guard.end("")
        child.wait()
        if packer is not None and packer.stdin is not None:
            with contextlib.suppress(OSError):
                packer.stdin.close()
            code = code or packer.wait()
        tell(event="end", code=code, why=guard.why, bytes=guard.passed,
             blocked_ms=guard.blocked_ms, said=list(guard.tail))
    return 1 if code or guard.why else 0


if __name__ == "__main__":
    sys.exit(main())
