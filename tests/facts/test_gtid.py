"""GTID sets of both vendors."""

from __future__ import annotations

import pytest

from slackwater.facts.gtid import MariadbGtids, MysqlGtids

A = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
B = "4e11fa47-71ca-11e1-9e33-c80aa9429562"


def test_mysql_reads_any_spacing_and_merges():
    text = f" {A.upper()}:1-3 : 5,\n{A}:4 ,\\n{B}:7\n"
    assert str(MysqlGtids.read(text)) == f"{A}:1-5,{B}:7"


def test_mysql_reads_tags():
    found = MysqlGtids.read(f"{A}:1-3:mine:1-2:9:other:4")
    assert str(found) == f"{A}:1-3,{A}:mine:1-2:9,{A}:other:4"
    assert not found.contains(MysqlGtids.read(f"{A}:mine:3"))
    assert found.contains(MysqlGtids.read(f"{A}:MINE:2"))


@pytest.mark.parametrize(
    ("have", "other", "left"),
    [
        (f"{A}:1-10", f"{A}:3-4:7", f"{A}:1-2:5-6:8-10"),
        (f"{A}:1-10", f"{A}:1-10,{B}:1", ""),
        (f"{A}:1-5", f"{B}:1-5", f"{A}:1-5"),
        (f"{A}:5-6", f"{A}:1-5", f"{A}:6"),
        ("", f"{A}:1", ""),
    ],
)
def test_mysql_subtracts(have, other, left):
    result = MysqlGtids.read(have).subtract(MysqlGtids.read(other))
    assert str(result) == left
    assert MysqlGtids.read(other).contains(MysqlGtids.read(have)) == (left == "")


@pytest.mark.parametrize("text", ["nonsense", A, f"{A}:", f"{A}:1-2:!", "0-1-5"])
def test_mysql_refuses_what_is_none(text):
    with pytest.raises(ValueError, match="not a MySQL GTID"):
        MysqlGtids.read(text)


def test_mariadb_the_highest_sequence_of_a_domain_counts():
    # gtid_binlog_state names every server of a domain; the order says nothing.
    assert str(MariadbGtids.read("0-1-9,\n0-2-12, 1-1-3,0-1-10")) == "0-2-12,1-1-3"


def test_mariadb_contains_by_sequence_whoever_wrote_it():
    have = MariadbGtids.read("0-2-12,1-1-3")
    assert have.contains(MariadbGtids.read("0-1-12"))
    assert have.contains(MariadbGtids.read(""))
    assert not have.contains(MariadbGtids.read("0-1-13"))
    assert not have.contains(MariadbGtids.read("7-1-1"))


def test_mariadb_subtracts_domains_and_unites_the_further():
    wanted, has = MariadbGtids.read("0-1-9,5-1-4"), MariadbGtids.read("0-2-9,5-1-3")
    assert str(wanted.subtract(has)) == "5-1-4"
    assert str(wanted.union(has)) == "0-1-9,5-1-4"


def test_mariadb_refuses_what_is_none():
    with pytest.raises(ValueError, match="not a MariaDB GTID"):
        MariadbGtids.read(f"{A}:1-5")
