"""200 clients come in the course of a three-second hold while the server is really stopped.

    python -m bench.hold [--rounds 5] [--clients 200] [--hold 3] [--json FILE]

Beside each other: NFQUEUE (what slackwater does) and SYN drop, from loopback and from another
network namespace, half of the clients by IPv6. Each round: shut the gate, kill the server, let
clients come, start the server, wait until it listens, open. Lag: from the call of `open()` until
the last client that came during the hold has the server's greeting, in ms.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path

from bench.hold.namespace import HERE, HERE6, own_namespace, reason_against
from bench.hold.people import Clients, Server
from slackwater.facts.gate import COSTS, GateAbility, GateReport
from slackwater.outside.gate import gate

PORT = 3306


@dataclasses.dataclass(frozen=True)
class Round:
    """One hold: who came, how it went."""

    way: str
    where: str
    served: int
    errors: list[str]
    lag_ms: float  # the last client
    middle_ms: float  # the median client
    gate: GateReport


async def one_round(
    able: GateAbility, where: str, peer: int | None, count: int, hold_s: float
) -> Round:
    """Server up, hold, server down, clients, server up, release."""
    server = Server(PORT)
    await asyncio.to_thread(server.start)
    try:
        held = gate.Gate([PORT], ability=able, cap_s=hold_s + 5)
        await held.close()
        began = time.monotonic()
        server.stop()
        hosts = ["127.0.0.1", "::1"] if peer is None else [HERE, HERE6]
        clients = Clients(hosts, PORT, count, hold_s * 0.98, inside=peer)
        await asyncio.sleep(began + hold_s * 0.9 - time.monotonic())
        await asyncio.to_thread(server.start)
        await asyncio.sleep(began + hold_s - time.monotonic())
        released = time.monotonic()
        report = await held.open()
        served, errors = await asyncio.to_thread(clients.result)
        lags = [max(0.0, at - released) * 1000 for at in served]
        return Round(able.way, where, len(served), errors, max(lags, default=0),
                     statistics.median(lags or [0]), report)  # fmt: skip
    finally:
        server.stop()


async def measure(rounds: int, count: int, hold_s: float) -> list[Round]:
    """All ways in turn, so that what else the machine does hits all of them."""
    best = await gate.ability()
    if best.way in ("", "drop"):
        sys.exit(f"bench.hold needs NFQUEUE: {'; '.join(best.missing)}")
    found = []
    with own_namespace() as here:
        for number in range(rounds):
            for able in (best, GateAbility("drop", COSTS["drop"])):
                for where, peer in (("loopback", None), ("another namespace", here.peer)):
                    each = await one_round(able, where, peer, count, hold_s)
                    found.append(each)
                    print(f"round {number + 1}: {each.way}, {where}: {each.lag_ms:.1f} ms, "
                          f"{len(each.errors)} errors", file=sys.stderr)  # fmt: skip
    return found


def table(found: list[Round]) -> str:
    """One line a way and place."""
    lines = [
        "| way | clients from | clients | errors | last client: median ms | worst | "
        "median client ms |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for way, where in dict.fromkeys((r.way, r.where) for r in found):
        of = [r for r in found if (r.way, r.where) == (way, where)]
        lags = [r.lag_ms for r in of]
        lines.append(
            f"| {'SYN drop' if way == 'drop' else way} | {where} | "
            f"{sum(r.served + len(r.errors) for r in of)} | {sum(len(r.errors) for r in of)} | "
            f"{statistics.median(lags):.1f} | {max(lags):.1f} | "
            f"{statistics.median(r.middle_ms for r in of):.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print the table."""
    parse = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parse.add_argument("--rounds", type=int, default=5)
    parse.add_argument("--clients", type=int, default=200)
    parse.add_argument("--hold", type=float, default=3.0)
    parse.add_argument("--json", type=Path)
    asked = parse.parse_args()
    if against := reason_against():
        sys.exit(f"bench.hold: {against}")
    found = asyncio.run(measure(asked.rounds, asked.clients, asked.hold))
    print(table(found))
    if asked.json:
        asked.json.write_text(json.dumps([dataclasses.asdict(r) for r in found], indent=1))


if __name__ == "__main__":
    main()
