"""Failovers of a loaded pair: how long until traffic flows, what was lost, what was told.

For each server and each kind of end (kill: SIGKILL; hang: SIGSTOP; cut: no packet reaches the old
server, in a network namespace of our own; behind: SIGKILL some moments after nothing reached its
replica any more) one line: how many failovers were done; ms from the command to the first write
that a client had acknowledged by the new server (median, worst, of those that were done; the start
of the program is in it); writes acknowledged; acknowledged writes that the new server lacks (lost);
those of them in the file that the report names (told); acknowledged after the flip and lost, or a
client on the old server after the flip (overlaps: must be 0); rejoins that were done, refused
because of transactions of its own, and ended equal by `slackwater pair compare`. CPU: of the
command, user and system, seconds (median); the machine's load is at the end of each line.

    python bench/failover.py [--count 20] [--rate 100] [--semi-sync] [--balancers 2]
        [--kind kill …] [--all | DIR …]

DIR: servers as `make servers` gets them; without one, the server that is installed; `--all`: each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.failover.scene import KINDS, Scene, Seen, fail_over
from tests.servers.fixtures import end, root_of

from slackwater.lab.instance import at, installed
from slackwater.lab.up import up

_INSIDE = "SLACKWATER_BENCH_FAILOVER"


def main() -> int:
    """Measure, and print a line for each server and kind. 1: something was lost untold."""
    asked = _arguments().parse_args()
    if {"cut", "behind"} & {*asked.kind} and not os.environ.get(_INSIDE):
        words = ["unshare", "--net", sys.executable, *sys.argv]
        path = f"{Path(__file__).parents[1]}:{os.environ.get('PYTHONPATH', '')}"
        os.execvpe(words[0], words, {**os.environ, _INSIDE: "1", "PYTHONPATH": path})
    if os.environ.get(_INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print(f"{asked.count} failovers of each kind, {asked.rate} requests/s and 4 pooled writers, "
          f"semi-sync {'on' if asked.semi_sync else 'off'}; {os.cpu_count()} cores, load "
          f"{os.getloadavg()[0]:.1f}, Linux {platform.release().split('-')[0]}")
    print("server         kind  done   flows after ms: median  worst  acked   lost  told  untold  "
          "overlaps  rejoin: done refused equal   CPU  load")
    bad = False
    every = [root_of(p) for p in installed()] if asked.all else asked.server or [None]
    for server in every:
        for kind in asked.kind:
            seen = [_one(server, kind, asked) for _ in range(asked.count)]
            name = at(server).name if server else "installed"
            print(f"{_line(name, kind, seen)} {os.getloadavg()[0]:>5.1f}", flush=True)
            if rest := not_done(seen):
                print(f"  not done, so without times above: {rest}", flush=True)
            bad |= any(s.lost - s.told or s.old_used for s in seen)
    return int(bad)


def _one(server: Path | None, kind: str, asked: argparse.Namespace) -> Seen:
    with tempfile.TemporaryDirectory(prefix="sw-fo-") as work:
        Path(work).chmod(0o755)  # servers run as a user of their own
        lab = Path(work, "lab")
        try:
            made = up(server=server, directory=lab, balancers=asked.balancers)
            scene = Scene(made, rate=asked.rate)
            if asked.semi_sync:
                scene.semi_sync()
            time.sleep(asked.pause)
            seen = fail_over(scene, kind)
            if asked.verbose or not _done(seen) or seen.lost - seen.told:
                print(json.dumps({"report": seen.report, "rejoin": seen.rejoin, "lost": len(
                    seen.lost), "told": len(seen.told), "flows_ms": seen.flows_ms, "untold": sorted(
                    seen.lost - seen.told)[:9]}, default=str), seen.errors[-800:], file=sys.stderr)
            return seen
        finally:
            end(lab)


def _done(seen: Seen) -> bool:
    return seen.report.get("outcome") == "done"


def flows_ms(seen: list[Seen]) -> list[float]:
    """Until traffic flowed, of failovers that were done: after one that was refused it is the old
    server, woken up again, that acknowledges."""
    return [s.flows_ms for s in seen if _done(s) and s.flows_ms is not None]


def not_done(seen: list[Seen]) -> str:
    """How the others ended, and why; "" when there are none."""
    return "; ".join(f"{s.report.get('outcome')}: {'; '.join(s.report.get('reasons', []))[:200]}"
                     for s in seen if not _done(s))


def _line(name: str, kind: str, seen: list[Seen]) -> str:
    flows = flows_ms(seen) or [float("nan")]
    done = sum(_done(s) for s in seen)
    rejoined = [s.rejoin.get("outcome") for s in seen]
    refused = sum(bool(s.rejoin.get("extra")) for s in seen)
    overlaps = sum(bool(s.old_used) + len(s.late) for s in seen)
    return (
        f"{name:14} {kind:5} {done:>2}/{len(seen):<2}  {statistics.median(flows):>22.0f} "
        f"{max(flows):>6.0f} {sum(s.acked for s in seen):>6} {sum(len(s.lost) for s in seen):>6} "
        f"{sum(len(s.lost & s.told) for s in seen):>5} "
        f"{sum(len(s.lost - s.told) for s in seen):>7}  {overlaps:>8}  "
        f"{rejoined.count('done'):>12} {refused:>7} {sum(bool(s.equal) for s in seen):>5} "
        f"{statistics.median(s.cpu_s for s in seen):>5.2f}"
    )


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--pause", type=float, default=0.0, help="s before the load begins")
    parser.add_argument("--semi-sync", action="store_true")
    parser.add_argument("--balancers", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="every server that is installed")
    parser.add_argument("--verbose", action="store_true", help="print each report")
    parser.add_argument("--kind", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("server", type=Path, nargs="*")
    return parser


if __name__ == "__main__":
    sys.exit(main())
