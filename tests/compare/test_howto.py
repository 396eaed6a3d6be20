"""The commands of docs/howto/compare.md work, in the order of the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.servers.patience import PATIENCE

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/howto/compare.md"


@pytest.mark.servers
def test_the_commands_of_the_page_work(tmp_path: Path, place: Path) -> None:
    block = re.search(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    lines = [line[2:] for line in block[1].splitlines() if line.startswith("$ ")]
    assert len(lines) > 8
    shell = tmp_path / "slackwater"
    shell.write_text(f'#!/bin/sh\nexec {sys.executable} -m slackwater "$@"\n')
    shell.chmod(0o755)
    script = "set -e\n" + "\n".join(lines).replace("/tmp/my-lab", str(place / "lab"))
    done = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=120 * PATIENCE, check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Equal: a and b; 1 tables" in done.stdout


def test_the_page_names_every_option() -> None:
    """What nobody can find is not there."""
    text = PAGE.read_text(encoding="utf-8")
    for module in ("pair_compare", "heartbeat"):
        source = (ROOT / f"src/slackwater/cli/{module}.py").read_text(encoding="utf-8")
        for option in re.findall(r'"(--[a-z-]+)"', source):
            assert option in text, option


def test_the_unit_file_is_one_that_the_service_understands() -> None:
    unit = (ROOT / "packaging/slackwater-heartbeat.service").read_text(encoding="utf-8")
    assert "Type=notify" in unit and "WatchdogSec=" in unit
    assert re.search(r"^ExecStart=\S+/slackwater heartbeat --config ", unit, re.MULTILINE)
