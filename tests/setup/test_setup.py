"""`pair setup` on real servers: from nothing, from a full source, again, and after being killed.

On one MariaDB and, where it differs most, on one MySQL; `make matrix` has every server.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from tests.outside.real_sshd import sshd
from tests.setup import stories, sweep, topologies
from tests.setup.scene import scene
from tests.setup.stories import equal, journals, killed_at, many, named, verified

from slackwater.lab import restart

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
def test_from_a_full_source(name: str, place: Path) -> None:
    stories.full_source(named(name), place)


def test_by_mariadb_backup(place: Path) -> None:
    stories.by_mariadb_backup(named("mariadb-10.11"), place)


def test_a_copy_that_does_not_start_gives_way_to_what_was_there(place: Path) -> None:
    with scene(named("mariadb-10.11"), place) as made:
        stories.can_backup(made)
        many(made)
        made.sql("b", "CREATE DATABASE kept")
        made.sql("b", "CREATE TABLE kept.t (n INT)")
        text, b = made.config.read_text(), made.servers["b"].directory
        real = restart.command(b)
        picky = place / "restart"  # starts nothing but what b had
        picky.write_text(f"#!/bin/sh\n[ -d {b}/data/kept ] || exit 3\nexec {real}\n")
        picky.chmod(0o755)
        made.config.write_text(text.replace(f'restart = "{real}"', f'restart = "{picky}"'))
        done = made.run("pair", "setup", "--json", "--method", "backup", "--active", "a",
                        "--overwrite", "b")
        said = json.loads(done.stdout.splitlines()[-1])
        assert said["outcome"] == "undone" and "exit code 3" in str(said["reasons"]), said
        assert made.sql("b", "SHOW TABLES FROM kept")
        assert not made.sql("b", "SHOW DATABASES LIKE 'shop'")
        assert made.sql("b", "SELECT @@GLOBAL.read_only AS r") == [{"r": 1}]
        stories.left_nothing(made)


def test_by_mariadb_backup_from_host_to_host(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both servers are other machines', reached over SSH: packed on the way, where both can."""
    home = place / "home"
    home.mkdir()
    with scene(named("mariadb-10.11"), place) as made, sshd(home, monkeypatch) as host:
        stories.can_backup(made)
        for name in "ab":  # slackwater comes by the network; mariadb-backup by the socket there
            made.sql(name, "CREATE USER root@'127.0.0.1'")
            made.sql(name, "GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION")
        made.write(server_lines={n: [f'ssh = "{host.destination}"'] for n in "ab"})
        many(made)
        said = made.setup("--method", "backup")["copied"]["b"]
        assert said["packed"] is bool(shutil.which("zstd"))
        assert not said["packed"] or said["sent"] < said["bytes"]
        verified(made)
        equal(made)
        stories.left_nothing(made)


def test_killed_in_a_copy_by_mariadb_backup(place: Path) -> None:
    """Two of the moments; `make matrix` has them all."""
    kills = random.sample(stories.KILLS, 2)
    print(kills, stories.backup_killed(named("mariadb-10.11"), place, kills))


def test_settings_go_into_one_file_and_the_servers_are_restarted(place: Path) -> None:
    stories.settings_in_one_file(named("mariadb-10.11"), place)


@pytest.mark.parametrize("server", ["mariadb-10.11", "mysql-9.7"])
def test_settings_that_others_overrule(server: str, place: Path) -> None:
    """The passive would be writable after a restart, or nothing of the file be read."""
    stories.settings_overruled(named(server), place)


def test_servers_killed_in_the_middle_of_the_copy(place: Path) -> None:
    stories.servers_killed(named("mariadb-10.11"), place)


@pytest.mark.parametrize(("name", "tls"), [("mariadb-10.11", True), ("mysql-9.7", False)])
def test_with_tls_required_and_with_none(name: str, tls: bool, place: Path) -> None:
    topologies.from_nothing(named(name), place, topologies.ALL[0], tls)


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
def test_tls_that_is_not_there_is_not_required(name: str, place: Path) -> None:
    topologies.no_tls_refused(named(name), place)


def test_semi_synchronous_replication(place: Path) -> None:
    stories.semi_sync(named("mariadb-10.11"), place)


def test_killed_at_any_step_the_same_command_ends_verified(place: Path) -> None:
    """SIGKILL as a step begins, or some milliseconds into it; then the same command again.

    `make matrix` does so at every step, on every server.
    """
    with scene(named("mariadb-10.11"), place) as made:
        many(made)
        assert killed_at(made, "CopyData.b")
        undone = made.run("recover", "--json")
        said = json.loads(undone.stdout.splitlines()[-1])
        assert undone.returncode == 0 and said["recovered"][0]["outcome"] == "undone"
        assert "what was there is thrown away" in str(said["stays"])
        assert "`slackwater pair setup` again" in said["next"]
        assert "everything is as it was" not in undone.stdout + undone.stderr
        assert killed_at(made, "Follow.a", later=(0,))
        assert "SetRoles" not in journals(made)[-1].read_text(), "it went on for some steps"
        assert made.run("recover").returncode == 0
        assert killed_at(made, random.choice(("Follow.b", "Follow.a", "ProveReplication")))
        assert made.setup()["outcome"] == "done"
        verified(made)
        equal(made)


@pytest.mark.parametrize("name", sweep.SERVERS)
def test_killed_at_random_moments_the_same_command_ends_verified(name: str, place: Path) -> None:
    """slackwater or a server, under writes; `make setupsweep` has thirty rounds."""
    program, seed = named(name), random.randrange(10_000)
    print(f"python -m tests.setup.sweep --rounds 1 --seed {seed} {name}")
    print(sweep.run(program, place, sweep.draw(seed, 1, program)))
