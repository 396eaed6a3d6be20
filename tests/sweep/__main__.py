"""`python -m tests.sweep [--server DIR] [--balancers N] [--case PATTERN] [--quick] [--jobs N]`."""

from __future__ import annotations

import argparse
import fnmatch
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.sweep import cases, table
from tests.sweep.cases import Case
from tests.sweep.network import INSIDE, Network, reason_against
from tests.sweep.pair import SweepLab, environment, python
from tests.sweep.run import Result, Sweep

SERVERS = Path(os.environ.get("SLACKWATER_SERVERS", Path.home() / ".cache/slackwater/servers"))


def main() -> int:
    """Run the cases that were asked for; exit code 1 when one of them failed."""
    asked = _arguments().parse_args()
    # So that a timeout's SIGTERM, too, leaves no lab behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    inside = INSIDE in os.environ
    if asked.jobs > 1:
        return _side_by_side(asked.jobs, asked.seed)
    chosen = cases.quick(asked.seed) if asked.quick else cases.every(asked.random, asked.seed)
    chosen = [c for c in chosen if not asked.group or c.group in asked.group]
    chosen = [c for c in chosen if fnmatch.fnmatch(c.title, asked.case)]
    share, of = asked.share
    chosen = chosen[share - 1 :: of]
    cut = [c for c in chosen if c.group == "network"]
    mine = cut if inside else [c for c in chosen if c.group != "network"]
    if asked.list:
        print("\n".join(f"{c.group:8} {c.title}" for c in chosen))
        return 0
    if not inside and of == 1:
        print(f"seed {asked.seed}")
    failed = False
    if mine:
        place = Path(tempfile.gettempdir(), f"sw-sweep-{os.getpid()}")
        lab = SweepLab(place, _server(asked.server), asked.balancers)
        results = sweep(mine, lab, Network() if inside else None,
                        verbose=asked.verbose, heading=of == 1)
        failed = any(r.faults for r in results)
    if cut and not inside:
        failed |= _in_namespaces(cut)
    return int(failed)


def sweep(
    chosen: Sequence[Case], lab: SweepLab, network: Network | None = None, *,
    verbose: bool = False, heading: bool = True,
) -> list[Result]:
    """Run the cases on one lab, printing the table as it grows."""
    began = time.monotonic()
    runner = Sweep(lab, network)
    results: list[Result] = []
    if heading:
        print(table.head(), flush=True)
    try:
        for case in chosen:
            result = runner.run(case)
            results.append(result)
            print(table.line(result), flush=True)
            if result.faults:
                print(table.details(result), flush=True)
            if verbose:
                print("\n".join(f"    . {note}" for note in result.notes), flush=True)
    finally:
        runner.close()
    print(table.summary(results, time.monotonic() - began, lab.built))
    return results


def _side_by_side(jobs: int, seed: int) -> int:
    """Each job its share of the cases on a lab of its own; their lines as they come."""
    print(f"seed {seed}", table.head(), sep="\n", flush=True)
    words = ["--seed", str(seed), "--jobs", "1"]  # the last word counts
    running = [
        subprocess.Popen(
            python("tests.sweep", *sys.argv[1:], *words, "--share", f"{share}/{jobs}"),
            env=environment(),
        )
        for share in range(1, jobs + 1)
    ]
    try:
        return int(max(process.wait() for process in running) > 0)
    finally:
        for process in running:
            process.terminate()  # and not SIGKILL: it has a lab to end
        for process in running:
            process.wait()


def _in_namespaces(cut: Sequence[Case]) -> bool:
    """Run ourselves again where the network is ours to cut."""
    if reason := reason_against():
        for case in cut:
            print(table.line(Result(case, skipped=reason)))
        return False
    command = ["unshare", "--net", *python("tests.sweep", *sys.argv[1:])]
    inner = subprocess.Popen(command, env=environment(**{INSIDE: "1"}))
    try:
        return inner.wait() != 0
    finally:
        inner.terminate()  # and not SIGKILL: it has a lab to end
        inner.wait()


def _server(name: str) -> Path | None:
    if not name:
        return None
    path = Path(name)
    return path if path.is_dir() else SERVERS / name


def _share(text: str) -> tuple[int, int]:
    """`2/3`: the second of three."""
    share, _, of = text.partition("/")
    return int(share), int(of)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__)
    parser.add_argument("--server", default="", help="a server's root, or its name in the cache")
    parser.add_argument("--case", default="*", help="a pattern of titles, such as 'kill* Promote*'")
    parser.add_argument("--group", action="append", help="inject, world, disk, recover, random …")
    parser.add_argument("--balancers", type=int, default=1, help="faults befall the first [1]")
    parser.add_argument("--quick", action="store_true", help="each step and each kind once")
    parser.add_argument("--random", type=int, default=25, help="how many random kills")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--jobs", type=int, default=1, help="labs side by side: cases mostly wait")
    parser.add_argument("--share", type=_share, default=(1, 1), help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help="print the cases, run none")
    parser.add_argument("--verbose", action="store_true", help="say what clients saw")
    return parser


if __name__ == "__main__":
    sys.exit(main())
