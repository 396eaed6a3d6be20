"""`pair setup --from-snapshot`: what goes wrong puts back what was; then it begins with the copy.

Under load, with `pair compare`: tests/snapshot/test_howto.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.setup.scene import Scene, scene
from tests.setup.stories import killed_at, named, verified

pytestmark = pytest.mark.servers


def ready(made: Scene) -> Path:
    """`a` has data, an event and an account; a verified snapshot of it. `b` has data of its own."""
    password = (made.place / "password")
    password.write_text("secret-Aa1")
    password.chmod(0o600)
    for statement in (
        "CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)",
        "INSERT INTO shop.t VALUES (1), (2)",
        "CREATE EVENT shop.often ON SCHEDULE EVERY 1 HOUR STARTS NOW() + INTERVAL 1 HOUR"
        " DO INSERT INTO shop.t VALUES (0)",
        "CREATE USER slackwater@localhost IDENTIFIED BY 'secret-Aa1'",
        "GRANT ALL ON *.* TO slackwater@localhost WITH GRANT OPTION",
    ):
        made.sql("a", statement)
    made.sql("b", "CREATE DATABASE theirs")
    made.sql("b", "CREATE TABLE theirs.t (id INT)")
    copy = made.place / "monday"
    taken = made.run("snapshot", "take", "--server", "a", "--exact", "--config", str(made.config),
                     "--", "sh", "-c", f"cp -a {made.servers['a'].directory}/data {copy}")
    assert taken.returncode == 0, taken.stdout + taken.stderr
    return copy


def own_data(made: Scene) -> None:
    """`b` runs, closed, with what it had."""
    assert made.sql("b", "SELECT @@GLOBAL.read_only AS r") == [{"r": 1}]
    assert made.sql("b", "SHOW TABLES FROM theirs")
    assert not [p for p in made.servers["b"].directory.iterdir() if "seed" in p.name]


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
def test_a_start_that_fails_and_then_a_good_one(name: str, place: Path) -> None:
    with scene(named(name), place) as made:
        copy = ready(made)
        assert "was not verified" in made.refusals(
            "--active", "a", "--from-snapshot", str(copy))
        assert made.run("snapshot", "verify", str(copy)).returncode == 0
        made.sql("a", "INSERT INTO shop.t VALUES (3)")
        assert "name it with --overwrite b" in made.refusals(
            "--active", "a", "--from-snapshot", str(copy))
        words = ("--active", "a", "--overwrite", "b", "--from-snapshot", str(copy))
        text = made.config.read_text()
        fails = place / "restart"
        fails.write_text(f"#!/bin/sh\nmkdir {place}/once 2>/dev/null && exit 7\n"
                         f"exec {json.loads(text.split('restart = ')[2].splitlines()[0])}\n")
        fails.chmod(0o755)
        head, _, tail = text.rpartition("restart = ")
        made.config.write_text(f'{head}restart = "{fails}"\n{tail.partition(chr(10))[2]}')
        undone = made.run("pair", "setup", "--json", *words)
        said = json.loads(undone.stdout.splitlines()[-1])
        assert said["outcome"] == "undone", undone.stdout[-3000:] + undone.stderr[-3000:]
        assert "ended with exit code 7" in str(said["reasons"])
        own_data(made)
        said = made.setup(*words)
        assert said["copied"]["b"]["method"] == "snapshot"
        verified(made)
        assert [r["id"] for r in made.sql("b", "SELECT id FROM shop.t ORDER BY id")] == [1, 2, 3]
        event = made.sql("b", "SHOW EVENTS FROM shop")[0]
        assert event["Status"].upper() != "ENABLED", "it runs on both servers"
        if not made.servers["b"].program.is_mariadb:
            uuids = [made.sql(n, "SELECT @@server_uuid AS u") for n in "ab"]
            assert uuids[0] != uuids[1]
        done = made.run("pair", "compare", "--json")
        assert json.loads(done.stdout.splitlines()[-1])["equal"] is True, done.stderr[-2000:]


def test_killed_in_the_middle(place: Path) -> None:
    """SIGKILL, `recover`: what was is there again; and the same command then ends verified."""
    with scene(named("mariadb-10.11"), place) as made:
        copy = ready(made)
        assert made.run("snapshot", "verify", str(copy)).returncode == 0
        words = ("--active", "a", "--overwrite", "b", "--from-snapshot", str(copy))
        assert killed_at(made, "PlaceSnapshot.b", *words)
        undone = made.run("recover", "--json")
        said = json.loads(undone.stdout.splitlines()[-1])
        assert said["recovered"][0]["outcome"] == "undone", undone.stderr
        own_data(made)
        assert made.setup(*words)["outcome"] == "done"
        verified(made)
