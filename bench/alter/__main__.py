"""`python -m bench.alter`: one change of a table that clients write, by each method in turn.

The clients write (connection per request) through HAProxy into the very table that is changed;
beside it stand many rows, a foreign key and a trigger. Measured from the clients' side: p50, p99
and the longest wait while the method runs, errors, what was lost; and the bytes that the active
server's binary log grew by, less what the same time of writing adds by itself. slackwater's change
has two parts: p50 and p99 are those of the change on the passive, up to the switchover; the
switchover's stall is the longest wait of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pymysql

from bench.apart import apart, on_its_core, slowed
from slackwater.lab import directory
from slackwater.lab.down import down
from slackwater.lab.facts import LabFacts
from slackwater.lab.up import up

TABLE = "slackwater_lab.writes"
CHANGE = ("MODIFY id BIGINT NOT NULL AUTO_INCREMENT, ADD INDEX by_kind (kind, n),"
          " ADD COLUMN note VARCHAR(40)")
QUIET_S = 10.0  # of load before the method begins, and after it ended
SLACKWATER = [sys.executable, "-m", "slackwater"]
# `finish` runs where no client is: shown apart.
METHODS = ("slackwater", "direct ALTER", "pt-online-schema-change")


@dataclass
class Round:
    """One method once. Times in ms but for `wall_s`; `stall_ms`: the switchover's, of slackwater
    alone; `samples`: (s since the begin, the longest wait of 10 ms)."""

    method: str
    wall_s: float
    p50_ms: float
    p99_ms: float
    p99_before_ms: float
    longest_ms: float
    stall_ms: float
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
    ask.add_argument("--only", action="append", choices=METHODS, help="some of the methods")
    ask.add_argument("--passive-apart", action="store_true",
                     help="in memory, at idle priority: as if on a machine of its own (root)")
    ask.add_argument("--passive-core", action="store_true",
                     help="the passive has a core for itself, all else the others")
    ask.add_argument("--passive-share", type=float, default=1.0,
                     help="of the time, that the passive runs (0 to 1) [1.0]")
    asked = ask.parse_args()
    methods = [m for m in asked.only or METHODS if m != METHODS[2] or shutil.which(METHODS[2])]
    rounds = []
    for number in range(asked.rounds):
        for method in methods[number % len(methods):] + methods[: number % len(methods)]:
            rounds.append(measure(method, asked))
            told = {k: v for k, v in asdict(rounds[-1]).items() if k != "samples"}
            print(json.dumps(told), file=sys.stderr)
    asked.out.mkdir(parents=True, exist_ok=True)
    about = f"{asked.rows:,} rows, {asked.rate} writes a second" + (
        ", the passive in memory and at idle priority" if asked.passive_apart else "") + (
        ", a core for the passive alone" if asked.passive_core else "") + (
        f", the passive {asked.passive_share:.0%} of the time" if asked.passive_share < 1 else "")
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
        with ExitStack() as stack:
            if asked.passive_apart:
                stack.enter_context(apart(lab.instance("b")))
            if asked.passive_core:
                everybody = [process.pid for process in directory.processes(lab.directory)]
                stack.enter_context(on_its_core(lab.instance("b"), everybody))
            if asked.passive_share < 1:
                altering = stack.enter_context(_altering(lab, "b"))
                stack.enter_context(slowed(lab.instance("b"), asked.passive_share, altering))
            return _measure(method, asked, lab, place)
    finally:
        down(place / "lab")
        shutil.rmtree(place, ignore_errors=True)


def _measure(method: str, asked: argparse.Namespace, lab: LabFacts, place: Path) -> Round:
    _fill(lab, asked.rows)
    watch = Watch(place, time.time(), time.time())
    load = subprocess.Popen(
        [*SLACKWATER, "lab", "load", "--json", "--seconds", "3600", "--rate", str(asked.rate),
         "--pooled", "0", "--until-file", str(watch.until), "--timeline", str(watch.timeline),
         "--windows", str(watch.windows), "--config", str(lab.config)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    try:
        time.sleep(QUIET_S)
        idle = _written(lab, lambda: time.sleep(2.0)) / 2.0
        watch.begun = time.time()
        said: dict[str, Any] = {}
        grown = _written(lab, lambda: said.update(_method(method, lab)))
        watch.ended = time.time()
        time.sleep(QUIET_S)
        finish = _finish(lab) if method == "slackwater" else 0.0
        watch.ask(said)
        report = json.loads(load.communicate(timeout=180)[0])
    finally:
        load.kill()  # has ended by itself, unless something failed
    wall = watch.ended - watch.begun
    return _round(method, report, watch, grown - int(idle * wall), said, finish)


@dataclass
class Watch:
    """The load's files, and between which moments (unix s) a method ran."""

    place: Path
    begun: float
    ended: float

    @property
    def until(self) -> Path:
        return self.place / "end"

    @property
    def timeline(self) -> Path:
        return self.place / "line.csv"

    @property
    def windows(self) -> Path:
        return self.place / "windows"

    def ask(self, said: dict[str, Any]) -> None:
        """End the load, and have it tell of three windows: before the method, the method up to
        its switchover, the switchover."""
        held, sent = said.get("held", self.ended), said.get("sent", self.ended)
        parts = ((self.begun - QUIET_S, self.begun), (self.begun, held), (held, sent))
        self.windows.write_text("".join(f"[{a * 1000}, {b * 1000}]\n" for a, b in parts))
        self.until.touch()


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
    _sql(lab, "a", "CREATE TABLE slackwater_lab.seen (n BIGINT NOT NULL) ENGINE=InnoDB")
    _sql(lab, "a", f"CREATE TRIGGER slackwater_lab.seen AFTER INSERT ON {TABLE} FOR EACH ROW"
         " INSERT INTO slackwater_lab.seen VALUES (NEW.n)")
    while _sql(lab, "b", there) == [(0,)]:
        time.sleep(0.2)
    while _sql(lab, "b", f"SELECT COUNT(*) FROM {TABLE}")[0][0] < rows // 5000 * 5000:
        time.sleep(0.2)


