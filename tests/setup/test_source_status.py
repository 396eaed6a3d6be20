"""`status` and `heartbeat` of a source and its replicas, which have no switchover."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.servers.patience import eventually
from tests.setup.scene import Scene, scene
from tests.setup.stories import named

pytestmark = pytest.mark.servers


def _status(made: Scene, code: int) -> dict[str, Any]:
    done = made.run("status", "--json")
    assert done.returncode == code, done.stdout + done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
def test_of_a_source(name: str, place: Path) -> None:
    stop = "STOP SLAVE" if name.startswith("mariadb") else "STOP REPLICA"
    with scene(named(name), place, 2, source=True) as made:
        made.setup()
        said = _status(made, 0)
        assert (said["active"], said["agree"], list(said["servers"])) == ("a", True, ["a", "b"])
        page = made.run("status").stdout
        assert "source shop: a takes writes, and all follow it" in page and "balancer" not in page

        beats = made.run("heartbeat", "--seconds", "1", "--json")
        assert beats.returncode == 0, beats.stderr
        counted = json.loads(beats.stdout)["beats"]
        assert list(counted) == ["a"] and counted["a"] > 0

        def measured() -> bool:
            return _status(made, 0)["servers"]["b"]["lag_ms"] is not None

        eventually(measured, "a lag in milliseconds")

        made.sql("b", stop)
        said = _status(made, 1)
        assert "b: replication from" in str(said["disagreements"])
        made.sql("a", "SET GLOBAL read_only = 1")
        assert "a accepts no writes" in _status(made, 1)["disagreements"]

        check = made.run("check")
        assert "there is no pair in it" in check.stderr, check.stderr


def test_nothing_that_acts_on_a_pair_takes_a_source(place: Path) -> None:
    with scene(named("mariadb-10.11"), place, 2, source=True) as made:
        made.setup()
        for word in ("restart", "upgrade"):
            done = made.run(word, "--pair", "shop", "--plan")
            assert (done.returncode, "no pair in it" in done.stderr) == (78, True), done.stderr
