"""Measurements of the registry, on real balancers and stores on this machine.

    python -m bench.registry churn [--members 50 --rate 90 --seconds 120]
    python -m bench.registry effect            # from known to in effect, median, per balancer
    python -m bench.registry many [--members 10000]    # etcd and file side by side
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.registry.rig import KINDS, Backend, Registry, backends, balancers, config

from bench.registry.churn import Player, Tally, churn
from bench.registry.many import measure
from slackwater.outside.registry.client import Client


@contextlib.contextmanager
def _room() -> Iterator[Path]:
    room = Path(tempfile.mkdtemp(prefix="slackwater-bench-")).resolve()
    room.chmod(0o755)
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _churn(members: int, rate: float, seconds: float) -> None:
    tally = Tally()
    with _room() as room, balancers(room) as made:
        registry = Registry(room / "registry", config(made))
        access = registry.key("fleet", any_member=True)
        servers = [Backend(f"w{i}") for i in range(members)]
        players = [Player(b, access, tally, "web") for b in servers]
        try:
            registry.start()
            asyncio.run(churn(players, list(made.values()), tally, seconds=seconds, rate=rate,
                              every_s=0.5))
        finally:
            for each in servers:
                each.stop()
            registry.stop()
        print("\n".join(tally.lines()))
        print("reloads:", ", ".join(f"{k} {b.reloads}" for k, b in made.items()))
        for failure in tally.unexcused():
            print("not excused:", failure)


def _effect(times: int) -> None:
    """A member drains and comes back, up to three seconds apart.

    The answer of `wait=applied` says when it is in effect.
    """
    print("| balancer | median, ms | worst, ms |\n|---|---|---|")
    for kind in KINDS:
        with _room() as room, balancers(room, [kind]) as made, backends(["a", "b"]) as two:
            registry = Registry(room / "registry", config(made))
            access = registry.key("fleet", any_member=True)
            try:
                registry.start()
                taken = asyncio.run(_toggle(access, two, times))
            finally:
                registry.stop()
        print(f"| {kind} | {statistics.median(taken):.0f} | {max(taken):.0f} |")


async def _toggle(access: object, two: dict[str, Backend], times: int) -> list[float]:
    client = Client(access, limit_s=60)  # type: ignore[arg-type]
    taken = []
    try:
        for name, server in two.items():
            await client.ask("PUT", f"/v1/pools/web/members/{name}?wait=applied&timeout=20",
                             {"port": server.port})
        for number in range(times):
            await asyncio.sleep(random.uniform(0.0, 3.0))
            state = "up" if number % 2 else "drain"
            begun = time.monotonic()
            answer = await client.ask("PUT", "/v1/pools/web/members/a?wait=applied&timeout=20",
                                      {"port": two["a"].port, "state": state})
            assert answer["applied"]
            taken.append((time.monotonic() - begun) * 1000)
    finally:
        await client.close()
    return taken


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.registry")
    parser.add_argument("what", choices=("churn", "effect", "many"))
    parser.add_argument("--members", type=int, default=0)
    parser.add_argument("--rate", type=float, default=90.0)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--times", type=int, default=20)
    asked = parser.parse_args()
    if asked.what == "churn":
        _churn(asked.members or 50, asked.rate, asked.seconds)
    elif asked.what == "effect":
        _effect(asked.times)
    else:
        with _room() as room:
            measure(room, asked.members or 10_000, asked.rate, min(asked.seconds, 20.0))


if __name__ == "__main__":
    main()
