"""Many switchovers in a row under load: how long are clients held, and what do they see?

A lab of each server named, a connection-per-request load with pooled writers beside it, and
`slackwater switchover` over and over, as an operator would type it. For each server one line:
how many were done; how long clients were held (ms: median, worst); the longest stall that a client
saw in each switchover (ms: median, worst), and in as long a time without one, behind each: that is
the load's own on this machine; what was lost, doubled or answered by a read-only server; errors of
connection-per-request clients, of pools that test their connections (which should see none), and
of pools that do not (which lose each connection once). Below it, why any was not done.

    python bench/repeated.py [--count 20] [--rate 1000] [--pooled 4] [--tested 4] [DIR …]

DIR: servers as `make servers` gets them; without one, the server that is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SLACKWATER = str(Path(sys.executable).with_name("slackwater"))
PAUSE_S = 0.3
LIMIT_S = 600


def main() -> None:
    """Measure each server, and print a line for it."""
    asked = _arguments().parse_args()
    print(f"{asked.count} switchovers, {asked.rate} requests/s, {asked.pooled} pooled writers that"
          f" do not test their connections and {asked.tested} that do; times in ms")
    print(f"{'server':16} done  hold: median worst  stall: median  worst  without: median  worst"
          "  acked    lost dup r/o  errors: request tested untested")
    for server in asked.server or [None]:
        reports, load = measure(server, asked)
        print(_line(server.name if server else "installed", reports, load), flush=True)
        for report in reports:
            if report["outcome"] != "done":
                print(f"{'':17}{report['outcome']}: {'; '.join(report['reasons'])}", flush=True)


def measure(
    server: Path | None, asked: argparse.Namespace
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The reports of all switchovers, and the load's own."""
    with throwaway(server) as lab:
        return _under_load(lab / "slackwater.toml", lab.with_name("windows"), asked)


@contextlib.contextmanager
def throwaway(server: Path | None) -> Iterator[Path]:
    """The directory of a lab that ends with the block."""
    which = ["--server", str(server)] if server else []
    with tempfile.TemporaryDirectory(prefix="sw-bench-") as work:
        Path(work).chmod(0o755)  # servers run as a user of their own
        lab = Path(work, "lab")
        _slackwater("lab", "up", "--directory", str(lab), *which)
        try:
            yield lab
        finally:
            _slackwater("lab", "down", "--directory", str(lab))


def switch(config: Path) -> dict[str, Any]:
    """One switchover, and its report."""
    said = _slackwater("switchover", "--config", str(config), "--json", check=False)
    report: dict[str, Any] = json.loads(said)
    return report


def _under_load(
    config: Path, windows: Path, asked: argparse.Namespace
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    windows.touch()
    load = subprocess.Popen(
        [SLACKWATER, "lab", "load", "--config", str(config), "--seconds", str(LIMIT_S),
         "--rate", str(asked.rate), "--pooled", str(asked.pooled),
         "--pooled-tested", str(asked.tested), "--windows", str(windows), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    reports = []
    try:
        time.sleep(2)
        for _ in range(asked.count):
            begun = time.time() * 1000
            reports.append(switch(config))
            _window(windows, begun)
            lasted_s = time.time() - begun / 1000
            time.sleep(PAUSE_S)
            begun = time.time() * 1000
            time.sleep(lasted_s)
            _window(windows, begun)
    finally:
        load.send_signal(signal.SIGINT)
        said, _ = load.communicate(timeout=120)
    return reports, json.loads(said)


def _window(windows: Path, begun: float) -> None:
    """The load tells the longest stall from `begun` (unix milliseconds) until now."""
    with windows.open("a") as file:
        file.write(f"[{begun:.0f}, {time.time() * 1000:.0f}]\n")


def _line(name: str, reports: list[dict[str, Any]], load: dict[str, Any]) -> str:
    done = sum(r["outcome"] == "done" for r in reports)
    holds = [r["hold_ms"] for r in reports if "hold_ms" in r]
    stalls = [w["stall_ms"] for w in load["windows"][0::2]]
    without = [w["stall_ms"] for w in load["windows"][1::2]]
    errors = load["errors_by_kind"]
    hold, stall, none = (statistics.median(x) for x in (holds, stalls, without))
    return (
        f"{name:16} {done:>2}/{len(reports):<2}       {hold:6.1f} {max(holds):5.1f}"
        f"          {stall:6.1f} {max(stalls):6.1f}          {none:7.1f} {max(without):6.1f}"
        f"  {load['acked']:<7}"
        f" {load['lost']:>5} {load['duplicated']:>3} {load['read_only_errors']:>3}"
        f"          {errors['request']:>7} {errors['tested']:>6} {errors['pooled']:>8}"
    )


def _slackwater(*words: str, check: bool = True) -> str:
    done = subprocess.run([SLACKWATER, *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise SystemExit(f"slackwater {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "{}"


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--pooled", type=int, default=4)
    parser.add_argument("--tested", type=int, default=4)
    parser.add_argument("server", type=Path, nargs="*")
    return parser


if __name__ == "__main__":
    main()
