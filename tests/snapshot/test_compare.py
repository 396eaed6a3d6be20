"""What a recorded position and that of the booted copy say of each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from slackwater.facts.backup import Coordinates
from slackwater.facts.flavour import Flavour
from slackwater.operations.setup.verify_copy import compare

MARIADB = Flavour.parse("10.11.19-MariaDB")


@pytest.mark.parametrize(("recorded", "exact", "booted", "logged", "says"), [
    ("0-1-5", True, "0-1-5", True, "equal"),
    ("0-1-5", True, "0-1-6", True, "differs"),
    ("0-1-5", True, "0-1-4", True, "differs"),
    ("0-1-5", True, "", True, "differs"),
    ("0-1-5", False, "0-1-6", True, "contains"),
    ("0-1-5", False, "0-1-4", True, "differs"),
    # the log is not in the copy: less is no sign, more is
    ("0-1-5", True, "", False, "unknown"),
    ("0-1-5", True, "0-1-4", False, "unknown"),
    ("0-1-5", True, "0-1-6", False, "differs"),
    ("0-1-5", False, "", False, "unknown"),
    ("", True, "0-1-1", False, "differs"),
])
def test_by_gtids(
    tmp_path: Path, recorded: str, exact: bool, booted: str, logged: bool, says: str
) -> None:
    position = Coordinates("b.000001", 4, recorded, exact)
    assert compare(position, booted, MARIADB, tmp_path, logged=logged) == says


def test_by_the_end_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "b.1").write_bytes(b"x" * 100)

    def end(file: str, position: int, exact: bool) -> str:
        return compare(Coordinates(file, position, "", exact), "", MARIADB, tmp_path, logged=True)

    assert [end("b.1", 100, True), end("b.1", 99, True)] == ["equal", "differs"]
    assert [end("b.1", 99, False), end("b.1", 101, False)] == ["contains", "differs"]
    assert [end("", 0, True), end("b.2", 4, True)] == ["unknown", "unknown"]
    # no binary log, but GTIDs that it had from others
    assert compare(Coordinates("", 0, "0-1-5", True), "0-1-5", MARIADB, tmp_path,
                   logged=True) == "equal"
