"""Writes to a server while something else is done to it: what was acknowledged, and how late."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType

import pymysql

PAUSE_S = 0.01


class Writes:
    """A thread that inserts numbers into `shop.written`, from entering to the block's end."""

    def __init__(self, socket: Path) -> None:
        self._link = pymysql.connect(unix_socket=str(socket), user="root", autocommit=True,
                                     read_timeout=60)
        with self._link.cursor() as cursor:
            cursor.execute("CREATE TABLE shop.written (n INT PRIMARY KEY)")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acked = 0
        self.longest_ms = 0.0
        self.failed = ""

    def _run(self) -> None:
        with self._link.cursor() as cursor:
            while not self._over.wait(PAUSE_S):
                begun = time.monotonic()
                try:
                    cursor.execute(f"INSERT INTO shop.written VALUES ({self.acked + 1})")
                except pymysql.Error as error:
                    self.failed = str(error)
                    return
                self.acked += 1
                self.longest_ms = max(self.longest_ms, (time.monotonic() - begun) * 1000)

    def __enter__(self) -> Writes:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._link.close()
