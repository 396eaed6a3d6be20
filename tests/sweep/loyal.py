"""Clients that keep their session as long as it lives, whatever errors it gives, as pools do."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import pymysql

from slackwater.lab.facts import LabFacts

PAUSE_S = 0.01


class Loyal:
    """Threads with one session each through the first balancer, until the end of `with`.

    They only ping: a session that was let in to the demoted server stays there until somebody else
    ends it. Then they connect again, as soon as anybody answers.
    """

    def __init__(self, lab: LabFacts, count: int = 3) -> None:
        host, _, port = next(iter(lab.balancers.values()))["frontend"].rpartition(":")
        password = Path(lab.app["password_file"]).read_text().strip()
        self._to: dict[str, Any] = {
            "host": host, "port": int(port), "user": "app", "password": password}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def __enter__(self) -> Loyal:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_S):
            with contextlib.suppress(pymysql.Error, OSError), self._connect() as session:
                while not self._stop.wait(PAUSE_S):
                    session.ping(reconnect=False)

    def _connect(self) -> Any:
        return pymysql.connect(connect_timeout=10, read_timeout=10, **self._to)
