"""What does a busy core alone do to the load's latencies, on the machine of these benchmarks?

A lab of one server, connection-per-request writes, and in turns: nothing else; one empty loop at
idle priority (no database, no disk, no network); two. A figure of another benchmark in which
something beside the active server computes (a copy, an ALTER on the passive) is to be read with
these. One line a turn: median, 99th percentile and longest wait of the writes (ms).

    python -m bench.busy_core [--rate 500] [--seconds 12] [--rounds 2] [DIR]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SLACKWATER = str(Path(sys.executable).with_name("slackwater"))
LOOP = ("chrt", "--idle", "0", sys.executable, "-c", "while True: pass")


def main() -> None:
    """Measure, and print a line for each turn."""
    parser = argparse.ArgumentParser(prog="bench.busy_core")
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("server", nargs="?")
    asked = parser.parse_args()
    print(f"{asked.rate} writes/s; ms")
    with tempfile.TemporaryDirectory(prefix="sw-bench-") as work:
        Path(work).chmod(0o755)  # servers run as a user of their own
        lab = Path(work, "lab")
        which = ["--server", asked.server] if asked.server else []
        _run("lab", "up", "--directory", str(lab), *which)
        try:
            for loops in [0, 1, 2] * asked.rounds:
                with _busy(loops):
                    print(f"{loops} idle-priority loops: {_load(lab, asked)}", flush=True)
        finally:
            _run("lab", "down", "--directory", str(lab))


@contextlib.contextmanager
def _busy(loops: int) -> Iterator[None]:
    started = [subprocess.Popen(LOOP) for _ in range(loops)]
    try:
        yield
    finally:
        for each in started:
            each.kill()
            each.wait()


def _load(lab: Path, asked: argparse.Namespace) -> str:
    said = _run("lab", "load", "--config", str(lab / "slackwater.toml"), "--seconds",
                str(asked.seconds), "--rate", str(asked.rate), "--pooled", "0", "--json")
    found = json.loads(said)["latency_ms"]["request"]
    return f"median {found['p50']:.1f}, p99 {found['p99']:.1f}, longest {found['max']:.1f}"


def _run(*words: str) -> str:
    done = subprocess.run([SLACKWATER, *words], capture_output=True, text=True, check=True,
                          timeout=120)
    return done.stdout


if __name__ == "__main__":
    main()
