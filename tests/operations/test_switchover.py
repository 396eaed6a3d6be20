"""A switchover as an operator types it: every flavour, two balancers, files over SSH."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.outside.real_sshd import sshd
from tests.servers.fixtures import as_app, end, root_of
from tests.servers.patience import PATIENCE

from slackwater.lab.facts import LabFacts
from slackwater.lab.instance import Program
from slackwater.lab.up import up
from slackwater.outside.haproxy.config import read_active

pytestmark = pytest.mark.servers
COMMAND = [sys.executable, "-c", "from slackwater.cli.main import main; main()"]


def slackwater(lab: LabFacts, *words: str, home: Path | None = None) -> dict[str, Any]:
    """The JSON of a command. `home`: the HOME it runs with, for SSH's keys."""
    done = subprocess.run(
        [*COMMAND, *words, "--config", str(lab.config), "--json"],
        capture_output=True, text=True, check=False, timeout=120 * PATIENCE,
        env={**os.environ, **({"HOME": str(home)} if home else {})},
    )
    assert done.stdout.startswith("{"), done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def file_of(lab: LabFacts, balancer: str) -> Path:
    return Path(lab.balancers[balancer]["config_file"])


def server_behind(lab: LabFacts, balancer: str) -> int:
    rows = as_app(lab, lab.balancers[balancer]["frontend"], "SELECT @@server_id AS id")
    return int(rows[0]["id"])


def test_there_and_back(lab: LabFacts) -> None:
    for old, new in (("a", "b"), ("b", "a")):
        report = slackwater(lab, "switchover")
        assert (report["outcome"], report["from"], report["to"]) == ("done", old, new), report
        assert read_active(file_of(lab, "lb1").read_text()) == new
    assert slackwater(lab, "recover")["outcome"] == "done"


@pytest.mark.one_flavour
def test_two_balancers_move_together(program: Program, place: Path) -> None:
    directory = place / "lab"
    try:
        lab = up(server=root_of(program), directory=directory, balancers=2)
        before = {server_behind(lab, name) for name in lab.balancers}
        report = slackwater(lab, "switchover")
        assert report["outcome"] == "done", report
        after = {server_behind(lab, name) for name in lab.balancers}
        assert len(lab.balancers) == 2 and len(before) == len(after) == 1 and before != after
        assert {read_active(file_of(lab, name).read_text()) for name in lab.balancers} == {"b"}
    finally:
        end(directory)


@pytest.fixture
def over_ssh(
    lab: LabFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[LabFacts, Any]]:
    """A lab whose balancer's files slackwater reaches by SSH alone, and the sshd."""
    with sshd(tmp_path, monkeypatch) as server:
        config = Path(lab.config)
        table = "[balancers.lb1]\n"
        text = config.read_text()
        assert table in text
        config.write_text(text.replace(table, f'{table}ssh = "{server.destination}"\n'))
        yield lab, server


@pytest.mark.one_flavour
def test_a_balancers_files_are_written_over_ssh(over_ssh: tuple[LabFacts, Any]) -> None:
    lab, server = over_ssh
    report = slackwater(lab, "switchover", home=server.home)
    assert report["outcome"] == "done", report
    assert read_active(file_of(lab, "lb1").read_text()) == "b"


@pytest.mark.one_flavour
def test_a_balancer_whose_files_cannot_be_reached_is_a_refusal(
    over_ssh: tuple[LabFacts, Any],
) -> None:
    lab, server = over_ssh
    server.process.terminate()
    server.process.wait(timeout=10)
    report = slackwater(lab, "switchover", home=server.home)
    assert report["outcome"] == "refused"
    assert any("ssh" in reason and "lb1" in reason for reason in report["reasons"]), report
    assert read_active(file_of(lab, "lb1").read_text()) == "a"
