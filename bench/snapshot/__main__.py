"""python -m bench.snapshot [--server NAME]… [--runs 20] [--rate 300] [--json]

Each run: `slackwater snapshot -- sleep 0.01` (a snapshot that itself takes 10 ms) with an exact
position, on a throwaway server that is written to. A write's wait is its latency as its client
sees it; what a run is said to have blocked is the longest write that was under way in it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pymysql

from slackwater.lab.instance import Instance, installed

WRITERS = 4


class Writers:
    """So many inserts a second over WRITERS sessions; when each began and ended."""

    def __init__(self, it: Instance, rate: float) -> None:
        self.done: list[tuple[float, float]] = []
        self.errors: list[str] = []
        self._every_s = WRITERS / rate
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(it,)) for _ in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def _write(self, it: Instance) -> None:
        link = pymysql.connect(unix_socket=str(it.socket), user="root", autocommit=True)
        due = time.monotonic()
        with link, link.cursor() as cursor:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                begun = time.monotonic()
                try:
                    cursor.execute("INSERT INTO t.x (v) VALUES (1)")
                except pymysql.err.MySQLError as error:
                    self.errors.append(str(error))
                    return
                self.done.append((begun, time.monotonic()))
                due = max(due + self._every_s, time.monotonic() - 1)

    def longest_ms(self, since: float, until: float) -> float:
        """The longest write that was under way in that time."""
        found = [e - b for b, e in list(self.done) if e >= since and b <= until]
        return round(max(found, default=0.0) * 1000, 1)

    def stop(self) -> None:
        """End them."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


def measure(name: str, runs: int, rate: float) -> dict[str, Any]:
    """All runs on one server."""
    program = next((p for p in installed() if p.name == name), None)
    if program is None:
        return {"server": name, "skipped": "not installed"}
    home = Path(tempfile.mkdtemp(prefix="sw-bench-")).resolve()
    home.chmod(0o711)
    it = Instance.create(program, home / "s", server_id=1, mark=home)
    try:
        it.start()
        file = _prepare(it, home)
        return _runs(it, name, file, runs, rate)
    finally:
        it.remove()
        shutil.rmtree(home, ignore_errors=True)


def _prepare(it: Instance, home: Path) -> Path:
    link = pymysql.connect(unix_socket=str(it.socket), user="root", autocommit=True)
    with link, link.cursor() as cursor:
        cursor.execute("CREATE DATABASE t")
        cursor.execute("CREATE TABLE t.x (id INT PRIMARY KEY AUTO_INCREMENT, v INT) ENGINE=InnoDB")
        cursor.execute("CREATE TABLE t.m (id INT PRIMARY KEY, v INT) ENGINE=MyISAM")
        cursor.execute("CREATE USER slackwater@localhost IDENTIFIED BY 'bench'")
        cursor.execute("GRANT ALL ON *.* TO slackwater@localhost")
    secret = home / "password"
    secret.write_text("bench")
    secret.chmod(0o600)
    file = home / "slackwater.toml"
    file.write_text(f'[servers.db]\naddress = "{it.address}"\nsocket = "{it.socket}"\n'
                    f'[accounts.slackwater]\npassword_file = "{secret}"\n'
                    f'[state]\ndirectory = "{home / "state"}"\n')
    return file


def _runs(it: Instance, name: str, file: Path, runs: int, rate: float) -> dict[str, Any]:
    writers = Writers(it, rate)
    blocked, locked, quiet, failed = [], [], [], 0
    try:
        time.sleep(1)
        for _ in range(runs):
            before = time.monotonic()
            time.sleep(0.3)
            quiet.append(writers.longest_ms(before, time.monotonic()))
            begun = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "slackwater", "snapshot", "--config", file, "--json", "--",
                 "sleep", "0.01"], capture_output=True, text=True, check=False, timeout=60,
            )
            if done.returncode:
                failed += 1
                continue
            blocked.append(writers.longest_ms(begun, time.monotonic()))
            locked.append(json.loads(done.stdout)["locked_ms"])
    finally:
        writers.stop()
    return {
        "server": name, "runs": runs, "failed": failed, "rate": rate,
        "blocked_ms": {"median": statistics.median(blocked or [0]), "worst": max(blocked or [0])},
        "locked_ms": {"median": statistics.median(locked or [0]), "worst": max(locked or [0])},
        "longest_write_without_ms": statistics.median(quiet), "writes": len(writers.done),
        "errors": writers.errors,
    }


def main() -> None:
    """Print a line a server, or JSON."""
    asks = argparse.ArgumentParser(prog="python -m bench.snapshot")
    asks.add_argument("--server", action="append")
    asks.add_argument("--runs", type=int, default=20)
    asks.add_argument("--rate", type=float, default=300)
    asks.add_argument("--json", action="store_true")
    asked = asks.parse_args()
    names = asked.server or ["mariadb-10.11", "mariadb-11.8", "mysql-5.7", "mysql-9.7"]
    results = [measure(n, asked.runs, asked.rate) for n in names]
    if asked.json:
        print(json.dumps(results, indent=1))
        return
    for one in results:
        if "skipped" in one:
            print(f"{one['server']:14} {one['skipped']}")
            continue
        waited, locked = one["blocked_ms"], one["locked_ms"]
        print(f"{one['server']:14} {one['runs']} runs, {one['failed']} failed; writers waited"
              f" {waited['median']:.0f} ms median, {waited['worst']:.0f} worst (without:"
              f" {one['longest_write_without_ms']:.0f}); locked {locked['median']:.0f} median,"
              f" {locked['worst']:.0f} worst")


if __name__ == "__main__":
    main()
