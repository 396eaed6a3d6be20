"""python -m bench.snapshot.writers SOCKET RATE OUTPUT: writers and a reader, a process.

So many INSERTs a second into InnoDB over SESSIONS sessions, a tenth as many into MyISAM, and reads.
Each writer numbers its rows: a hole is a lost write. SIGTERM ends it; then OUTPUT has each writer's
acknowledged times.
"""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pymysql

SESSIONS = 10
READS_A_SECOND = 50.0
TABLES = (
    "CREATE TABLE t.x (w INT, n INT, PRIMARY KEY (w, n)) ENGINE=InnoDB",
    "CREATE TABLE t.m (w INT, n INT, PRIMARY KEY (w, n)) ENGINE=MyISAM",
)
READER, MYISAM = "reads", "t.m"


class _Client(threading.Thread):
    def __init__(self, socket: str, name: str, statement: str, rate: float,
                 stop: threading.Event) -> None:
        super().__init__(name=name)
        self._link = pymysql.connect(unix_socket=socket, user="root", autocommit=True)
        self._statement, self._every_s, self._over = statement, 1 / rate, stop
        self.times: list[tuple[float, float]] = []  # unix times of begin and acknowledgement
        self.error = ""

    def run(self) -> None:
        due = time.monotonic()
        with self._link, self._link.cursor() as cursor:
            while not self._over.wait(max(0.0, due - time.monotonic())):
                text = self._statement.replace("%n", str(len(self.times) + 1))
                begun = time.time()
                try:
                    cursor.execute(text)
                except pymysql.err.MySQLError as error:
                    self.error = str(error)
                    return
                self.times.append((begun, time.time()))
                due = max(due + self._every_s, time.monotonic() - 1)


def _main(socket: str, rate: float, output: Path) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    gc.disable()
    clients = [
        *(_Client(socket, f"t.x {w}", f"INSERT INTO t.x VALUES ({w}, %n)", rate / SESSIONS, stop)
          for w in range(SESSIONS)),
        _Client(socket, MYISAM, "INSERT INTO t.m VALUES (0, %n)", rate / 10, stop),
        _Client(socket, READER, "SELECT COUNT(*) FROM t.x WHERE n < 3", READS_A_SECOND, stop),
    ]
    for client in clients:
        client.start()
    print("writing", flush=True)
    while not stop.wait(0.5):
        pass
    for client in clients:
        client.join()
    output.write_text(json.dumps(
        [{"name": c.name, "times": c.times, "error": c.error} for c in clients]))


class Load:
    """That process, seen from the outside: begin, `stop`, then ask."""

    def __init__(self, socket: Path, rate: float, output: Path) -> None:
        self._output = output
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.snapshot.writers", str(socket), str(rate), str(output)],
            stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError("the writers did not begin")
        self._clients: list[dict[str, Any]] = []

    def stop(self) -> None:
        """End it and read what it saw."""
        self._process.terminate()
        self._process.communicate(timeout=60)
        self._clients = json.loads(self._output.read_text())

    def errors(self) -> list[str]:
        """Of all clients."""
        return [c["error"] for c in self._clients if c["error"]]

    def acked_before(self, at: float) -> dict[str, int]:
        """How many rows each writer knew to be written at that moment."""
        return {c["name"]: sum(1 for _, end in c["times"] if end <= at)
                for c in self._clients if c["name"] != READER}

    def written_within(self, since: float, until: float) -> int:
        """How many writes began and ended in that time."""
        return sum(1 for c in self._clients if c["name"] != READER
                   for b, e in c["times"] if b >= since and e <= until)

    def longest_ms(self, since: float, until: float, *, reads: bool) -> float:
        """The longest write (or read) that was under way in that time."""
        found = [e - b for c in self._clients if (c["name"] == READER) == reads
                 for b, e in c["times"] if e >= since and b <= until]
        return round(max(found, default=0.0) * 1000, 1)

    def rate(self) -> float:
        """Writes a second into InnoDB, in fact."""
        ours = [c["times"] for c in self._clients if c["name"].startswith("t.x") and c["times"]]
        seconds = max(t[-1][1] for t in ours) - min(t[0][0] for t in ours)
        return round(sum(len(t) for t in ours) / seconds, 1)


if __name__ == "__main__":
    _main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]))
