"""Whether a replica can begin with a snapshot: pure decisions."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.rules.test_setup import U1, U2, mariadb, server

from slackwater.facts import gtid
from slackwater.facts.flavour import Flavour
from slackwater.facts.seed import Seed
from slackwater.facts.setup import ServerSetup
from slackwater.rules.setup.seed import why_not

SETTINGS = {"innodb_page_size": "16384", "lower_case_table_names": "0"}
TEN = Flavour.parse("10.11.19-MariaDB")
NINE = Flavour.parse("9.7.4")


def seed(**more: Any) -> Seed:
    first = Seed("/srv/monday", "one", "a", "", "2026-11-20", TEN, "0-1-50", SETTINGS)
    return dataclasses.replace(first, **more)


def source(**more: Any) -> ServerSetup:
    return mariadb("a", 1, "0-1-90", **more)


def target(**variables: str) -> ServerSetup:
    has = {"innodb_page_size": "16384", "lower_case_table_names": "0", "datadir": "/data/",
           "innodb_log_group_home_dir": "./", "innodb_undo_directory": "/data"}
    return server("b", 2, variables={**has, **variables})


def test_one_that_fits() -> None:
    assert why_not(seed(), source(), target(), ("a", "b")) == []
    of_b = seed(server="b", gtids="0-1-50")
    assert why_not(of_b, source(), target(), ("a", "b")) == []


@pytest.mark.parametrize(("snapshot", "says"), [
    ({"server": "x"}, "it is of x, which is none of these servers (a, b)"),
    ({"gtids": "0-1-91"}, "transactions that a has not (0-1-91)"),
    ({"gtids": "0-3-7"}, "transactions that a has not (0-3-7)"),
    ({"flavour": Flavour.parse("10.11.20-MariaDB")}, "no older release, can read its files"),
    ({"flavour": Flavour.parse("10.6.20-MariaDB")}, "the same series"),
    ({"flavour": NINE, "gtids": f"{U1}:1-3"}, "it is of MySQL 9.7.4, and b is MariaDB"),
    ({"settings": {"innodb_page_size": "8192"}}, "innodb_page_size = 8192, and b has 16384"),
])
def test_the_snapshot_is_not_right(snapshot: dict[str, Any], says: str) -> None:
    reasons = why_not(seed(**snapshot), source(), target(), ("a", "b"))
    assert len(reasons) == 1 and says in reasons[0], reasons


def test_the_source_has_purged_what_came_after_it() -> None:
    purged = source(purged=gtid.parse("0-1-60", TEN))
    assert "it is too old" in why_not(seed(), purged, target(), ("a", "b"))[0]
    assert why_not(seed(gtids="0-1-60"), purged, target(), ("a", "b")) == []


def test_another_server_under_the_same_name() -> None:
    now = server("a", 1, mysql=True, variables={"gtid_executed": f"{U2}:1-90"})
    of = seed(flavour=NINE, uuid=U1, gtids=f"{U2}:1-50")
    it = server("b", 2, mysql=True, variables={"innodb_page_size": "16384"})
    assert f"server_uuid was {U1} then, and is {U2}" in why_not(of, now, it, ("a", "b"))[0]
    assert why_not(dataclasses.replace(of, uuid=U2), now, it, ("a", "b")) == []
    ahead = dataclasses.replace(of, uuid=U2, gtids=f"{U2}:1-91")
    assert f"has not ({U2}:91)" in why_not(ahead, now, it, ("a", "b"))[0]


def test_files_elsewhere() -> None:
    it = target(innodb_log_group_home_dir="/fast/redo")
    assert "innodb_log_group_home_dir = /fast/redo" in why_not(
        seed(), source(), it, ("a", "b"))[0]
