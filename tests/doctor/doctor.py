"""Run `slackwater doctor` as a person would, and read what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE

from slackwater.lab.instance import Instance

COMMAND = [sys.executable, "-m", "slackwater", "doctor"]


def doctor(*arguments: str | Path | int, cwd: Path = Path("/")) -> dict[str, Any]:
    """Its JSON; the exit code is that of the worst finding."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments), "--json"], capture_output=True, text=True, check=False,
        timeout=60 * PATIENCE, cwd=cwd,
    )
    assert done.stdout, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == ["note", "possible", "likely", "certain"].index(said["worst"])
    return said


def causes(said: dict[str, Any], *sure: str) -> set[str]:
    """The causes that it found, of these degrees (of all, when none is named)."""
    return {f["cause"] for f in said["findings"] if not sure or f["sure"] in sure}


def finding(said: dict[str, Any], cause: str) -> dict[str, Any]:
    """The one finding of a cause."""
    found = [f for f in said["findings"] if f["cause"] == cause]
    assert len(found) == 1, said["findings"]
    return found[0]


def evidence(said: dict[str, Any], cause: str) -> str:
    """What was seen of a cause, as one text."""
    return "\n".join(finding(said, cause)["evidence"])


def let_in(server: Instance) -> None:
    """An account `app` over TCP, as in tests/doctor/clients.py."""
    sql(server.socket, "CREATE USER app@'127.0.0.1' IDENTIFIED BY 'geheim'")
    sql(server.socket, "GRANT ALL ON *.* TO app@'127.0.0.1'")
