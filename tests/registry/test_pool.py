"""Colours: a pool moves from blue to green and back, at once or by weights, as an operation."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.registry.conftest import Serving
from tests.registry.rig import Backend, Balancer, Registry, backends
from tests.servers.patience import PATIENCE, eventually

from slackwater.outside.registry.client import Client

pytestmark = pytest.mark.servers
Slackwater = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def colours() -> Iterator[dict[str, Backend]]:
    with backends(["blue1", "blue2", "green1", "green2"]) as made:
        yield made


def joined(registry: Registry, made: dict[str, Backend]) -> None:
    access = registry.key("fleet", any_member=True)

    async def every() -> None:
        client = Client(access, limit_s=60)
        try:
            await asyncio.gather(*(
                client.ask("PUT", f"/v1/pools/web/members/{n}?wait=applied&timeout=20",
                           {"port": b.port, "colour": n[:-1]}) for n, b in made.items()))
        finally:
            await client.close()

    asyncio.run(every())


def command(registry: Registry, room: Path) -> Slackwater:
    """`slackwater pool …` with a configuration that knows no database."""
    key = registry.key_file("operator", role="admin")
    file = room / "slackwater.toml"
    file.write_text(f'[registry]\nurls = ["{registry.url}"]\nkey_file = "{key}"\n'
                    f'[state]\ndirectory = "{room}/state"\n')

    def run(*words: str) -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "slackwater", *words, "--config", str(file), "--json"],
            capture_output=True, text=True, timeout=120 * PATIENCE, check=False)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    return run


def share(balancer: Balancer, colour: str, of: int = 40) -> float:
    return sum(balancer.get().startswith(colour) for _ in range(of)) / of


def test_blue_to_green_and_back(
    serving: Serving, room: Path, colours: dict[str, Backend]
) -> None:
    registry, made = serving("haproxy")
    balancer = made["haproxy"]
    joined(registry, colours)
    run = command(registry, room)
    assert balancer.names(16) == set(colours)

    assert run("pool", "switch", "web", "--to", "blue", "--watch", "0")[0] == 0
    assert balancer.names(12) == {"blue1", "blue2"}
    code, report = run("pool", "weigh", "web", "blue=75", "green=25", "--watch", "0")
    assert code == 0 and report["outcome"] == "done" and report["to"] == {"blue": 75, "green": 25}
    assert 0.1 <= share(balancer, "green") <= 0.4
    code, plan = run("pool", "switch", "web", "--to", "green", "--plan")
    assert code == 0 and [s["name"] for s in plan["steps"]] == ["Divide", "SeeInEffect",
                                                               "WatchHealth"]
    code, report = run("pool", "switch", "web", "--to", "green", "--watch", "0.5")
    assert (code, report["outcome"]) == (0, "done")
    assert balancer.names(12) == {"green1", "green2"}
    for each in ("blue1", "blue2"):
        colours[each].kill()
    eventually(lambda: _ill(run), "blue is known to be ill")
    code, report = run("pool", "switch", "web", "--to", "blue")
    assert (code, report["outcome"]) == (1, "refused") and "no member of blue" in str(report)
    assert balancer.names(12) == {"green1", "green2"}
    code, told = run("history")
    assert [o["outcome"] for o in told["operations"]] == ["done", "done", "done", "refused"]


def _ill(run: Slackwater) -> bool:
    found = run("pool", "show", "web")[1]["registries"]
    return not any(m["healthy"] for r in found.values() for m in r["members"]
                   if m["colour"] == "blue")


def test_a_switch_to_a_colour_that_falls_ill_goes_back_by_itself(
    serving: Serving, room: Path, colours: dict[str, Backend]
) -> None:
    registry, made = serving("haproxy")
    joined(registry, colours)
    run = command(registry, room)
    assert run("pool", "switch", "web", "--to", "blue", "--watch", "0")[0] == 0
    file = room / "slackwater.toml"
    operation = subprocess.Popen(
        [sys.executable, "-m", "slackwater", "pool", "switch", "web", "--to", "green",
         "--watch", "60", "--json", "--config", str(file)], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: made["haproxy"].names(6) == {"green1", "green2"}, "green serves")
        for each in ("green1", "green2"):
            colours[each].kill()
        out, _ = operation.communicate(timeout=90 * PATIENCE)
    finally:
        operation.kill()
        operation.communicate()
    assert json.loads(out)["outcome"] == "undone" and operation.returncode == 2
    assert made["haproxy"].names(12) == {"blue1", "blue2"}
