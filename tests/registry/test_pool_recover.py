"""A `pool switch` or `weigh` that is killed (-9) anywhere: recover undoes it, once and for all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.registry.rig import (
    Backend,
    Balancer,
    Registry,
    backends,
    balancers,
    config,
    needs,
    pool_report,
)
from tests.registry.test_pool import joined
from tests.servers.patience import PATIENCE, eventually
from tests.sweep.pair import environment, python
from typer.testing import CliRunner

from slackwater.cli.main import app
from slackwater.outside.registry.client import Access

pytestmark = pytest.mark.servers
SWITCH = ("switch", "web", "--to", "green")
WEIGH = ("weigh", "web", "blue=50", "green=50")


class Scene:
    """Two balancers, each with a registry of its own that knows nothing of the other's."""

    def __init__(self, room: Path, stack: ExitStack) -> None:
        needs("haproxy")
        self.colours: dict[str, Backend] = stack.enter_context(backends(["blue1", "green1"]))
        self.balancers: list[Balancer] = []
        self.registries: list[Registry] = []
        for name in ("one", "two"):
            (room / name).mkdir()
            made = stack.enter_context(balancers(room / name, ["haproxy"]))
            self.balancers.append(made["haproxy"])
            self.registries.append(Registry(room / name / "registry", config(made)))
            stack.callback(self.registries[-1].stop)
            self.registries[-1].start()
        key = self.registries[0].key_file("operator", role="admin")
        (self.registries[1].state / "keys.json").write_text(
            (self.registries[0].state / "keys.json").read_text())
        secret = key.read_text().strip()
        self.accesses = [Access(r.url, "operator", secret) for r in self.registries]
        for each in self.registries:
            (each.state / "keys.json").chmod(0o600)
            joined(each, self.colours)
        self.file = room / "slackwater.toml"
        urls = json.dumps([r.url for r in self.registries])
        self.file.write_text(f'lab = true\n[registry]\nurls = {urls}\nkey_file = "{key}"\n'
                             f'[state]\ndirectory = "{room}/state"\n')

    def begin(self, *words: str, inject: str = "") -> subprocess.Popen[bytes]:
        """A `slackwater pool` that a test kills, or that kills itself."""
        more = {"SLACKWATER_INJECT": inject} if inject else {}
        return subprocess.Popen(python("slackwater", "pool", *words, "--config", str(self.file)),
                                env=environment(**more), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, start_new_session=True)

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """A command, in this process."""
        done = CliRunner().invoke(app, [*words, "--json", "--config", str(self.file)])
        return done.exit_code, json.loads(done.stdout)

    def shares(self) -> list[dict[str, int]]:
        """What each registry has."""
        return [shares_of(access) for access in self.accesses]

    def assert_all_blue_again(self) -> None:
        """By the registries, and by who answers clients."""
        assert self.shares() == [{"blue": 100}] * 2
        for balancer in self.balancers:
            assert balancer.names(6) == {"blue1"}

    def recover(self) -> None:
        """Undone at the first time, and nothing to do at the second."""
        code, said = self.run("recover")
        assert code == 0 and [r["outcome"] for r in said["recovered"]] == ["undone"], said
        code, said = self.run("recover")
        assert (code, said["recovered"]) == (0, []), said
        self.assert_all_blue_again()


@pytest.fixture
def scene(room: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        made = Scene(room, stack)
        assert made.run("pool", "switch", "web", "--to", "blue", "--watch", "0")[0] == 0
        made.assert_all_blue_again()
        yield made


def test_killed_before_and_after_each_step(scene: Scene) -> None:
    for inject, words, moved in (
        ("kill:Divide", SWITCH, False), ("killed:Divide", WEIGH, True),
        ("killed:SeeInEffect", SWITCH, True), ("killed:WatchHealth", WEIGH, True),
    ):
        operation = scene.begin(*words, "--watch", "0.1", inject=inject)
        assert operation.wait(60 * PATIENCE) == -signal.SIGKILL, inject
        assert (scene.shares() != [{"blue": 100}] * 2) is moved, inject
        code, said = scene.run("pool", *SWITCH)
        assert code == 1 and "is unfinished" in said["reasons"][0], said
        scene.recover()


def test_killed_between_two_registries_and_while_it_watches(scene: Scene) -> None:
    first, second = scene.accesses[0], scene.registries[1]
    worker = int(scene.balancers[0].workers().pop())
    # The first registry has taken it and waits for its balancer; the second was not asked yet.
    operation = scene.begin(*SWITCH, inject=f"run:Divide:kill -STOP {worker}")
    try:
        eventually(lambda: shares_of(first) == {"green": 100}, "the first registry has it")
        operation.kill()
        operation.wait(20 * PATIENCE)
    finally:
        os.kill(worker, signal.SIGCONT)
    assert scene.shares() == [{"green": 100}, {"blue": 100}]
    second.stop()
    code, said = scene.run("recover")  # it cannot be seen whether that is all: told, and not ended
    assert (code, said["outcome"]) == (3, "stuck"), said
    second.start()
    scene.recover()

    operation = scene.begin(*SWITCH, "--watch", "60")
    eventually(lambda: all(b.names(6) == {"green1"} for b in scene.balancers), "green serves")
    operation.kill()
    operation.wait(20 * PATIENCE)
    scene.recover()


def shares_of(access: Access) -> dict[str, int]:
    """One registry's."""
    return dict(pool_report(access)["shares"])
