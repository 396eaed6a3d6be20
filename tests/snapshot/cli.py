"""The command line as hooks use it."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from tests.servers.patience import PATIENCE

from slackwater.cli.main import main


def begin(*words: str | Path) -> subprocess.Popen[str]:
    """Start `slackwater WORDS` as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "slackwater", *map(str, words)], text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Its exit code and what it printed."""
    out, err = process.communicate(timeout=60 * PATIENCE)
    return process.returncode, out, err


def call(*words: str | Path) -> tuple[int, str, str]:
    """The same, whole, in this process (a new Python takes longer than most of these tests):
    exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["slackwater", *map(str, words)]),
        contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0), out.getvalue(), err.getvalue()
    raise AssertionError("main always exits")


def ask(*words: str | Path) -> tuple[int, dict[str, Any]]:
    """The same with --json: exit code and the object."""
    at = words.index("--") if "--" in words else len(words)  # behind it is somebody's command
    code, out, err = call(*words[:at], "--json", *words[at:])
    assert out, f"nothing on standard output; exit code {code}: {err}"
    return code, json.loads(out)
