"""The how-to's commands work, on the two servers that it speaks of."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.generated import ROOT
from tests.servers.patience import PATIENCE
from tests.setup.scene import scene
from tests.setup.stories import named, verified

pytestmark = pytest.mark.servers


def test_the_commands_of_the_howto(place: Path) -> None:
    """Every `$` line, in one shell, beside a slackwater.toml."""
    text = (ROOT / "docs/howto/set-up-a-pair.md").read_text(encoding="utf-8")
    block = re.search(r"```console\n(.*?)```", text, re.DOTALL)
    assert block
    lines = [line[2:] for line in block[1].splitlines() if line.startswith("$ ")]
    assert len(lines) == 3
    program = f'slackwater() {{ "{sys.executable}" -m slackwater "$@"; }}\n'
    with scene(named("mariadb-10.11"), place) as made:
        done = subprocess.run(
            ["bash", "-c", "set -e\n" + program + "\n".join(lines)], cwd=place,
            capture_output=True, text=True, timeout=120 * PATIENCE, check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path])},
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        assert "a row went a to b, b to a" in done.stdout
        assert "REPLICATION SLAVE" in done.stdout
        for file in ("password", "repl"):
            assert (place / file).stat().st_mode & 0o777 == 0o600
        verified(made)
