"""What does `slackwater pair setup` cost a source in use, and how long does it take?

A source with `--gb` of data in four tables, an empty target, and `--rate` writes a second (inserts
and updates) on the source: first alone, then through the whole `pair setup`, as an operator would
type it, until its row went each way. For each server and way of copying one line: MiB copied, time
and rate of the copy, how long the lock for the snapshot lasted, and the writes' p50, p99 and
longest (ms), alone and meanwhile. At the end every acknowledged write is looked for on the target,
and `pair compare` says whether the copies are equal.

    python -m bench.setup [--gb 0.1] [--rate 150] [--alone 10] [--method dump|clone|backup]
        [--slow-ms N] [--target-apart] [--steps] [NAME …]

brakes: how often the copy was slowed down because the source answered late. --steps: the same
writes told by the step of the set-up that each ended in.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pymysql
from tests.servers.for_pairs import for_pairs
from tests.servers.patience import eventually
from tests.setup import stories
from tests.setup.scene import Scene, scene

from bench.apart import apart

TABLES = 4
WRITERS = 3
ROW = 1024  # bytes
LIMIT_S = 3600


class Writes:
    """Writes at a rate, late ones too: when each was done and how long it took, from when it was
    due, since a client that waits sends no other."""

    def __init__(self, made: Scene, rate: float) -> None:
        self.took: list[tuple[float, float]] = []  # when it ended (unix time), ms
        self.errors: list[str] = []
        self.numbers: list[int] = []  # acknowledged inserts
        self._made, self._rate = made, rate
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(WRITERS)]

    def __enter__(self) -> Writes:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, writer: int) -> None:
        chance, every = random.Random(writer), WRITERS / self._rate
        link = pymysql.connect(unix_socket=str(self._made.servers["a"].socket), user="root",
                               autocommit=True, read_timeout=120)
        with link, link.cursor() as cursor:
            due, number = time.monotonic() + every * writer / WRITERS, writer
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                try:
                    if number // WRITERS % 2:
                        cursor.execute(f"INSERT INTO shop.written VALUES ({number})")
                        self.numbers.append(number)
                    else:
                        table = chance.randrange(TABLES)
                        cursor.execute(f"UPDATE shop.t{table} SET n = n + 1 WHERE id = "
                                       f"{chance.randrange(1, 1000)}")
                except pymysql.Error as error:
                    self.errors.append(str(error))
                self.took.append((time.time(), (time.monotonic() - due) * 1000))
                number += WRITERS
                due += every


def fill(made: Scene, size: float) -> None:
    """So many bytes on the source, past its binary log."""
    link = pymysql.connect(unix_socket=str(made.servers["a"].socket), user="root", autocommit=True)
    with link, link.cursor() as cursor:
        cursor.execute("SET SESSION sql_log_bin = 0")
        cursor.execute("CREATE DATABASE shop")
        cursor.execute("CREATE TABLE shop.written (n INT PRIMARY KEY)")
        for number in range(TABLES):
            rows = int(size / TABLES / ROW)
            cursor.execute(f"CREATE TABLE shop.t{number} (id INT AUTO_INCREMENT PRIMARY KEY,"
                           f" n INT NOT NULL DEFAULT 0, v VARCHAR({ROW}) NOT NULL)")
            text = f"REPEAT(SHA2(RAND(), 256), {ROW // 64})"  # MySQL 9.7 has no MD5()
            values = ", ".join([f"({text})"] * 1000)
            cursor.execute(f"INSERT INTO shop.t{number} (v) VALUES {values}")
            for _ in range(max(0, rows // 1000 - 1)):
                cursor.execute(f"INSERT INTO shop.t{number} (v) SELECT v FROM shop.t{number}"
                               " LIMIT 1000")


def measure(
    made: Scene, method: str, rate: float, alone_s: float, slow_ms: float | None, steps: bool
) -> dict[str, Any]:
    """One line of the table."""
    with Writes(made, rate) as before:
        time.sleep(alone_s)
    made.sql("a", "DELETE FROM shop.written")
    words = [*(["--method", method] if method else []),
             *(["--slow-ms", str(slow_ms)] if slow_ms is not None else [])]
    with Writes(made, rate) as writes:
        begun = time.monotonic()
        done = made.run("pair", "setup", "--json", *words, limit_s=LIMIT_S)
        took = time.monotonic() - begun
    if done.returncode != 0:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    said = json.loads(done.stdout.splitlines()[-1])["copied"]["b"]
    count = "SELECT COUNT(*) AS n, MAX(n) AS last FROM shop.written"
    want = made.sql("a", count)
    assert want[0]["n"] == len(writes.numbers), "the source itself lost a write"
    eventually(lambda: made.sql("b", count) == want, "all writes on the target", limit_s=300,
               every_s=0.1)
    compared = stories.compare(made, LIMIT_S)
    return {"method": said["method"], "mib": said.get("bytes", 0) / 2**20,
            "copy_s": said["seconds"], "all_s": took, "lock_ms": said.get("source_locked_ms", 0.0),
            "alone": _figures(before), "meanwhile": _figures(writes),
            "errors": len(writes.errors), "writes": len(writes.took),
            "brakes": said.get("pace", {}).get("brakes", 0),
            "steps": _by_step(writes, done.stderr) if steps else (),
            "compare": {True: "equal", False: "DIFFERENT", None: "unknown"}[compared["equal"]]}


def _figures(writes: Writes) -> list[float]:
    return _percentiles([ms for _, ms in writes.took])


def _percentiles(times: Sequence[float]) -> list[float]:
    took = sorted(times) or [0.0]
    return [took[len(took) // 2], took[int(len(took) * 0.99)], took[-1]]


def _by_step(writes: Writes, told: str) -> list[str]:
    """A line for each step that writes ended in: how long it lasted, and theirs as above."""
    events = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    begun = [(e["at"], e["step"]) for e in events if e["event"] == "started"]
    lines = []
    for (start, step), (end, _) in zip(begun, [*begun[1:], (events[-1]["at"], "")], strict=True):
        took = [ms for at, ms in writes.took if start <= at < end]
        if took:
            figures = "/".join(f"{v:.1f}" for v in _percentiles(took))
            lines.append(f"    {step:24} {end - start:6.1f} s {len(took):7} writes {figures:>18}")
    return lines


def main(words: Sequence[str] | None = None) -> int:
    """Measure each server, and print a line for it."""
    parser = argparse.ArgumentParser(prog="bench.setup")
    parser.add_argument("--gb", type=float, default=0.1)
    parser.add_argument("--rate", type=float, default=150)
    parser.add_argument("--alone", type=float, default=10)
    parser.add_argument("--method", default="")
    parser.add_argument("server", nargs="*")
    parser.add_argument("--slow-ms", type=float, help="as of pair setup; 0: not slowed down")
    parser.add_argument("--target-apart", action="store_true",
                        help="in memory, at idle priority: as if on a machine of its own (root)")
    parser.add_argument("--steps", action="store_true")
    asked = parser.parse_args(words)
    print(f"{asked.gb:g} GB, {asked.rate:g} writes/s; ms as p50/p99/longest")
    print(f"{'server':14} way      MiB  copy s  MiB/s  all s  lock ms  {'alone':>18} "
          f"{'meanwhile':>18}  brakes  errors  compare")
    for program in for_pairs():
        if asked.server and program.name not in asked.server:
            continue
        place = Path(tempfile.mkdtemp(prefix="slackwater-bench-")).resolve()
        place.chmod(0o711)
        try:
            clone = asked.method == "clone"
            extra = stories.plugins(program, place, "mysql_clone") if clone else ()
            with scene(program, place, extra=extra) as made:
                fill(made, asked.gb * 2**30)
                target, room = made.servers["b"], 3 * asked.gb + 2
                with apart(target, gigabytes=room) if asked.target_apart else nullcontext():
                    found = measure(made, asked.method, asked.rate, asked.alone, asked.slow_ms,
                                    asked.steps)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        alone, meanwhile = ("/".join(f"{v:.1f}" for v in found[k]) for k in ("alone", "meanwhile"))
        print(f"{program.name:14} {found['method']:6} {found['mib']:5.0f} {found['copy_s']:7.1f} "
              f"{found['mib'] / max(found['copy_s'], 0.1):6.1f} {found['all_s']:6.1f} "
              f"{found['lock_ms']:8.1f}  {alone:>18} {meanwhile:>18}  {found['brakes']:6}  "
              f"{found['errors']:6}  {found['compare']}", *found["steps"], sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
