"""Packages are installed below a running server: their scripts cannot stop it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from tests.maintain.packages import WAS
from tests.maintain.test_scenes import NAMES, nobody_failed, nothing_left, pytestmark  # noqa: F401
from tests.servers.patience import PATIENCE

_COPY = "unshare --mount true && command -v apt-get dpkg-deb invoke-rc.d >/dev/null"


def play(scene: str) -> dict[str, Any]:
    """What was seen in the scene."""
    tried = subprocess.run(["sh", "-c", _COPY], check=False, capture_output=True)
    if tried.returncode or "mariadb-10.11" not in NAMES:
        pytest.skip("needs Debian's package manager, mounts and MariaDB 10.11")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "tests.maintain.packages", scene],
        capture_output=True, text=True, timeout=100 * PATIENCE, check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def as_it_was(seen: dict[str, Any]) -> None:
    """The newer package is there, whole; the policy is somebody's again; other services' actions
    went through, and none of the database server's."""
    assert (seen["status"], seen["version"]) == ("installed", "2")
    assert (seen["policy"], seen["policies"]) == (WAS, ["policy-rc.d"])
    assert set(seen["asked"]) == {"slackwater-other restart"}


def test_only_the_restart_is_inside_the_hold() -> None:
    seen = play("upgraded")
    assert (seen["code"], seen["said"]["outcome"]) == (0, "done"), seen["err"]
    nobody_failed(seen)
    nothing_left(seen)
    as_it_was(seen)
    assert seen["restarted"] and seen["said"]["gate"]["held"] > 0
    steps = [step["name"] for step in seen["said"]["steps"]]
    assert steps.index("AllowServices") < steps.index("ShutGate") < steps.index("StartCommand")


def test_killed_while_a_package_is_half_done() -> None:
    """Its scripts still cannot stop the server; `recover` waits for its end, then puts back."""
    seen = play("killed")
    outcome = seen["said"]["recovered"][0]["outcome"]
    assert (seen["code"], outcome) == (0, "undone"), seen["err"]
    assert (seen["meanwhile"], seen["waited"]) == (101, True)
    assert "old program" in seen["said"]["stays"][0]
    assert "slackwater restart s" in seen["said"]["next"]
    nobody_failed(seen)
    nothing_left(seen)
    as_it_was(seen)
    assert not seen["restarted"]


def test_the_package_manager_is_killed_as_well() -> None:
    seen = play("broken")
    outcome = seen["said"]["recovered"][0]["outcome"]
    assert (seen["code"], outcome) == (0, "undone"), seen["err"]
    nobody_failed(seen)
    as_it_was(seen)
    assert not seen["restarted"]
