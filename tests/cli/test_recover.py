"""`recover` of several operations, as its command."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from slackwater.cli import recover as module
from slackwater.cli.interrupts import interruptible
from slackwater.plan.journal import Journal
from slackwater.plan.report import Report

app = typer.Typer()
app.command("recover")(module.recover)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "slackwater.toml"
    file.write_text(f"""
[servers.a]
address = "10.0.0.1:3306"
[servers.b]
address = "10.0.0.2:3306"
[accounts.slackwater]
password_env = "SLACKWATER_TEST_PW"
[state]
directory = "{tmp_path / 'state'}"
""")
    for server in "ab":
        record = Journal.create(tmp_path / "state", "restart")
        record.write("planned", operation="restart", title=f"restart {server}", arguments={},
                     pair=f"server.{server}", config=str(file))
        record.write("started", step="Gate")
        record.close()
    return file


def test_an_interrupt_is_for_all_of_them(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: Any) -> Report:
        with interruptible() as interrupts:
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
            await interrupts.look(asyncio.sleep(60))
        raise AssertionError

    monkeypatch.setattr(module, "recover_one", interrupted)
    done = CliRunner().invoke(app, ["--json", "--config", str(config)], catch_exceptions=False)
    said = json.loads(done.stdout)
    assert [(r["outcome"], r["interrupted"]) for r in said["recovered"]] == [("refused", True)]
    assert done.exit_code == 3 and said["outcome"] == "stuck"
    (why,) = [r for r in said["reasons"] if r.startswith("interrupted: operation")]
    assert "is unfinished: `slackwater recover`" in why
