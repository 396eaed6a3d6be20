"""Commands are imported when they are called."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from slackwater.cli.main import COMMANDS, app


@pytest.mark.parametrize("name", COMMANDS)
def test_every_place_has_a_command(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    assert command.name == name
    assert command.help


def test_no_command_pays_for_the_libraries_of_another() -> None:
    heavy = "{'asyncmy', 'asyncssh', 'fastapi', 'httpx', 'pydantic', 'sqlglot'}"
    code = f"import sys, slackwater.cli.main; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_word_of_one_letter_too_few_gets_a_suggestion() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "slackwater", "swichover"], capture_output=True, text=True
    )
    assert done.returncode == 64
    assert "Did you mean 'switchover'" in done.stderr
