"""The commands of docs/howto/change-a-schema.md, as they stand there."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from tests.alter_run.scene import state, whole
from tests.servers.patience import PATIENCE
from tests.sweep.pair import environment, python

from slackwater.lab.facts import LabFacts

PAGE = Path(__file__).parents[2] / "docs/howto/change-a-schema.md"


@pytest.mark.servers
@pytest.mark.one_flavour
def test_the_commands_of_the_page(shop: LabFacts, tmp_path: Path) -> None:
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines()]
    own = shlex.join(python("slackwater"))
    # `status` says by its exit code whether everyone agrees, which is as it should be here too.
    script = f"set -e\nslackwater() {{ {own} \"$@\"; }}\n" + "\n".join(lines)
    (tmp_path / "slackwater.toml").write_text(shop.config.read_text())
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment(), text=True, capture_output=True,
        timeout=180 * PATIENCE, check=False,
    )
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    assert len(lines) > 8 and "half done" in done.stdout
    assert whole(shop) == "b" and state(shop) == {}
