"""Whether a target's pages go through the page cache: the plan notes what its files show."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.setup.scene import Scene, scene
from tests.setup.stories import named

pytestmark = pytest.mark.servers

METHOD = "--innodb-flush-method="


@pytest.mark.parametrize(("name", "option", "through"), [
    ("mariadb-11.8", "--innodb-data-file-buffering=ON", True),
    ("mariadb-11.8", f"{METHOD}littlesync", True),
    ("mariadb-11.8", f"{METHOD}O_DSYNC", False),
    ("mariadb-10.11", f"{METHOD}littlesync", True),
    ("mariadb-10.11", f"{METHOD}O_DSYNC", False),
    ("mariadb-10.5", f"{METHOD}O_DSYNC", True),
    ("mysql-9.7", f"{METHOD}O_DSYNC", True),
    ("mysql-5.7", f"{METHOD}O_DSYNC", True),
])
def test_the_plan_notes_what_is_so(name: str, option: str, through: bool, place: Path) -> None:
    with scene(named(name), place, extra=[option]) as made:
        assert _cached(made, "b") is through
        done = made.run("pair", "setup", "--plan", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        said = "\n".join(json.loads(done.stdout.splitlines()[-1])["notes"])
        assert ("by way of the page cache" in said) is through, said


@pytest.mark.parametrize("buffering", ["ON", "OFF"])
def test_turned_while_it_runs(buffering: str, place: Path) -> None:
    start = "O_DIRECT" if buffering == "ON" else "fsync"
    with scene(named("mariadb-11.8"), place, extra=[f"{METHOD}{start}"]) as made:
        made.sql("b", f"SET GLOBAL innodb_data_file_buffering = {buffering}")
        assert _cached(made, "b") is (buffering == "ON")
        said = made.run("pair", "setup", "--plan", "--json").stdout
        assert ("by way of the page cache" in said) is (buffering == "ON"), said


def _cached(made: Scene, name: str) -> bool:
    """Whether the server has its system tablespace open without O_DIRECT."""
    server = made.servers[name]
    file = str((server.directory / "data/ibdata1").resolve())
    found = [fd for fd in Path(f"/proc/{server.pid}/fd").iterdir() if str(fd.readlink()) == file]
    text = (found[0].parent.parent / "fdinfo" / found[0].name).read_text()
    flags = next(line.split()[1] for line in text.splitlines() if line.startswith("flags:"))
    return not int(flags, 8) & os.O_DIRECT
