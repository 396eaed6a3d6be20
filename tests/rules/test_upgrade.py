"""Reasons not to upgrade."""

from __future__ import annotations

import dataclasses

import pytest

from slackwater.facts.flavour import Flavour, Vendor
from slackwater.facts.packages import Change
from slackwater.rules.upgrade import (
    Wish,
    away_s,
    below,
    is_major,
    new_flavour,
    refusals,
    scripts_interfere,
    too_long,
)


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


SERVER = Change("mariadb-server", "1:10.11.6-1", "1:10.11.19-1", "amd64")


def test_only_what_waits_at_a_gate_and_is_known_is_installed_below_the_server() -> None:
    whole = dataclasses.replace(GOOD, changes=(*GOOD.changes, SERVER))
    assert below(whole)
    assert not below(dataclasses.replace(whole, held=False))  # nobody waits: no need
    mysql = Change("mysql-server-8.0", "8.0.39-1", "8.0.40-1", "amd64")
    assert not below(dataclasses.replace(whole, changes=(mysql,)))
    assert not below(dataclasses.replace(whole, changes=()))


# Lines of Debian's mariadb-server 10.11 preinst, postinst and postrm.
HARMLESS = """
# systemctl stop mariadb: a comment
    invoke-rc.d mariadb stop
    # systemctl could emit exit code 100=no init script (fresh install)
    echo "There is a MariaDB/MySQL server running, but we failed in our attempts to stop it." 1>&2
  systemctl --system daemon-reload >/dev/null || true
\tif [ -z "${DPKG_ROOT:-}" ] && [ -x "/etc/init.d/mariadb" ]; then
\t\tinvoke-rc.d --skip-systemd-native mariadb $_dh_action || exit 1
\t\tdeb-systemd-invoke $_dh_action 'mariadb.service' >/dev/null || true
      deb-systemd-helper unmask 'mariadb.service' >/dev/null || true
MYADMIN="/usr/bin/mysqladmin --defaults-file=/etc/mysql/debian.cnf"
"""


def test_scripts_that_ask_the_policy_do_no_harm() -> None:
    assert scripts_interfere({"mariadb-server.preinst": HARMLESS}) == ""


@pytest.mark.parametrize("line", [
    "systemctl stop mariadb", "systemctl --no-block restart mariadb.service", "service mysql stop",
    "/etc/init.d/mysql stop", "$MYADMIN shutdown", "mysqladmin -u root shutdown",
    'kill "$(cat /run/mysqld/mysqld.pid)"', "pkill -x mariadbd", "start-stop-daemon --stop -x y",
])  # fmt: skip
def test_scripts_that_stop_a_server_themselves_are_found(line: str) -> None:
    said = scripts_interfere({"a.preinst": HARMLESS, "b.prerm": f"set -e\n  {line}\n"})
    assert f"b.prerm: {line}" in said and "--inside-hold" in said
