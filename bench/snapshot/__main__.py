"""python -m bench.snapshot [--server NAME]… [--on btrfs|xfs]… [--runs 20] [--real 3] [--rate 500]

On a throwaway server on btrfs or XFS (a loop device), which is written to by a process of its own
(InnoDB, and a tenth as much to MyISAM):

- RUNS times `slackwater snapshot -- sleep 0.01`, a snapshot that itself takes 10 ms. A write's wait
  is its latency as its client sees it; what a run blocked is the longest write under way in it;
- REAL times a snapshot by the file system, each proven: `slackwater snapshot verify`, and booted
  once more here, where every row must be that was acknowledged before the lock was granted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql

from bench.snapshot.writers import MYISAM, TABLES, Load
from slackwater.lab.instance import Instance, installed
from slackwater.outside.mysql import private_server

SERVERS = ("mariadb-10.11", "mariadb-11.8", "mysql-5.7", "mysql-9.7")
METHODS = {"btrfs": "btrfs", "xfs": "reflink"}
MEGABYTES = 900


@dataclass
class Run:
    """One snapshot: exit code, what it said, when (unix times) the lock was asked for, when the
    snapshot began and ended, and when the lock was free."""

    code: int
    said: dict[str, Any]
    since: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    until: float = 0.0
    faults: list[str] = field(default_factory=list)


@contextlib.contextmanager
def mounted(kind: str, home: Path) -> Iterator[Path]:
    """A file system of that kind on a loop device. Only root can."""
    image, mount = home / "image", home / "m"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(MEGABYTES << 20)
    for words in (["mkfs." + kind, "-q", image], ["mount", "-o", "loop", image, mount]):
        subprocess.run(words, check=True, capture_output=True, timeout=60)
    try:
        mount.chmod(0o711)
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True, capture_output=True, timeout=60)


def measure(name: str, kind: str, asked: argparse.Namespace) -> dict[str, Any]:
    """One server on one file system."""
    program = next((p for p in installed() if p.name == name), None)
    if program is None or shutil.which(f"mkfs.{kind}") is None:
        return {"server": name, "on": kind, "skipped": "not installed"}
    home = Path(tempfile.mkdtemp(prefix="sw-bench-")).resolve()
    home.chmod(0o711)
    try:
        with mounted(kind, home) as mount:
            it = Instance.create(program, mount / "s", server_id=1, mark=home)
            try:
                it.start()
                return {"server": name, "on": kind, **_measure(it, kind, mount, asked)}
            finally:
                it.remove()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _measure(
    it: Instance, kind: str, mount: Path, asked: argparse.Namespace
) -> dict[str, Any]:
    file = _prepare(it, mount.parent)
    load = Load(it.socket, asked.rate, mount / "written.json")
    quiet: list[tuple[float, float]] = []
    try:
        time.sleep(1)
        short = []
        for _ in range(asked.runs):
            quiet.append((time.time(), time.time() + 0.3))
            time.sleep(0.3)
            short.append(_snapshot(file, "--", "sleep", "0.01"))
        real = [_snapshot(file, "--exact", "--method", METHODS[kind], "--to", str(mount / f"c{i}"))
                for i in range(asked.real)]
    finally:
        load.stop()
    for run in real:
        _prove(run, it, file, load, mount)
    good = [r for r in short if r.code == 0]
    return {
        "runs": len(short), "failed": len(short) - len(good), "rate": load.rate(),
        "blocked_ms": _figures([load.longest_ms(r.since, r.until, reads=False) for r in good]),
        "read_ms": _figures([load.longest_ms(r.since, r.until, reads=True) for r in good]),
        "locked_ms": _figures([r.said["locked_ms"] for r in good]),
        "write_without_ms": _figures([load.longest_ms(*q, reads=False) for q in quiet]),
        "read_without_ms": _figures([load.longest_ms(*q, reads=True) for q in quiet]),
        "proven": sum(not r.faults for r in real), "real": len(real),
        "real_blocked_ms": [load.longest_ms(r.since, r.until, reads=False) for r in real],
        "faults": [f for r in real for f in r.faults] + load.errors(),
    }


def _figures(found: list[float]) -> dict[str, float]:
    return {"median": statistics.median(found or [0]), "worst": max(found, default=0)}


def _prepare(it: Instance, home: Path) -> Path:
    link = pymysql.connect(unix_socket=str(it.socket), user="root", autocommit=True)
    with link, link.cursor() as cursor:
        for text in ("CREATE DATABASE t", *TABLES,
                     "CREATE USER slackwater@localhost IDENTIFIED BY 'bench'",
                     "GRANT ALL ON *.* TO slackwater@localhost"):
            cursor.execute(text)
    secret = home / "password"
    secret.write_text("bench")
    secret.chmod(0o600)
    file = home / "slackwater.toml"
    file.write_text(f'[servers.db]\naddress = "{it.address}"\nsocket = "{it.socket}"\n'
                    f'[accounts.slackwater]\npassword_file = "{secret}"\n'
                    f'[state]\ndirectory = "{home / "state"}"\n')
    return file


def _snapshot(file: Path, *words: str) -> Run:
    command = ["snapshot", "take", "--config", str(file), "--json", *words]
    done = subprocess.run([sys.executable, "-m", "slackwater", *command], capture_output=True,
                          text=True, check=False, timeout=120)
    run = Run(done.returncode, json.loads(done.stdout) if done.stdout else {})
    if run.code:
        run.faults.append(f"exit code {run.code}: {done.stdout[-300:]} {done.stderr[-300:]}")
        return run
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    at = {(e["event"], e.get("step")): float(e["at"]) for e in events}
    run.since, run.until = at["started", "LockForSnapshot"], at["done", "ProveLock"]
    run.began, run.ended = at["started", "TakeSnapshot"], at["done", "TakeSnapshot"]
    return run


def _prove(run: Run, it: Instance, file: Path, load: Load, mount: Path) -> None:
    """Nothing was written meanwhile; it verifies; and it has every row that it must have."""
    if run.code:
        return
    if written := load.written_within(run.began, run.ended):
        run.faults.append(f"{written} writes while the snapshot was taken")
    done = subprocess.run(
        [sys.executable, "-m", "slackwater", "snapshot", "verify", "--config", str(file), "--json",
         run.said["snapshot"]], capture_output=True, text=True, check=False, timeout=300)
    said = json.loads(done.stdout) if done.stdout else {}
    if done.returncode or said.get("position") != "equal":
        run.faults.append(f"verify: {done.returncode}, position {said.get('position')},"
                          f" {said.get('faults')} {done.stderr[-300:]}")
    have = _rows(it, Path(run.said["path"]), mount)
    for writer, acked in load.acked_before(run.began).items():
        count, last = have.get(writer, (0, 0))
        if count < acked or count != last:
            run.faults.append(f"{writer}: {acked} acknowledged, {count} there, the last {last}")


def _rows(it: Instance, copy: Path, mount: Path) -> dict[str, tuple[int, int]]:
    """Of each writer, how many rows the booted copy has, and the highest number."""
    work = Path(tempfile.mkdtemp(dir=mount))
    work.chmod(0o711)
    subprocess.run(["cp", "-a", "--reflink=auto", copy, work / "data"], check=True, timeout=120)
    (work / "data/auto.cnf").unlink(missing_ok=True)
    (work / "home").mkdir()
    told = json.loads((copy / "slackwater-snapshot.json").read_text())
    running = private_server.start(it.program, work / "data", work / "home", told["settings"],
                                   told["log_bin"])

    async def ask() -> dict[str, tuple[int, int]]:
        async with await running.session(limit_s=60) as session:
            rows = await session.rows("SELECT w, COUNT(*) AS c, MAX(n) AS l FROM t.x GROUP BY w")
            found = {f"t.x {r['w']}": (int(r["c"]), int(r["l"])) for r in rows}
            for row in await session.rows("SELECT COUNT(*) AS c, MAX(n) AS l FROM t.m"):
                found[MYISAM] = int(row["c"]), int(row["l"] or 0)
            return found

    try:
        return asyncio.run(ask())
    finally:
        running.stop()
        shutil.rmtree(work, ignore_errors=True)


def main() -> None:
    """Print a line a server and file system, or JSON."""
    asks = argparse.ArgumentParser(prog="python -m bench.snapshot")
    asks.add_argument("--server", action="append")
    asks.add_argument("--on", action="append", choices=tuple(METHODS))
    asks.add_argument("--runs", type=int, default=20)
    asks.add_argument("--real", type=int, default=3)
    asks.add_argument("--rate", type=float, default=500)
    asks.add_argument("--json", action="store_true")
    asked = asks.parse_args()
    results = [measure(n, k, asked)
               for n in asked.server or SERVERS for k in asked.on or METHODS]
    if asked.json:
        print(json.dumps(results, indent=1))
        return
    for one in results:
        place = f"{one['server']:14} {one['on']:5}"
        if "skipped" in one:
            print(f"{place} {one['skipped']}")
            continue
        print(f"{place} {one['rate']:.0f} writes/s, {one['runs']} runs, {one['failed']} failed;"
              f" {one['proven']} of {one['real']} snapshots proven")
        for key, words in (("blocked_ms", "writes waited"), ("write_without_ms", "without"),
                           ("read_ms", "reads waited"), ("read_without_ms", "without"),
                           ("locked_ms", "locked")):
            took = one[key]
            print(f"    {words:14} {took['median']:5.0f} ms median, {took['worst']:5.0f} worst")
        for fault in one["faults"]:
            print(f"    FAULT: {fault}")


if __name__ == "__main__":
    main()
