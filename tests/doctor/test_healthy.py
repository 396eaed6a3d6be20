"""A healthy pair under load: nothing above a note. And slackwater has none of its own diseases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.doctor.doctor import causes, doctor
from tests.servers.fixtures import end, root_of
from tests.servers.patience import PATIENCE, eventually

from slackwater.lab.facts import LabFacts
from slackwater.lab.instance import Instance
from slackwater.lab.up import up
from slackwater.outside import processes
from slackwater.outside import server_programs as programs

pytestmark = pytest.mark.servers


@pytest.fixture(params=["mariadb-10.11", "mysql-9.7"])
def pair_of(request: pytest.FixtureRequest, place: Path) -> Iterator[LabFacts]:
    """A whole lab."""
    found = next((p for p in programs.installed() if p.name == request.param), None)
    if found is None:
        pytest.skip(f"{request.param} is not installed")
    try:
        yield up(server=root_of(found), directory=place / "lab")
    finally:
        end(place / "lab")


def test_a_healthy_pair_under_load(pair_of: LabFacts) -> None:
    lab = pair_of
    toml = str(lab.config)
    command = [sys.executable, "-m", "slackwater", "lab", "load", "--seconds", "8", "--rate", "60",
               "--pooled", "4", "--pooled-tested", "2", "--json", "--config", toml]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True) as load:
        ports = frozenset(int(b["frontend"].rpartition(":")[2]) for b in lab.balancers.values())
        known = processes.Known(ports)
        eventually(lambda: processes.scan(known, processes.children(load.pid)).held,
                   "the load has begun")
        said = doctor("--config", toml, "--pid", load.pid)
        out, _ = load.communicate(timeout=60 * PATIENCE)
    assert load.returncode == 0, out
    assert causes(said, "certain", "likely", "possible") == set(), said["findings"]
    assert said["not_seen"] == []
    after = doctor("--config", toml, "--pid", os.getpid())
    assert causes(after, "certain", "likely", "possible") == set(), after["findings"]


@pytest.mark.one_flavour
def test_slackwaters_own_connection_is_never_a_standard_descriptor(server: Instance) -> None:
    """Started with all three closed, it connects, and starts a child: which has no connection."""
    code = (
        "import asyncio, json, os, subprocess, sys\n"
        "for n in (0, 1, 2): os.close(n)\n"
        "from slackwater.facts.server import ServerAddress\n"
        "from slackwater.outside import processes\n"
        "from slackwater.outside.mysql.session import Session\n"
        "async def main():\n"
        f"    at = ServerAddress('s', 'root', socket={str(server.socket)!r})\n"
        "    async with await Session.open(at) as session:\n"
        "        child = subprocess.Popen(['sleep', '60'], close_fds=False)\n"
        "        try:\n"
        "            seen = processes.scan(pids=[os.getpid(), child.pid])\n"
        "            mine = [h.number for h in seen.held if h.pid == os.getpid()]\n"
        "            its = [h.number for h in seen.held if h.pid == child.pid]\n"
        "            await session.value('SELECT 1')\n"
        "        finally:\n"
        "            child.kill(); child.wait()\n"
        "    json.dump([mine, its, [h.cloexec for h in seen.held]], open(sys.argv[1], 'w'))\n"
        "asyncio.run(main())\n"
    )
    said = server.directory / "said"
    done = subprocess.run([sys.executable, "-c", code, str(said)], timeout=60 * PATIENCE,
                          check=False)
    assert done.returncode == 0
    mine, its, cloexec = json.loads(Path(said).read_text())
    assert mine and min(mine) > 2
    assert its == []
    assert cloexec == [True]
