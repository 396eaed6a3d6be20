"""With --json there is one object on standard output, also where nothing could be begun."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.servers.patience import PATIENCE
from tests.sweep.pair import environment, python

from slackwater.cli.main import asks_json
from slackwater.plan.journal import Journal

SHAPE = {"operation", "outcome", "steps", "started", "ended"}
CONFIG = """
[servers.a]
address = "10.0.0.1:3306"
[accounts.slackwater]
password_env = "SLACKWATER_TEST_PW"
[state]
directory = "{state}"
"""


def said(*words: object) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        python("slackwater", *map(str, words)), env=environment(), capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=30 * PATIENCE, check=False)
    found = json.loads(done.stdout)  # one object, no more
    assert found.keys() >= SHAPE
    return done.returncode, found, done.stderr


@pytest.mark.parametrize(("words", "code", "operation", "why"), [
    (["switchover", "--config", "/nowhere"], 78, "switchover", "/nowhere: cannot read it"),
    (["pair", "compare", "--config", "/nowhere"], 78, "pair compare", "/nowhere: cannot read it"),
    (["switchover", "--nosuch"], 64, "switchover", "No such option"),
    (["nosuch"], 64, "nosuch", "No such command"),
])
def test_what_could_not_be_begun(words: list[str], code: int, operation: str, why: str) -> None:
    ended, found, errors = said(*words, "--json")
    assert (ended, found["operation"], found["outcome"]) == (code, operation, "refused")
    assert why in found["reasons"][0] and why in errors


def test_looks_have_the_shape_too(tmp_path: Path) -> None:
    config = tmp_path / "slackwater.toml"
    config.write_text(CONFIG.format(state=tmp_path / "state"))
    for words in (["history"], ["recover"], ["recover", "--plan"]):
        ended, found, _ = said(*words, "--json", "--config", config)
        assert (ended, found["operation"], found["outcome"]) == (0, words[0], "done")
    record = Journal.create(tmp_path / "state", "restart")
    record.write("planned", operation="restart", title="restart z", arguments={}, pair="server.z",
                 config=str(config))
    record.write("started", step="Gate")
    record.close()
    (tmp_path / "state").rename(tmp_path / "away")
    (tmp_path / "state").write_text("no directory")
    ended, found, errors = said("history", "--json", "--config", config)
    assert (ended, found["outcome"]) == (3, "unknown") and found["reasons"][0] in errors


def test_a_commands_own_words_are_not_ours() -> None:
    assert asks_json(["hold", "--json", "--port", "1", "--", "x"])
    assert not asks_json(["hold", "--port", "1", "--", "x", "--json"])


def test_closed_standard_output_and_error() -> None:
    """As from a service manager, or `>&-`: Python then has None in their places."""
    words = shlex.join(python("slackwater", "history", "--config", "/nowhere"))
    for closed in (">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(f"{words} {closed}", shell=True, env=environment(), text=True,
                              capture_output=True, timeout=30 * PATIENCE, check=False)
        assert done.returncode == 78, (closed, done)
        assert done.stdout == "" and "Traceback" not in done.stderr, (closed, done)
