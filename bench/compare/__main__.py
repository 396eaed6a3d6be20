"""python -m bench.compare [--server mariadb-10.11] [--rows 1000000] [--rate 100] [--json]
                        [--only-load | --only-find] [--beside DIRECTORY]

A throwaway pair with one large table; writes go on at `--rate` a second (updates of single rows all
over the table). Each method compares the same table while they do: how long it takes, and what the
application's writes feel. Then the copy is spoiled, and each method says what it finds.

--only-load leaves out the second part. --only-find: slackwater alone, at rest, once with equal
copies and once with one row of each difference; it ends with 1 when it does not name just those.
--beside: the `src` of another version of slackwater, to be measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymysql
from tests.compare.scene import connection, spoil
from tests.servers.fixtures import end, root_of
from tests.servers.patience import eventually

from bench.compare import peer
from slackwater.lab.facts import LabFacts
from slackwater.lab.instance import installed
from slackwater.lab.up import up

TABLE = "shop.big"
LIMIT_S = 1800.0
TWINS = "two rows, same bits"
SPOILS = {
    "one byte": "UPDATE shop.big SET v = CONCAT('!', SUBSTRING(v, 2)) WHERE id = {q1}",
    "one missing": "DELETE FROM shop.big WHERE id = {q2}",
    "one extra": "INSERT INTO shop.big VALUES ({q4} + 100, 1, 'extra', 1, NOW())",
    "float, last bit": "UPDATE shop.big SET d = d * (1 + 2.3e-16) WHERE id = {q3}",
    "a space": "UPDATE shop.big SET v = CONCAT(v, ' ') WHERE id = {q7}",
    "NULL, not ''": "UPDATE shop.big SET v = NULL WHERE id = {q5}",
    # The same digits of two neighbours: their CRC32s differ by the same bits, and the XOR by none.
    TWINS: "UPDATE shop.big SET at = at + INTERVAL 1 SECOND WHERE id IN ({q6}, {q6} + 1)",
}


class Writes:
    """Updates of single rows at a rate, late ones too; when each was due and how long it took."""

    def __init__(self, lab: LabFacts, rows: int, rate: float) -> None:
        self.took: list[float] = []
        self.errors = 0
        self._lab, self._rows, self._rate = lab, rows, rate
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(4)]

    def __enter__(self) -> Writes:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        chance = random.Random(number)
        every = len(self._threads) / self._rate
        with connection(str(self._lab.servers["a"]["socket"])) as cursor:
            due = time.monotonic() + every * number / len(self._threads)
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                try:
                    cursor.execute("UPDATE shop.big SET a = a + 10 WHERE id = %s",
                                   (chance.randrange(1, self._rows),))
                except pymysql.err.MySQLError:
                    self.errors += 1
                self.took.append(time.monotonic() - due)
                due += every

    def figures(self) -> dict[str, Any]:
        """Milliseconds, from when a write was due."""
        if len(self.took) < 2:
            return {}
        ms = sorted(t * 1000 for t in self.took)
        return {
            "writes": len(ms), "errors": self.errors, "median_ms": round(statistics.median(ms), 1),
            "p99_ms": round(ms[int(len(ms) * 0.99)], 1), "worst_ms": round(ms[-1], 1),
        }


def fill(lab: LabFacts, rows: int) -> None:
    """The table, and a copy that has it."""
    with connection(str(lab.servers["a"]["socket"])) as cursor:
        cursor.execute("CREATE DATABASE shop CHARACTER SET utf8mb4")
        cursor.execute("CREATE TABLE shop.big (id INT PRIMARY KEY, a INT, v VARCHAR(100), d DOUBLE,"
                       " at DATETIME) ENGINE=InnoDB")
        cursor.execute("INSERT INTO shop.big VALUES (1, 0, REPEAT('x', 60), 0.1, NOW())")
        have = 1
        while have < rows:
            more = min(have, rows - have, 100_000)
            cursor.execute(
                "INSERT INTO shop.big SELECT id + %s, id %% 10, REPEAT(HEX(id * 7), 8), id / 7, at"
                " FROM shop.big ORDER BY id LIMIT %s", (have, more))
            have += more
        cursor.execute("UPDATE shop.big SET v = '' WHERE id = %s", (rows * 5 // 8,))
    eventually(lambda: _count(lab) == rows, "the copy", limit_s=600)


def _count(lab: LabFacts) -> int:
    try:
        with connection(str(lab.servers["b"]["socket"])) as cursor:
            cursor.execute("SELECT COUNT(*) FROM shop.big")
            return int(cursor.fetchone()[0])
    except pymysql.err.ProgrammingError:
        return 0


def ours(lab: LabFacts, *options: str, source: str = "") -> str:
    """slackwater pair compare; what it found, in words. `source`: of another version."""
    done = subprocess.run(
        [sys.executable, "-m", "slackwater", "pair", "compare", "--tables", TABLE, "--json",
         "--config", str(lab.config), *options],
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
        env={**os.environ, "PYTHONPATH": source} if source else None,
    )
    if done.returncode not in (0, 1):
        return f"exit code {done.returncode}: {done.stderr[-300:]}"
    (table,) = json.loads(done.stdout)["tables"]
    rows = [f"{d['key']} {d['how']} {','.join(d['columns'])}".strip() for d in table["differences"]]
    return "; ".join(rows) or "no difference"


def measure(lab: LabFacts, rows: int, rate: float, method: Callable[[], str]) -> dict[str, Any]:
    """One method under the writes."""
    with Writes(lab, rows, rate) as writes:
        begun = time.monotonic()
        found = method()
        took = time.monotonic() - begun
    return {"seconds": round(took, 1), "found": found, **writes.figures()}


def under_load(
    lab: LabFacts, home: Path, rows: int, rate: float, beside: str
) -> dict[str, dict[str, Any]]:
    """Each method while writes go on."""
    methods: dict[str, Callable[[], str]] = {
        "nothing": lambda: time.sleep(10) or "",  # type: ignore[func-returns-value]
        "slackwater (rests half the time)": lambda: ours(lab),
        "slackwater --rest 0": lambda: ours(lab, "--rest", "0"),
        peer.PROGRAM: lambda: peer.run(lab, home, TABLE, LIMIT_S),
    }
    if beside:
        methods |= {
            "other slackwater (rests half the time)": lambda: ours(lab, source=beside),
            "other slackwater --rest 0": lambda: ours(lab, "--rest", "0", source=beside),
        }
    ours(lab, "--rest", "0")  # so that nobody is the one who reads it from the disk
    return {name: measure(lab, rows, rate, method) for name, method in methods.items()}


def spoilt(lab: LabFacts, home: Path, rows: int) -> dict[str, dict[str, str]]:
    """What each method finds, at rest, of one difference after the other."""
    places = _places(rows)
    found = {}
    for what, statement in SPOILS.items():
        spoil(lab, statement.format(**places))
        found[what] = {
            "slackwater": ours(lab, "--rest", "0"),
            peer.PROGRAM: peer.run(lab, home, TABLE, LIMIT_S),
        }
        with connection(str(lab.servers["a"]["socket"])) as cursor:  # and mend it
            for row in places.values():
                near = f"{row} AND {row + 100}"
                cursor.execute("CREATE TEMPORARY TABLE shop.keep AS SELECT * FROM shop.big"
                               f" WHERE id BETWEEN {near}")
                keep = _rows(cursor)
                cursor.execute("DROP TEMPORARY TABLE shop.keep")
                spoil(lab, f"DELETE FROM shop.big WHERE id BETWEEN {near}", *keep)
    return found


def all_at_once(lab: LabFacts, rows: int) -> dict[str, Any]:
    """slackwater alone: seconds with equal copies, and with one row of each difference."""
    places = _places(rows)
    said: dict[str, Any] = {}
    for when in ("equal", "spoilt"):
        if when == "spoilt":
            spoil(lab, *(s.format(**places) for s in SPOILS.values()))
        begun = time.monotonic()
        found = ours(lab, "--rest", "0")
        said[when] = {"seconds": round(time.monotonic() - begun, 1), "found": found}
    q = places
    named = {f"id={q['q1']} differs v", f"id={q['q2']} missing", f"id={q['q4'] + 100} extra",
             f"id={q['q3']} differs d", f"id={q['q7']} differs v", f"id={q['q5']} differs v",
             f"id={q['q6']} differs at", f"id={q['q6'] + 1} differs at"}
    said["right"] = (said["equal"]["found"] == "no difference"
                     and set(said["spoilt"]["found"].split("; ")) == named)
    return said


def _places(rows: int) -> dict[str, int]:
    """Rows that are spoiled: at each eighth of the table; q4 is the last row."""
    return {f"q{n}": rows * n // 8 for n in range(1, 8)} | {"q4": rows}


def _rows(cursor: Any) -> list[str]:
    cursor.execute("SELECT id, a, v, d, at FROM shop.keep")
    return [
        f"INSERT INTO shop.big VALUES ({i}, {a}, '{v}', {d!r}, '{at}')"
        for i, a, v, d, at in cursor.fetchall()
    ]


def page(said: dict[str, Any]) -> str:
    """Both tables in Markdown."""
    lines = ["| under writes | takes | writes | median | p99 | worst | errors | it says |",
             "|---|---:|---:|---:|---:|---:|---:|---|"]
    for name, m in said.get("loaded", {}).items():
        lines.append(f"| {name} | {m['seconds']} s | {m['writes']} | {m['median_ms']} ms | "
                     f"{m['p99_ms']} ms | {m['worst_ms']} ms | {m['errors']} | {m['found']} |")
    lines += ["", "| what is wrong on the copy | slackwater | pt-table-checksum |", "|---|---|---|"]
    for what, found in said.get("found", {}).items():
        lines.append(f"| {what} | {found['slackwater']} | {found[peer.PROGRAM]} |")
    return "\n".join(lines)


def main() -> None:
    """Run it all on one server."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--server", default="mariadb-10.11")
    ask.add_argument("--rows", type=int, default=1_000_000)
    ask.add_argument("--rate", type=float, default=100.0)
    ask.add_argument("--json", action="store_true")
    ask.add_argument("--only-load", action="store_true")
    ask.add_argument("--only-find", action="store_true")
    ask.add_argument("--beside", default="", metavar="DIRECTORY")
    asked = ask.parse_args()
    program = next(p for p in installed() if p.name == asked.server)
    home = Path(tempfile.mkdtemp(prefix="sw-bench-")).resolve()
    home.chmod(0o711)
    try:
        lab = up(server=root_of(program), directory=home / "lab")
        fill(lab, asked.rows)
        said: dict[str, Any] = {"server": asked.server, "rows": asked.rows, "rate": asked.rate}
        if asked.only_find:
            said |= all_at_once(lab, asked.rows)
            print(json.dumps(said, indent=1))
            sys.exit(0 if said["right"] else 1)
        peer.prepare(lab, home)
        said["loaded"] = under_load(lab, home, asked.rows, asked.rate, asked.beside)
        if not asked.only_load:
            said["found"] = spoilt(lab, home, asked.rows)
        print(json.dumps(said, indent=1) if asked.json else page(said))
    finally:
        end(home / "lab")
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
