"""Looks at both servers' read_only all the time: two that accept writes are never allowed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pymysql

LOOK_LIMIT_S = 0.5
PAUSE_S = 0.001


class Watcher:
    """A thread of looks at servers a and b; `two` holds the times at which both were writable.

    A look reads a, b, and a again: two are writable only when a was in both reads and b in
    between. A server that is dead or hangs is seen as None.
    """

    def __init__(self, connect: Callable[[str, float], pymysql.Connection[object]]) -> None:
        self._connect = connect
        self._sessions: dict[str, pymysql.Connection[object]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.looks = 0
        self.two: list[float] = []
        self.longest_gap_s = 0.0

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        for session in self._sessions.values():
            with suppress(Exception):
                session.close()

    def _run(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(PAUSE_S):
            first = self._writable("a")
            second = self._writable("b")
            if first and second and self._writable("a"):
                self.two.append(time.time())
            self.looks += 1
            now = time.monotonic()
            self.longest_gap_s, last = max(self.longest_gap_s, now - last), now

    def _writable(self, name: str) -> bool | None:
        try:
            if name not in self._sessions:
                self._sessions[name] = self._connect(name, LOOK_LIMIT_S)
            with self._sessions[name].cursor() as cursor:
                cursor.execute("SELECT @@GLOBAL.read_only")
                row = cursor.fetchone()
        except (pymysql.Error, OSError):
            session = self._sessions.pop(name, None)
            if session is not None:
                with suppress(Exception):
                    session._force_close()
            return None
        return row is not None and str(row[0]) in ("0", "OFF")  # type: ignore[index]
