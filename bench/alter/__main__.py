"""`python -m bench.alter`: one change of a table that clients write, by each method in turn.

The clients write (connection per request) through HAProxy into the very table that is changed;
beside it stand many rows, a foreign key and a trigger. Measured from the clients' side: p50, p99
and the longest wait while the method runs, errors, what was lost; and the bytes that the active
server's binary log grew by, less what the same time of writing adds by itself.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pymysql

from slackwater.lab.down import down
from slackwater.lab.facts import LabFacts
from slackwater.lab.up import up

TABLE = "slackwater_lab.writes"
CHANGE = "MODIFY id BIGINT NOT NULL AUTO_INCREMENT, ADD INDEX by_kind (kind, n)"
QUIET_S = 4.0  # of load before the method begins, and after it ended
SLACKWATER = [sys.executable, "-m", "slackwater"]
# `finish` runs where no client is: shown apart.
METHODS = ("slackwater", "direct ALTER", "pt-online-schema-change")


@dataclass
class Round:
    """One method once. Times in ms but for `wall_s`; `samples`: (s since the begin, wait)."""

    method: str
    wall_s: float
    p50_ms: float
    p99_ms: float
    p99_before_ms: float
    longest_ms: float
    errors: int
    lost: int
    binlog_bytes: int
    ok: bool
    finish_s: float = 0.0
    said: str = ""
    samples: list[tuple[float, float]] = field(default_factory=list)


def main() -> int:
    """0 when slackwater's rounds ended well, without an error, and nothing was lost."""
    ask = argparse.ArgumentParser(prog="python -m bench.alter", description=__doc__)
    ask.add_argument("--rows", type=int, default=300_000)
    ask.add_argument("--rate", type=int, default=100, help="writes a second [100]")
    ask.add_argument("--rounds", type=int, default=1)
    ask.add_argument("--server", type=Path, help="root of another MariaDB or MySQL")
    ask.add_argument("--out", type=Path, default=Path("build/bench"), help="[build/bench]")
    asked = ask.parse_args()
    methods = [m for m in METHODS if m != METHODS[2] or shutil.which(METHODS[2])]
    rounds = []
    for number in range(asked.rounds):
        for method in methods[number % len(methods):] + methods[: number % len(methods)]:
            rounds.append(measure(method, asked))
            told = {k: v for k, v in asdict(rounds[-1]).items() if k != "samples"}
            print(json.dumps(told), file=sys.stderr)
    asked.out.mkdir(parents=True, exist_ok=True)
    about = f"{asked.rows:,} rows, {asked.rate} writes a second"
    (asked.out / "alter.json").write_text(json.dumps({
        "about": about, "change": CHANGE, "at": time.strftime("%Y-%m-%d", time.gmtime()),
        "rounds": [asdict(r) for r in rounds],
    }))
    (asked.out / "alter.md").write_text(table(rounds))
    print(table(rounds))
    try:
        from bench.alter import plot

        plot.draw(rounds, about, asked.out / "alter.png")
    except ImportError as problem:
        print(f"no picture: {problem}", file=sys.stderr)
    ours = [r for r in rounds if r.method == "slackwater"]
    return 0 if all(r.ok and r.errors == r.lost == 0 for r in ours) else 1


def measure(method: str, asked: argparse.Namespace) -> Round:
    """A fresh lab, rows, load, and the method in its middle."""
    place = Path(tempfile.mkdtemp(prefix="slackwater-bench-"))
    place.chmod(0o711)
    try:
        lab = up(server=asked.server, directory=place / "lab")
        _fill(lab, asked.rows)
        until = place / "end"
        timeline = place / "line.csv"
        load = subprocess.Popen(
            [*SLACKWATER, "lab", "load", "--json", "--seconds", "3600", "--rate", str(asked.rate),
             "--pooled", "0", "--until-file", str(until), "--timeline", str(timeline),
             "--config", str(lab.config)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )
        time.sleep(QUIET_S)
        idle = _written(lab, lambda: time.sleep(2.0)) / 2.0
        begun = time.time()
        said: dict[str, Any] = {}
        grown = _written(lab, lambda: said.update(_method(method, lab)))
        wall = time.time() - begun
        time.sleep(QUIET_S)
        finish = _finish(lab) if method == "slackwater" else 0.0
        until.touch()
        report = json.loads(load.communicate(timeout=180)[0])
        return _round(method, report, timeline, begun, wall, grown - int(idle * wall), said, finish)
    finally:
        down(place / "lab")
        shutil.rmtree(place, ignore_errors=True)


def _sql(lab: LabFacts, server: str, statement: str) -> list[tuple[Any, ...]]:
    link = pymysql.connect(unix_socket=str(lab.servers[server]["socket"]), user="root",
                           autocommit=True)
    try:
        with link.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())
    finally:
        link.close()


