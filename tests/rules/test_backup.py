"""Which lock a snapshot needs, and which snapshots may go."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from slackwater.facts.backup import Coordinates, LockKind
from slackwater.facts.duration import seconds
from slackwater.rules import backup, retention
from slackwater.rules.backup import Data

MARIADB = (LockKind.INSTANCE, LockKind.COMMITS, LockKind.TABLES)
OLD_MYSQL = (LockKind.TABLES,)


@pytest.mark.parametrize(
    ("data", "atomic", "exact", "kind", "because"),
    [
        (Data(MARIADB, {}, ("/",)), True, False, LockKind.NONE, "nobody has to wait"),
        (Data(MARIADB, {"MyISAM": 2}, ("/",)), True, False, LockKind.COMMITS, "2 MyISAM"),
        (Data(OLD_MYSQL, {"MyISAM": 2}, ("/",)), True, False, LockKind.TABLES, "2 MyISAM"),
        (Data(MARIADB, {}, ("/a", "/b")), True, False, LockKind.COMMITS, "2 volumes (/a, /b)"),
        (Data(MARIADB, {}, ("/",)), False, False, LockKind.COMMITS, "does not show one moment"),
        (Data(MARIADB, {}, ("/",)), True, True, LockKind.COMMITS, "exact position"),
        (Data(MARIADB, {}, ("/",), False), True, False, LockKind.COMMITS, "may not see"),
    ],
)
def test_the_mildest_lock_that_is_enough(
    data: Data, atomic: bool, exact: bool, kind: LockKind, because: str
) -> None:
    choice = backup.for_snapshot(data, atomic=atomic, exact=exact)
    assert choice.kind is kind
    without = backup.for_snapshot(data, atomic=atomic, exact=exact, no_binlog=True)
    assert without.kind.exact
    assert "binary log" in " ".join(without.why)
    assert because in " ".join(choice.why)
    weaker = [] if kind is LockKind.NONE else backup.refused(LockKind.NONE, choice, data.offered)
    assert bool(weaker) == (kind is not LockKind.NONE)
    assert backup.refused(kind, choice, data.offered) == []


@pytest.mark.parametrize(("data", "because"), [
    (Data(MARIADB, {"MyISAM": 1}, ("/",)), "1 MyISAM"),
    (Data(MARIADB, {}, ("/",), False), "may not see"),
    (Data(MARIADB, {}, ("/a", "/b")), "2 volumes"),
    (Data(OLD_MYSQL, {}, ("/",)), "no lock of the kind"),
])
def test_a_freeze_that_lets_writes_go_on_needs_tables_that_recover(
    data: Data, because: str
) -> None:
    assert because in " ".join(backup.refused_freeze(LockKind.INSTANCE, data))
    assert backup.refused_freeze(backup.for_freeze(data).kind, data) == []


def test_a_freeze_may_leave_the_position_open() -> None:
    data = Data(MARIADB, {}, ("/",))
    assert backup.refused_freeze(LockKind.INSTANCE, data) == []
    assert "freezes nothing" in backup.refused_freeze(LockKind.NONE, data)[0]


@dataclass(frozen=True)
class Runs:
    text: str
    running_s: float


def test_who_is_in_the_way() -> None:
    young, read = Runs("UPDATE x", 0.1), Runs(" (SELECT 1)", 9.0)
    write = Runs("/* a */ UPDATE x", 9.0)
    running = [young, read, write]
    look = {"waits_for_reads": False, "older_than_s": 0.25}
    assert backup.in_the_way(LockKind.COMMITS, running, **look) == []
    assert backup.in_the_way(LockKind.TABLES, running, **look) == [write]
    look["waits_for_reads"] = True
    assert backup.in_the_way(LockKind.TABLES, running, **look) == [read, write]


def test_what_was_committed_between() -> None:
    first = Coordinates("b.1", 100, "0-1-5", True)
    assert first.moved_to(first) == ""
    assert first.moved_to(Coordinates("b.2", 4, "0-1-5", True)) == ""  # only rotated
    assert "b.1:104" in first.moved_to(Coordinates("b.1", 104, "0-1-5", True))
    assert "0-1-6" in first.moved_to(Coordinates("b.1", 100, "0-1-6", True))
    assert Coordinates.from_json(first.as_json()) == first


@dataclass(frozen=True)
class Kept:
    server: str
    taken: float
    proven: bool


def test_the_last_proven_one_stays() -> None:
    old, proven, new, other = (Kept("a", 1, True), Kept("a", 2, True), Kept("a", 3, False),
                               Kept("b", 0, True))
    every = [new, old, other, proven]
    assert retention.to_go(every, keep=1) == [old]
    assert retention.to_go(every, keep=3) == []
    assert set(retention.last_proven(every)) == {other, proven}


def test_lengths_of_time() -> None:
    assert [seconds(t) for t in ("500ms", "30s", "2m", "1h", "1.5")] == [0.5, 30, 120, 3600, 1.5]
    for wrong in ("", "0", "-1", "5 days", "300x"):
        with pytest.raises(ValueError, match="length of time"):
            seconds(wrong)
