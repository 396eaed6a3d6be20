"""Whether operations can be recorded: asked without making anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slackwater.outside.state_file import why_not_recorded

LOCK = "pair-shop.lock"


def test_a_directory_that_is_there_or_can_be_made(tmp_path: Path) -> None:
    assert why_not_recorded(tmp_path, LOCK) == ""
    assert why_not_recorded(tmp_path / "not/yet", LOCK) == ""
    assert not list(tmp_path.iterdir())
    (tmp_path / LOCK).touch()
    assert why_not_recorded(tmp_path, LOCK) == ""


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    for directory in (tmp_path / "state", tmp_path / "state/below"):
        assert f"{tmp_path}/state is not a directory" in why_not_recorded(directory, LOCK)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else, who may not")
def test_of_somebody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    ours = tmp_path / "ours"
    ours.mkdir()
    ours.chmod(0o777)
    (ours / LOCK).touch(mode=0o600)
    os.seteuid(65534)
    try:
        said = [why_not_recorded(d, LOCK) for d in (mine, mine / "below", ours)]
    finally:
        os.seteuid(0)
    assert [text.rpartition(": ")[2] for text in said] == [
        f"no right to write in {mine}", f"no right to write in {mine}",
        f"no right to write {ours}/{LOCK}",
    ]
