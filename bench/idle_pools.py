"""What do many pooled connections that rest cost a switchover?

A lab of each server named, so many connections of the application through its balancer, which then
rest for a while: a short one, after which all of them are closed while clients are held; and one
that is longer than `CloseIdle` asks for, after which they are closed before. For each rest one
line: how long clients were held (ms: median, worst).

    python -m bench.idle_pools [--sessions 120] [--count 3] [DIR …]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from pathlib import Path

from tests.servers.pooled import pooled

from bench.repeated import switch, throwaway
from slackwater.lab.facts import read
from slackwater.rules.settle import LONG_REST_S

SHORT_S = 2.0


def main() -> None:
    """Measure each server, short rest and long in turn."""
    asked = _arguments().parse_args()
    print(f"{asked.sessions} pooled connections at rest; clients held, ms: median, worst")
    for server in asked.server or [None]:
        with throwaway(server) as lab:
            held: dict[float, list[float]] = {SHORT_S: [], LONG_REST_S + 1: []}
            for _ in range(asked.count):
                for rest_s, found in held.items():
                    found.append(_held_ms(lab / "slackwater.toml", asked.sessions, rest_s))
        for rest_s, found in held.items():
            print(f"{server.name if server else 'installed':16} at rest for {rest_s:4.0f} s:"
                  f" {statistics.median(found):7.1f} {max(found):7.1f}", flush=True)


def _held_ms(config: Path, sessions: int, rest_s: float) -> float:
    facts = read(config.parent)
    with contextlib.ExitStack() as stack:
        for _ in range(sessions):
            stack.enter_context(contextlib.closing(pooled(facts)))
        time.sleep(rest_s)
        report = switch(config)
    if report["outcome"] != "done":
        raise SystemExit(f"the switchover: {report['outcome']}, {report['reasons']}")
    return float(report["hold_ms"])


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=120, help="the lab's balancer takes 140")
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("server", type=Path, nargs="*")
    return parser


if __name__ == "__main__":
    main()
