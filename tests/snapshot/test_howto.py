"""The commands of docs/howto/snapshots.md work, in the order of the page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.servers.patience import PATIENCE
from tests.snapshot.loop import mounted
from tests.snapshot.real import TWO, program

PAGE = Path(__file__).parents[2] / "docs/howto/snapshots.md"


def commands(heading: str) -> list[str]:
    """Of the first block below a heading."""
    text = PAGE.read_text(encoding="utf-8").partition(f"# {heading}\n")[2]
    block = re.search(r"```console\n(.*?)```", text, re.DOTALL)
    assert block
    return [line[2:] for line in block[1].splitlines() if line.startswith("$ ")]


def run(lines: list[str], bin_: Path) -> str:
    """In one shell, as they are; what was printed."""
    for name, words in (("slackwater", " -m slackwater"), ("python", "")):
        shell = bin_ / name
        shell.write_text(f'#!/bin/sh\nexec {sys.executable}{words} "$@"\n')
        shell.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", "set -e\n" + "\n".join(lines)],
        env={**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=180 * PATIENCE, check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.servers
def test_the_commands_of_the_page_work(tmp_path: Path, place: Path) -> None:
    lines = commands("Consistent snapshots")
    assert len(lines) > 8
    said = run([line.replace("/tmp/my-lab", str(place / "lab")) for line in lines], tmp_path)
    assert "is consistent" in said
    assert "it can seed a replica" in said


@pytest.mark.servers
@pytest.mark.parametrize("name", TWO)
def test_a_replica_is_seeded_under_load_and_equal(tmp_path: Path, name: str) -> None:
    """The page's commands, on XFS."""
    server = program(name)
    lines = commands("Seed a replica with it")
    assert len(lines) > 12
    with mounted("xfs", 1200) as mount:
        lab = mount / "lab"
        lines = [line.replace("/srv/my-lab", str(lab)) for line in lines]
        if name == "mysql-5.7":  # it knows the old word only
            lines = [line.replace("STOP REPLICA", "STOP SLAVE") for line in lines]
        lines[0] += f" --server {server.base}"
        # whatever fails, nothing is left running
        lines.insert(0, f"trap '[ ! -d {lab} ] || touch {lab}/enough;"
                        f" slackwater lab down --directory {lab} >&2 || true; wait' EXIT")
        lines.insert(-1, f"cat {lab}/load.json")
        said = run(lines, tmp_path)
    assert "the recorded position is equal" in said
    assert "b: begun with a copy of" in said
    assert "Equal: a and b" in said
    load = json.loads(next(line for line in said.splitlines() if '"lab load"' in line))
    assert load["acked"] > 100
    assert (load["lost"], load["duplicated"]) == (0, 0)
