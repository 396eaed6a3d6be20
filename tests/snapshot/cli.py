"""The command line as hooks use it: a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.servers.patience import PATIENCE


def begin(*words: str | Path) -> subprocess.Popen[str]:
    """Start `slackwater WORDS`."""
    return subprocess.Popen(
        [sys.executable, "-m", "slackwater", *map(str, words)], text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Its exit code and what it printed."""
    out, err = process.communicate(timeout=60 * PATIENCE)
    return process.returncode, out, err


def call(*words: str | Path) -> tuple[int, str, str]:
    """Run `slackwater WORDS`: exit code, standard output, standard error."""
    return end(begin(*words))


def ask(*words: str | Path) -> tuple[int, dict[str, Any]]:
    """The same with --json: exit code and the object."""
    code, out, err = call(*words, "--json")
    assert out, f"nothing on standard output; exit code {code}: {err}"
    return code, json.loads(out)
