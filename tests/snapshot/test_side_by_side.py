"""VMware's calls in their order, and what people have used since 2015 beside slackwater's hooks.

All situations are in `python -m bench.snapshot.hooks`; here those in which it matters most.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.snapshot.hooks import SITUATIONS, look, server_for
from bench.snapshot.scene import BY_HAND_7, SLACKWATER
from bench.snapshot.vmtools import VMTools
from tests.servers.patience import PATIENCE

from slackwater.lab.instance import Instance


def script(path: Path, told: Path, body: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho {path.name} $1 >>{told}\n{body}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    """A guest's root with four scripts."""
    told = tmp_path / "told"
    script(tmp_path / "usr/sbin/pre-freeze-script", told)
    script(tmp_path / "usr/sbin/post-thaw-script", told)
    for name in ("10-first", "20-second"):
        script(tmp_path / "etc/vmware-tools/backupScripts.d" / name, told)
    return tmp_path


def told(guest: Path) -> list[str]:
    return (guest / "told").read_text().splitlines()


def test_the_order_of_the_calls(guest: Path) -> None:
    tools = VMTools(guest, {})
    assert tools.freeze()
    assert tools.thaw()
    assert tools.told.good
    assert told(guest) == [
        "pre-freeze-script freeze", "10-first freeze", "20-second freeze",
        "20-second thaw", "10-first thaw", "post-thaw-script thaw"]


def test_who_fails_is_not_told(guest: Path) -> None:
    script(guest / "etc/vmware-tools/backupScripts.d/20-second", guest / "told", "exit 1")
    tools = VMTools(guest, {})
    assert not tools.freeze()
    assert not tools.told.good
    assert told(guest)[3:] == ["10-first freezeFail", "post-thaw-script freezeFail"]


def test_who_is_cancelled_is_not_told(guest: Path) -> None:
    script(guest / "etc/vmware-tools/backupScripts.d/10-first", guest / "told", "exec sleep 60")
    tools = VMTools(guest, {})
    assert not tools.freeze(cancel_after_s=0.3 * PATIENCE)
    assert told(guest)[-1] == "post-thaw-script freezeFail"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Instance, Path]]:
    if shutil.which("php") is None:
        pytest.skip("there is no php")
    with server_for("mariadb-10.11") as it:
        if it is None:
            pytest.skip("mariadb-10.11 is not installed")
        yield it


@pytest.mark.servers
@pytest.mark.parametrize("name", ["the holder is killed", "cancelled as it waits"])
def test_the_truth_is_told(server: tuple[Instance, Path], name: str) -> None:
    """By hand, the host hears good of what was not locked, or a lock stays; slackwater says it."""
    situation = next(s for s in SITUATIONS if s.name == name)
    by_hand = look(*server, BY_HAND_7, situation, left_limit_s=1.5)
    assert by_hand.lies, by_hand
    ours = look(*server, SLACKWATER, situation, left_limit_s=1.5)
    assert not ours.lies, ours
    assert ours.host_says == "failed"
