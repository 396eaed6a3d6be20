"""The documentation says what the code does, and its commands work."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import typer
from tests.docs import generated

from slackwater import config
from slackwater.cli.main import app

README = generated.ROOT / "README.md"
PATIENCE_S = 120 * float(os.environ.get("SLACKWATER_TEST_PATIENCE", "1"))


@pytest.mark.parametrize("page", generated.BLOCKS, ids=lambda p: p.name)
def test_generated_blocks_are_up_to_date(page: Path) -> None:
    """`python -m tests.docs.generated` renews them."""
    assert page.read_text(encoding="utf-8") == generated.renewed(page)


def test_every_guardrail_is_documented() -> None:
    assert generated.undocumented_guardrails() == []


def test_every_configuration_key_is_documented() -> None:
    """Each key of slackwater.toml has a line in the reference."""
    text = (generated.ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8")
    tables = {
        "servers.NAME": config.ServerTable, "accounts.slackwater": config.AccountTable,
        "balancers.NAME": config.BalancerTable, "pairs.NAME": config.PairTable,
        "accounts.admin": config.AdminTable, "accounts.replication": config.ReplicationTable,
        "sources.NAME": config.SourceTable, "limits": config.LimitsTable,
        "state": config.StateTable,
        "registry": config.RegistryTable,
    }
    keys = [f"{table}.{key}" for table, model in tables.items() for key in model.model_fields]
    assert [key for key in keys if f"`{key}`" not in text] == []


def test_the_example_configuration_is_valid(tmp_path: Path) -> None:
    """The example of the reference page loads."""
    text = (generated.ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8")
    found = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert found
    (tmp_path / "slackwater.toml").write_text(found[1])
    assert config.load(tmp_path / "slackwater.toml").pair(None)[0] == "shop"


def test_every_command_is_in_the_readme() -> None:
    """A command that nobody can find is not there."""
    text = README.read_text(encoding="utf-8")
    names = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert [name for name in names if f"slackwater {name}" not in text] == []


@pytest.mark.servers
def test_the_commands_of_the_readme_work(tmp_path: Path) -> None:
    """Every `$` line of the README's console block, in one shell, in the order of the page."""
    block = re.search(r"```console\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    lines = [line[2:] for line in block[1].splitlines() if line.startswith("$ ")]
    assert len(lines) > 8
    tmp_path.chmod(0o711)  # the database's own user passes through
    script = "set -e\n" + "\n".join(lines).replace("/tmp/my-lab", str(tmp_path / "lab"))
    done = subprocess.run(
        ["bash", "-c", script], cwd=generated.ROOT, capture_output=True, text=True,
        timeout=PATIENCE_S, check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "clients were held for" in done.stdout
    assert "Nothing to recover." in done.stdout
    assert not (tmp_path / "lab").exists()
