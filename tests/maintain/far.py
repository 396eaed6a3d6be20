"""Scenes of held maintenance on another host: a real sshd, and a cable between the two.

The server, its clients and sshd are in one network namespace; slackwater runs in another one and
has nothing but SSH to it. See tests/maintain/scene.py for how they are played.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench.hold.namespace import HERE, ip, own_namespace
from tests.maintain import alone, scene, slow_restart
from tests.outside.real_sshd import Sshd, sshd
from tests.servers.patience import eventually

from slackwater.lab import restart
from slackwater.lab.instance import Instance, Program

DEADLINE_S = 7.0  # the holder there has noticed two seconds before that nobody is with it


@dataclass
class Far:
    """The other host, seen from where its server is."""

    server: Instance
    place: Path
    ssh: Sshd
    peer: int

    @property
    def before(self) -> tuple[str, ...]:
        """Runs a program on slackwater's host."""
        return ("nsenter", "-t", str(self.peer), "-n")

    def cut(self) -> None:
        """Nothing goes over the cable any more, and nobody is told."""
        ip("link set hold0 down")

    def mend(self) -> None:
        """The cable is whole again."""
        ip("link set hold0 up")


@contextlib.contextmanager
def far(program: Program, place: Path, *, slow: bool = False) -> Iterator[Far]:
    """A running server on another host; `slow`: its restart is stepped through."""
    with own_namespace() as space, pytest.MonkeyPatch.context() as patch:
        home = place / "home"
        home.mkdir()
        server = alone.make(program, place)
        again = slow_restart.command(server, place) if slow else restart.command(server.directory)
        # Programs that sshd starts know nothing of our environment.
        again = f"env PYTHONPATH={os.pathsep.join(p for p in sys.path if p)} {again}"
        with sshd(home, patch, HERE) as ssh:
            alone.write_config(server, place, again, f'ssh = "{ssh.destination}"')
            text = alone.config(place).read_text()
            alone.config(place).write_text(text.replace("127.0.0.1", HERE, 1))
            yield Far(server, place, ssh, space.peer)


def restarted(program: Program, place: Path) -> dict[str, Any]:
    """A loaded server on another host is restarted behind the gate there."""
    with far(program, place) as there:
        with alone.Loaded(alone.target(there.server), scene.plan(connect_limit_s=40)) as load:
            scene.under_way(load)
            done = alone.slackwater(*_words(there), before=there.before)
            scene.goes_on(load)
        seen = scene.seen(done, load, place)
        explained = alone.slackwater(
            "hold", "--explain", "--server", "s", "--json", "--config", alone.config(place),
            before=there.before)
        return seen | {
            "restarted": Instance.load(place / "s").pid != there.server.pid,
            "explained": scene.last_json(explained.stdout), "copy": _output(seen),
        }


def cut(program: Program, place: Path) -> dict[str, Any]:
    """The cable is cut while the server is down: the holder there ends by itself, and clients go
    on. Then slackwater is killed, the cable mended, and `recover` finishes."""
    with far(program, place, slow=True) as there:
        with alone.Loaded(alone.target(there.server), scene.plan(connect_limit_s=40)) as load:
            scene.under_way(load)
            process = alone.until_step("FinishCommand", *_words(there), before=there.before)
            eventually((place / "down").exists, "the server is down", limit_s=60)
            there.cut()
            (place / "go").touch()
            scene.goes_on(load)
            left = rules_without_slackwater()
            process.kill()
            process.communicate()
            there.mend()
            done = alone.slackwater(
                "recover", "--json", "--config", alone.config(place), before=there.before)
            scene.goes_on(load)
        return scene.seen(done, load, place) | {"left": left}


def deadline(program: Program, place: Path) -> dict[str, Any]:
    """The cable is cut during a hold whose command does not end: at its deadline the gate there
    opens by itself. When the cable is whole again slackwater tells how the command ended."""
    with far(program, place) as there:
        script = f"touch {place}/began; until [ -e {place}/go ]; do sleep 0.05; done; exit 7"
        words = ("hold", "--server", "s", "--port", str(there.server.port), "--limit",
                 str(DEADLINE_S), "--json", "--config", str(alone.config(place)))
        with alone.Loaded(alone.target(there.server), scene.plan(connect_limit_s=40)) as load:
            scene.under_way(load)
            process = alone.until_step(
                "StartCommand", *words, "--", "sh", "-c", script, before=there.before)
            shut = time.monotonic()
            eventually((place / "began").exists, "the command runs", limit_s=60)
            there.cut()
            held = not scene.let_in(there.server.port)
            scene.goes_on(load)
            open_s, left = time.monotonic() - shut, rules_without_slackwater()
            there.mend()
            (place / "go").touch()
            out, err = process.communicate(timeout=scene.MOST_S)
            scene.goes_on(load)
        done = subprocess.CompletedProcess(words, process.returncode, out, err)
        recovered = alone.slackwater(
            "recover", "--json", "--config", alone.config(place), before=there.before)
        again = scene.last_json(recovered.stdout)
        return scene.seen(done, load, place) | {
            "held": held, "open_s": open_s, "left": left, "recovered": again}


def killed(program: Program, place: Path) -> dict[str, Any]:
    """slackwater is killed while the server is down: the holder there hears of it, and lets go
    when the server listens again. Then `recover` finishes."""
    with far(program, place, slow=True) as there:
        with alone.Loaded(alone.target(there.server), scene.plan(connect_limit_s=40)) as load:
            scene.under_way(load)
            process = alone.until_step("FinishCommand", *_words(there), before=there.before)
            eventually((place / "down").exists, "the server is down", limit_s=60)
            process.kill()
            process.communicate()
            (place / "go").touch()
            scene.goes_on(load)
            left = rules_without_slackwater()
            done = alone.slackwater(
                "recover", "--json", "--config", alone.config(place), before=there.before)
            scene.goes_on(load)
        return scene.seen(done, load, place) | {"left": left}


def _words(there: Far) -> tuple[str, ...]:
    config = str(alone.config(there.place))
    return ("restart", "s", "--limit", "20", "--json", "--config", config)


def _output(seen: dict[str, Any]) -> str:
    """The copy here of what the command printed there."""
    return Path(seen["said"].get("output", "/none")).read_text()


def rules_without_slackwater() -> str:
    """The rule set of the other host, once slackwater's part is gone (at the limit: as it is)."""
    def look() -> str:
        return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True,
                              check=False, timeout=10).stdout

    with contextlib.suppress(AssertionError):
        eventually(lambda: "slackwater" not in look(), "the holder left")
    return look()


SCENES = {"far_restart": restarted, "far_cut": cut, "far_killed": killed,
          "far_deadline": deadline}
