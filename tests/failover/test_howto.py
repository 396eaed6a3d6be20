"""The commands of docs/howto/failover.md work, in the order of the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.servers.patience import PATIENCE
from tests.sweep.pair import environment

PAGE = Path(__file__).parents[2] / "docs/howto/failover.md"


@pytest.mark.servers
def test_the_commands_of_the_page_work(tmp_path: Path, place: Path) -> None:
    block = re.search(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    lines = [line[2:] for line in block[1].splitlines() if line.startswith("$ ")]
    assert len(lines) > 8
    shell = tmp_path / "slackwater"
    shell.write_text(f'#!/bin/sh\nexec {sys.executable} -m slackwater "$@"\n')
    shell.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", "set -e\n" + "\n".join(lines).replace("/tmp/my-lab", str(place / "lab"))],
        env=environment(PATH=f"{tmp_path}:{os.environ['PATH']}"),
        capture_output=True, text=True, timeout=120 * PATIENCE, check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "is alive and serves its clients" in done.stdout
    assert "a is the passive server of the pair again" in done.stdout
    assert "b is active, and everyone agrees" in done.stdout
