"""What a server would take from its option files, as its program prints them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from slackwater.outside.host import Host
from slackwater.outside.mysql.effective_options import parse, places


def test_the_last_one_counts_in_any_spelling() -> None:
    said = ["--read-only", "--sync_binlog=1", "--loose-skip-read_only", "--Sync-Binlog=9", "sock"]
    assert parse(said) == {"read_only": "OFF", "sync_binlog": "9"}
    assert parse(["--disable-log-bin", "--enable-read-only", "--skip-name-resolve"]) == {
        "log_bin": "OFF", "read_only": "ON", "name_resolve": "OFF"}


def test_where_it_is_set(tmp_path: Path) -> None:
    conf = tmp_path / "conf.d"
    conf.mkdir()
    (tmp_path / "my.cnf").write_text("[mysqld]\n# read_only = OFF\n")
    (conf / "zz.cnf").write_text("[mysqld]\nread_only = ON\n")
    (conf / "a.cnf").write_text("[mysqld]\n  skip-read-only\nread_only_mode = 1\n")
    found = asyncio.run(places(Host(), conf, "read_only", but=conf / "zz.cnf"))
    assert found == [str(conf / "a.cnf")]
