"""Debian versions and what apt-get says it would do."""

from __future__ import annotations

import itertools
import shutil
import subprocess

import pytest

from slackwater.facts.flavour import Flavour, Vendor
from slackwater.facts.packages import Change, compare, flavour_of, parse_simulation, server_of

SAID = """
Reading package lists...
Inst mariadb-server-core [1:10.11.6-0+deb12u1] (1:10.11.19-0+deb12u1 Debian:12 [amd64]) []
Inst mariadb-common [1:10.11.6-0+deb12u1] (1:10.11.19-0+deb12u1 Debian:12.5/s, Sec:12/s [all])
Inst galera-4 (26.4.23-0+deb12u1 Debian:12.15/oldstable [amd64])
Remv default-mysql-server [1.1.0]
Conf mariadb-common (1:10.11.19-0+deb12u1 Debian:12.5/stable [all])
"""
VERSIONS = ("1.0", "1.0-1", "1.0-1+deb12u1", "1.0~rc1-1", "1.0-1~bpo1", "1:0.9", "1.10-1", "1.9-1",
            "2.0a-1", "2.0.1-1", "2.0-1", "1:10.11.6-0+deb12u1", "1:10.11.19-0+deb12u1", "9.7.0-1",
            "10.4-1-2", "1.0-0", "01.0")


def test_a_simulation_is_read() -> None:
    changes = parse_simulation(SAID)
    core = Change("mariadb-server-core", "1:10.11.6-0+deb12u1", "1:10.11.19-0+deb12u1", "amd64")
    assert changes[0] == core
    assert changes[1].architecture == "all"
    assert changes[2] == Change("galera-4", "", "26.4.23-0+deb12u1", "amd64")
    assert changes[3] == Change("default-mysql-server", "1.1.0", "")
    assert core.file == "mariadb-server-core_1%3a10.11.19-0+deb12u1_amd64.deb"
    assert not core.downgrade
    assert Change("x", core.new, core.old).downgrade
    assert server_of(changes) == core
    assert flavour_of(core) == Flavour(Vendor.MARIADB, (10, 11, 19))


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is the judge")
def test_versions_stand_as_dpkg_says() -> None:
    """A long shell line, as a dpkg for each pair would take seconds."""
    pairs = list(itertools.combinations(VERSIONS, 2))
    script = "; ".join(
        f"dpkg --compare-versions {a} lt {b} && echo -1 || "
        f"{{ dpkg --compare-versions {a} eq {b} && echo 0 || echo 1; }}" for a, b in pairs
    )
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True,
                          timeout=120)
    says = dict(zip(pairs, map(int, done.stdout.split()), strict=True))
    wrong = {p: (compare(*p), says[p]) for p in pairs if compare(*p) != says[p]}
    assert wrong == {}
    assert all(compare(b, a) == -compare(a, b) for a, b in pairs)


def test_what_a_running_server_has_no_use_for() -> None:
    beside = [n for n in (
        "mariadb-client", "mariadb-client-core", "mariadb-client-core-10.5", "mariadb-backup",
        "mariadb-common", "mysql-client-8.0", "mysql-community-client-plugins", "libmariadb3",
        "mariadb-server", "mariadb-server-core", "mysql-community-server-core", "galera-4",
        "mariadb-plugin-rocksdb", "percona-server-server", "mysql-server-8.0",
    ) if Change(n, "1", "2").beside_the_server]
    assert beside == [
        "mariadb-client", "mariadb-client-core", "mariadb-client-core-10.5", "mariadb-backup",
        "mariadb-common", "mysql-client-8.0", "mysql-community-client-plugins", "libmariadb3",
    ]
