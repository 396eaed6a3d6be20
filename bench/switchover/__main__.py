"""`python -m bench.switchover`: run all methods in turns, print and write what they did."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path

from bench.switchover import namespace, table
from bench.switchover.measure import Round, measure
from bench.switchover.methods import METHODS, Method
from slackwater.lab.balancer import find_haproxy
from slackwater.outside.server_programs import choose

TRIES = 4  # of a round on a machine that does not come to rest; then it counts


def main() -> int:
    """Returns 0 when every round of slackwater ended well and nothing was lost."""
    asked = _arguments()
    why_not = namespace.enter("bench.switchover")  # starts us again inside one, where it can
    methods = [m for m in METHODS if m.key in asked.methods]
    if why_not:
        print(f"SYN drop is left out: {why_not}", file=sys.stderr)
        methods = [m for m in methods if m.key != "syn_drop"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the lab is taken down
    asked.out.mkdir(parents=True, exist_ok=True)
    rounds: list[Round] = []
    for rate in asked.rate:
        for number in range(1, asked.rounds + 1):
            for method in _turn(methods, number):
                rounds.append(_one(method, rate, number, asked))
                _write(rounds, asked)
    _draw(rounds, asked)
    found = table.lines(rounds)
    print(table.text(found))
    print(f"Written to {asked.out}: switchover.json, .md, and a .png for each rate")
    ours = [r for r in rounds if r.method == "slackwater"]
    return 0 if all(r.ok and r.lost == r.duplicated == 0 for r in ours) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.switchover",
        description="Compare a switchover by slackwater, by hand and by SYN drop, under load.",
    )
    keys = [m.key for m in METHODS]
    parser.add_argument("--rounds", type=int, default=5, help="of each method and rate [5]")
    parser.add_argument("--rate", type=int, action="append",
                        help="connection-per-request writes a second; may be repeated [500]")
    parser.add_argument("--methods", nargs="+", choices=keys, default=keys)
    parser.add_argument("--still", type=float, default=25.0, metavar="MS",
                        help="begin when no write has waited longer for a while [25]")
    parser.add_argument("--server", type=Path, help="root of another MariaDB")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="[build/bench]")
    asked = parser.parse_args()
    asked.rate = asked.rate or [500]
    return asked


def _turn(methods: list[Method], number: int) -> list[Method]:
    """Another one begins in each round, so that none always runs on a warmer machine."""
    at = (number - 1) % len(methods)
    return methods[at:] + methods[:at]


def _one(method: Method, rate: int, number: int, asked: argparse.Namespace) -> Round:
    for _ in range(TRIES):
        found = measure(method, rate, number, asked.server, asked.still)
        if found.before_ms <= asked.still:
            break
        # Judged by the time before the method begins, so this favours none.
        print(f"{rate:5,}/s  round {number}  {method.name:<14} does not count, as the machine is "
              f"busy: a write waited {found.before_ms:,.0f} ms before it began", file=sys.stderr)
    errors = sum(found.errors.values())
    print(
        f"{rate:5,}/s  round {number}  {method.name:<14} longest wait {found.stall_ms:8,.1f} ms  "
        f"no writes for {found.gap_ms:7,.1f} ms  {errors:4} errors  lost {found.lost}  "
        f"twice {found.duplicated}" + ("" if found.ok else "  FAILED"),
        file=sys.stderr,
    )
    for line in found.problems:
        print(f"         {line}", file=sys.stderr)
    return found


def _write(rounds: list[Round], asked: argparse.Namespace) -> None:
    """After each round, so that an interrupted bench leaves what it has."""
    told = {
        "command": "python -m bench.switchover " + " ".join(sys.argv[1:]),
        "machine": _machine(asked.server),
        "at": time.strftime("%Y-%m-%d", time.gmtime()),
        "rounds": [r.as_json() for r in rounds],
        "samples": [
            {"method": r.method, "rate": r.rate, "number": r.number, "samples": r.samples,
             "failures": r.failures}
            for r in rounds
        ],
    }
    (asked.out / "switchover.json").write_text(json.dumps(told))
    (asked.out / "switchover.md").write_text(table.markdown(table.lines(rounds)))


def _draw(rounds: list[Round], asked: argparse.Namespace) -> None:
    try:
        from bench.switchover import plot
    except ImportError as problem:
        print(f"no picture: {problem}", file=sys.stderr)
        return
    about = f"the middle round of each method; {_machine(asked.server)}"
    for rate in asked.rate:
        plot.draw(rounds, rate, about, asked.out / f"switchover-{rate}.png")


def _machine(server: Path | None) -> str:
    haproxy = os.popen(f"{find_haproxy()} -v").read().split()[2].split("-")[0]
    return (
        f"{choose(server).name}, sync_binlog=1, HAProxy {haproxy}, {os.cpu_count()} cores, "
        f"Linux {platform.release().split('-')[0]}, everything on one machine"
    )


if __name__ == "__main__":
    sys.exit(main())
