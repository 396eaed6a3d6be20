"""Causes of the network, in one of our own: a middlebox that forgets, a resolver that is dead."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.doctor.conftest import SERVERS
from tests.doctor.doctor import causes, evidence
from tests.servers.patience import PATIENCE
from tests.sweep.network import reason_against

from slackwater.outside import server_programs as programs

pytestmark = pytest.mark.servers


def inside(scenario: str, server: str, place: Path) -> dict[str, Any]:
    """The doctor's JSON of a scenario of inside.py."""
    if why := reason_against():
        pytest.skip(why)
    if not any(p.name == server for p in programs.installed()):
        pytest.skip(f"{server} is not installed")
    if shutil.which("gcc") is None or shutil.which("mariadb_config") is None:
        pytest.skip("no client in C here")
    done = subprocess.run(
        ["unshare", "--net", "--mount", sys.executable, "-m", "tests.doctor.inside", scenario,
         server, str(place)],
        capture_output=True, text=True, check=False, timeout=120 * PATIENCE)
    if "nf_conntrack" in done.stderr and "No such file" in done.stderr:
        pytest.skip("this kernel tracks no connections")
    assert done.returncode == 0, done.stderr[-2000:]
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("server", ["mariadb-10.11", "mysql-9.7"])
def test_a_middlebox_forgets_an_idle_connection(server: str, place: Path) -> None:
    said = inside("middlebox", server, place)
    assert causes(said, "certain", "likely", "possible") == {"silent-drop"}, said["findings"]
    assert "retransmissions" in evidence(said, "silent-drop")


@pytest.mark.parametrize("server", ["mariadb-11.8", "mysql-9.7"])
def test_a_middlebox_resets_an_idle_connection(server: str, place: Path) -> None:
    """The server knows nothing of it, and still has the session."""
    said = inside("reset", server, place)
    assert causes(said, "certain", "likely", "possible") == {"proxy-closed"}, said["findings"]
    assert "still has its session" in evidence(said, "proxy-closed")


@pytest.mark.parametrize("server", SERVERS)
def test_the_servers_resolver_is_dead(server: str, place: Path) -> None:
    said = inside("dns", server, place)
    assert causes(said, "certain", "likely", "possible") == {"dns"}, said["findings"]
