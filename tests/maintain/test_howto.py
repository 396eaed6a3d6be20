"""The commands of docs/howto/held-maintenance.md work, in the order of the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.maintain.test_scenes import pytestmark  # noqa: F401 - the same needs
from tests.servers.patience import PATIENCE

PAGE = Path(__file__).parents[2] / "docs/howto/held-maintenance.md"


def test_the_commands_of_the_page_work(tmp_path: Path, place: Path) -> None:
    block = re.search(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    lines = [line[2:] for line in block[1].splitlines() if line.startswith("$ ")]
    assert len(lines) > 6
    shell = tmp_path / "slackwater"
    shell.write_text(f'#!/bin/sh\nexec {sys.executable} -m slackwater "$@"\n')
    shell.chmod(0o755)
    script = "set -e\nip link set lo up\n" + "\n".join(lines)
    done = subprocess.run(
        ["unshare", "--net", "bash", "-c", script.replace("/tmp/my-lab", str(place / "lab"))],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=120 * PATIENCE, check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "| the work" in done.stderr
    assert not (place / "lab").exists()


def test_the_page_names_every_option_of_the_commands() -> None:
    """What nobody can find is not there."""
    text = PAGE.read_text(encoding="utf-8")
    wanted = ("--port", "--pair", "--server", "--limit", "--quiet-limit", "--close-stragglers",
              "--explain", "--plan", "--inside-hold")
    assert [option for option in wanted if option not in text] == []
