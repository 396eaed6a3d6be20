"""Reasons not to upgrade."""

from __future__ import annotations

import dataclasses

from slackwater.facts.flavour import Flavour, Vendor
from slackwater.facts.packages import Change
from slackwater.rules.upgrade import Wish, away_s, is_major, new_flavour, refusals, too_long


def mariadb(*version: int) -> Flavour:
    return Flavour(Vendor.MARIADB, (version[0], version[1], version[2]))


def core(old: str, new: str) -> Change:
    return Change("mariadb-server-core", f"1:{old}-1", f"1:{new}-1", "amd64")


GOOD = Wish("a", mariadb(10, 11, 6), writable=True, held=True,
            changes=(core("10.11.6", "10.11.19"),), replicas={"b": mariadb(10, 11, 6)})


def only(**changed: object) -> str:
    """The one reason that this change brings."""
    (reason,) = refusals(dataclasses.replace(GOOD, **changed))  # type: ignore[arg-type]
    return reason


def test_a_newer_patch_of_the_same_series_is_fine() -> None:
    assert refusals(GOOD) == []
    assert not is_major(GOOD)


def test_nothing_to_do_is_said() -> None:
    assert "nothing to upgrade" in only(changes=())


def test_a_downgrade_is_refused_by_package_and_by_server() -> None:
    said = refusals(dataclasses.replace(GOOD, changes=(core("10.11.19", "10.11.4"),)))
    assert any("cannot read the files of a newer version" in s for s in said)
    assert any("a downgrade" in s for s in said)


def test_a_source_newer_than_its_replica_is_refused() -> None:
    new = (core("10.11.6", "11.4.2"),)
    said = only(changes=new, held=False)
    assert "replica b is MariaDB 10.11.6" in said
    # Of a passive server nobody replicates what clients write; upgraded replicas can read it.
    assert refusals(dataclasses.replace(GOOD, changes=new, held=False, writable=False)) == []
    upgraded = {"b": mariadb(11, 4, 2)}
    assert refusals(dataclasses.replace(GOOD, changes=new, held=False, replicas=upgraded)) == []


def test_a_new_series_is_never_done_while_clients_wait() -> None:
    said = only(changes=(core("10.11.6", "11.4.2"),), replicas={})
    assert "innodb_fast_shutdown" in said
    assert is_major(dataclasses.replace(GOOD, changes=(core("10.11.6", "11.4.2"),)))


def test_other_packages_and_removals_are_refused() -> None:
    libc = Change("libc6", "2.36-9", "2.36-10", "amd64")
    assert "libc6" in only(changes=(*GOOD.changes, libc))
    gone = Change("mariadb-plugin-x", "1:1.0", "")
    assert "would be removed" in only(changes=(*GOOD.changes, gone))


def test_another_vendor_is_refused() -> None:
    mysql = Change("mysql-server-core-8.0", "", "8.0.40-1", "amd64")
    assert "not the same vendor" in only(changes=(mysql,))


def test_others_at_the_package_manager_are_told() -> None:
    assert "unattended" in only(busy="process 7 (unattended-upgrade)")
    assert "FROZEN" in only(frozen=True)
    assert "--configure" in only(unfinished="man-db has pending triggers")


def test_who_starts_it_meanwhile_is_named() -> None:
    """systemd would start a half-unpacked server for a client."""
    said = only(keepers=("systemd (1)",))
    assert "systemd (1)" in said and "systemctl stop mariadb.socket" in said


def test_a_hold_that_would_be_too_short_is_refused_with_a_longer_limit() -> None:
    assert too_long(0.5, away_s(0.5, restart_s=1.0), 8.0) == ""
    said = too_long(4.0, away_s(4.0, restart_s=2.0), 8.0)
    assert "rehearsal" in said and "--limit 17" in said and "Nothing was touched" in said
    assert away_s(4.0, 9.0) > away_s(4.0, 2.0) > away_s(1.0, 2.0)


def test_the_same_version_again_leaves_the_system_tables_alone() -> None:
    assert new_flavour(GOOD) == mariadb(10, 11, 19)
    assert new_flavour(dataclasses.replace(GOOD, running=mariadb(10, 11, 19))) is None