@contextmanager
def _altering(lab: LabFacts, server: str) -> Iterator[Callable[[], bool]]:
    """Whether that server runs an ALTER TABLE now; asked as slackwater, which root's session would
    keep from its work."""
    secret = (lab.directory / "slackwater.password").read_text().strip()
    with pymysql.connect(unix_socket=str(lab.servers[server]["socket"]), user="slackwater",
                         password=secret, autocommit=True) as link:
        cursor = link.cursor()

        def altering() -> bool:
            cursor.execute("SELECT COUNT(*) FROM information_schema.PROCESSLIST"
                           " WHERE INFO LIKE 'ALTER TABLE%' OR INFO LIKE '/*%ALTER TABLE%'")
            return bool(cursor.fetchone()[0])

        yield altering


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
        events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
        if report.get("outcome") != "done":
            raise SystemExit(f"slackwater alter: {done.stdout}{done.stderr}")
        at = {(e.get("event"), e.get("step")): e["at"] for e in events}
        return {"ok": True, "held": at["started", "HoldClients"],
                "sent": at["done", "SendClients"]}
    if method == "direct ALTER":
        _sql(lab, "a", f"ALTER TABLE {TABLE} {CHANGE}")
        return {"ok": True}
    done = subprocess.run(
        ["pt-online-schema-change", "--execute", "--alter", CHANGE,
         "--nocheck-replication-filters", "--recursion-method", "none", "--preserve-triggers",
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
    method: str, report: dict[str, Any], watch: Watch, grown: int, said: dict[str, Any],
    finish: float,
) -> Round:
    before, during, switch = report["windows"]
    samples = []
    for line in watch.timeline.read_text().splitlines()[1:]:
        at_ms, _, _, acked, _, slowest = line.split(",")
        if int(acked):
            samples.append((round(int(at_ms) / 1000 - watch.begun, 3), round(float(slowest), 2)))
    wall = watch.ended - watch.begun
    longest = max((w for at, w in samples if 0 <= at <= wall), default=0.0)
    waits = [round(of["latency_ms"][part], 1) for of, part in (
        (during, "p50"), (during, "p99"), (before, "p99"))]
    stall = round(switch["stall_ms"], 1) if "held" in said else 0.0
    return Round(
        method, round(wall, 2), *waits, round(longest, 1), stall,
        sum(e["count"] for e in report["errors"]), report["lost"], grown, bool(said.get("ok")),
        round(finish, 2), str(said.get("said", "")), samples,
    )


def table(rounds: list[Round]) -> str:
    """In Markdown; of several rounds the median."""
    lines = ["| method | wall time | p50 | p99 | p99 before | switchover's stall | longest wait | "
             "errors | lost | binary log |", "|---|---|---|---|---|---|---|---|---|---|"]
    for method in METHODS:
        some = [r for r in rounds if r.method == method]
        if not some:
            continue
        mid = sorted(some, key=lambda r: r.longest_ms)[(len(some) - 1) // 2]
        stall = f"{mid.stall_ms} ms" if mid.stall_ms else ""
        wall = f"{mid.wall_s:.1f} s" + (f" + {mid.finish_s:.1f} s" if mid.finish_s else "")
        lines.append(
            f"| {method}{'' if mid.ok else ' (FAILED)'} | {wall} | {mid.p50_ms} ms | "
            f"{mid.p99_ms} ms | {mid.p99_before_ms} ms | "
            f"{stall} | {mid.longest_ms:,} ms | {mid.errors} | "
            f"{mid.lost} | {mid.binlog_bytes / 2**20:+.1f} MiB |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
