"""`history --last`: how many, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from slackwater.cli.inspect import history
from slackwater.plan.journal import Journal

app = typer.Typer()
app.command("history")(history)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "slackwater.toml"
    file.write_text(f"""
[servers.a]
address = "10.0.0.1:3306"
[accounts.slackwater]
password_env = "SLACKWATER_TEST_PW"
[state]
directory = "{tmp_path / 'state'}"
""")
    for number in range(3):
        record = Journal.create(tmp_path / "state", "switchover")
        record.write("planned", operation="switchover", title=f"number {number}", arguments={})
        record.write("ended", outcome="done")
        record.close()
    return file


def test_the_last_ones(config: Path) -> None:
    done = CliRunner().invoke(app, ["--last", "2", "--json", "--config", str(config)])
    said = json.loads(done.stdout)
    assert [o["title"] for o in said["operations"]] == ["number 1", "number 2"]


@pytest.mark.parametrize("count", ["0", "-1"])
def test_none_is_no_number(config: Path, count: str) -> None:
    done = CliRunner().invoke(app, ["--last", count, "--config", str(config)])
    assert done.exit_code != 0 and "number" not in done.stdout
