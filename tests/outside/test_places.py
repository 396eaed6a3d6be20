"""What a server keeps outside of its data directory, and where that is in a copy."""

from __future__ import annotations

from pathlib import Path

from slackwater.outside.copies import Source, left_out
from slackwater.outside.places import LOG_BIN, beside, outside
from slackwater.outside.volumes import volume_of


def test_what_is_outside(tmp_path: Path) -> None:
    """Relative paths and paths into the data are inside; links and absolute files are not."""
    data, away = tmp_path / "data", tmp_path / "away"
    for each in (data / "db", away / "linked"):
        each.mkdir(parents=True)
    (data / "linked").symlink_to(away / "linked")
    (data / "sock").symlink_to(away / "sock")  # nothing that data is in
    found = outside({
        "datadir": f"{data}/", "innodb_data_home_dir": "", "innodb_undo_directory": "./",
        "innodb_log_group_home_dir": str(away), "aria_log_dir_path": f"{data}/db",
        "innodb_data_file_path": f"ibdata1:12M;{away}/ibdata2:12M:autoextend",
        LOG_BIN: "../away/binlog",
    })
    assert found == {
        "innodb_log_group_home_dir": away, "innodb_data_file_path": away, LOG_BIN: away,
        "linked (a symbolic link)": away / "linked",
    }
    here = volume_of(tmp_path)
    source = Source(data, here, None, found)
    assert left_out("reflink", source) == found
    assert left_out("btrfs", source) == {}  # on the same file system, so in its snapshot
    assert left_out("btrfs", Source(data, volume_of(Path("/proc")), None, found)) == found


def test_where_they_are_in_a_copy(tmp_path: Path) -> None:
    home, redo, copy = tmp_path / "data", tmp_path / "redo", tmp_path / "snap/data"
    for each in (home, redo, copy):
        each.mkdir(parents=True)
    places = {"innodb_log_group_home_dir": str(redo), LOG_BIN: "/var/log/mysql"}
    found, missing = beside(copy, home, places)
    assert (found, len(missing)) == ({}, 1)
    (tmp_path / "snap/redo").mkdir()
    assert beside(copy, home, places) == (
        {"innodb_log_group_home_dir": tmp_path / "snap/redo"}, [])
    # A copy beside the data: what is there is the running server's own
    (tmp_path / "copy").mkdir()
    found, missing = beside(tmp_path / "copy", home, places)
    assert "not in the copy" in missing[0]
    # A link is not followed
    assert beside(copy, home, {"db (a symbolic link)": "/elsewhere"})[1]