def _fill(lab: LabFacts, rows: int) -> None:
    _sql(lab, "a", "CREATE TABLE slackwater_lab.parent (id TINYINT PRIMARY KEY) ENGINE=InnoDB")
    _sql(lab, "a", "INSERT INTO slackwater_lab.parent VALUES (0), (1), (2)")
    _sql(lab, "a", f"CREATE TABLE {TABLE} (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,"
         " n BIGINT NOT NULL,"
         " kind TINYINT, KEY (n), CONSTRAINT known FOREIGN KEY (kind) REFERENCES"
         " slackwater_lab.parent (id)) ENGINE=InnoDB")
    values = ",".join(f"({-i - 1}, 0)" for i in range(5000))
    for _ in range(rows // 5000):
        _sql(lab, "a", f"INSERT INTO {TABLE} (n, kind) VALUES {values}")
    there = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_NAME = 'writes'"
    while _sql(lab, "b", there) == [(0,)]:
        time.sleep(0.2)
    while _sql(lab, "b", f"SELECT COUNT(*) FROM {TABLE}")[0][0] < rows // 5000 * 5000:
        time.sleep(0.2)


def _written(lab: LabFacts, act: Callable[[], Any]) -> int:
    """Bytes by which the binary log of the server that is active now grows meanwhile."""
    before = {r[0]: int(r[1]) for r in _sql(lab, "a", "SHOW BINARY LOGS")}
    act()
    after = {r[0]: int(r[1]) for r in _sql(lab, "a", "SHOW BINARY LOGS")}
    return sum(size - before.get(name, 0) for name, size in after.items())


def _method(method: str, lab: LabFacts) -> dict[str, Any]:
    if method == "slackwater":
        done = subprocess.run(
            [*SLACKWATER, "alter", "--sql", f"ALTER TABLE writes {CHANGE}", "--json",
             "--config", str(lab.config)], capture_output=True, text=True, check=False)
        report = json.loads(done.stdout or "{}")
        return {"ok": report.get("outcome") == "done", "said": str(report.get("reasons", ""))}
    if method == "direct ALTER":
        _sql(lab, "a", f"ALTER TABLE {TABLE} {CHANGE}")
        return {"ok": True}
    done = subprocess.run(
        ["pt-online-schema-change", "--execute", "--alter", CHANGE,
         "--nocheck-replication-filters", "--recursion-method", "none",
         # Its own limits (25 and 50) are soon reached where servers and clients share two cores.
         "--max-load", "Threads_running=200", "--critical-load", "Threads_running=1000",
         "--socket", str(lab.servers["a"]["socket"]), "--user", "root",
         "--charset", "utf8mb4", "D=slackwater_lab,t=writes"],
        capture_output=True, text=True, check=False)
    return {"ok": done.returncode == 0, "said": (done.stdout + done.stderr)[-400:]}


def _finish(lab: LabFacts) -> float:
    begun = time.time()
    subprocess.run([*SLACKWATER, "alter", "finish", "--config", str(lab.config)],
                   capture_output=True, check=False)
    return time.time() - begun


def _round(
    method: str, report: dict[str, Any], timeline: Path, begun: float, wall: float, grown: int,
    said: dict[str, Any], finish: float,
) -> Round:
    """Waits are known for each 10 ms: the slowest acknowledgement of each stands for it."""
    samples = []
    for line in timeline.read_text().splitlines()[1:]:
        at_ms, _, _, acked, _, slowest = line.split(",")
        if int(acked):
            samples.append((int(at_ms) / 1000 - begun, float(slowest)))
    during = [w for at, w in samples if 0 <= at <= wall] or [0.0]
    before = [w for at, w in samples if -QUIET_S <= at < 0] or [0.0]
    return Round(
        method, round(wall, 2), _part(during, 50), _part(during, 99), _part(before, 99),
        round(max(during), 1), sum(e["count"] for e in report["errors"]), report["lost"],
        grown, bool(said.get("ok")), round(finish, 2), str(said.get("said", "")),
        [(round(a, 3), round(w, 2)) for a, w in samples],
    )


def _part(values: list[float], percent: int) -> float:
    if len(values) < 2:
        return round(values[0], 1)
    return round(statistics.quantiles(values, n=100, method="inclusive")[percent - 1], 1)


def table(rounds: list[Round]) -> str:
    """In Markdown; of several rounds the median."""
    lines = ["| method | wall time | p50 | p99 | p99 before | longest wait | errors | lost | "
             "binary log |", "|---|---|---|---|---|---|---|---|---|"]
    for method in METHODS:
        some = [r for r in rounds if r.method == method]
        if not some:
            continue
        mid = sorted(some, key=lambda r: r.longest_ms)[(len(some) - 1) // 2]
        wall = f"{mid.wall_s:.1f} s" + (f" + {mid.finish_s:.1f} s" if mid.finish_s else "")
        lines.append(
            f"| {method}{'' if mid.ok else ' (FAILED)'} | {wall} | {mid.p50_ms} ms | "
            f"{mid.p99_ms} ms | {mid.p99_before_ms} ms | {mid.longest_ms:,} ms | {mid.errors} | "
            f"{mid.lost} | {mid.binlog_bytes / 2**20:+.1f} MiB |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
