"""A copy of files that perhaps lacks transactions is not called whole."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.setup.behind import in_world
from tests.setup.scene import Scene, scene
from tests.setup.stories import can_backup, equal, many, named

from slackwater.operations.setup.copy_backup import StreamBackup
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside.host import Host
from slackwater.outside.mysql import physical_copy
from slackwater.outside.mysql.physical_copy import Place

pytestmark = pytest.mark.servers
BACKUP = ("pair", "setup", "--method", "backup")


def _copied(made: Scene) -> dict[str, Any]:
    """The figures of a copy of files, which is taken away."""
    found: dict[str, Any] = {}

    async def copy(world: SetupWorld) -> None:
        step = StreamBackup("a", "b")
        await step.do(world)
        await step.undo(world)
        found.update(world.figures["copied"]["b"])

    in_world(made, copy)
    return found


def _writing(made: Scene, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """Have the source's last write be this one, in the middle of the copy."""
    real = physical_copy.backup

    async def backup(*args: Any, **more: Any) -> Any:
        made.sql("a", statement)
        return await real(*args, **more)

    monkeypatch.setattr(physical_copy, "backup", backup)


@pytest.mark.parametrize("name", ["mariadb-10.11", "mariadb-11.8"])
def test_where_innodb_ends_in_a_copy_is_read(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene(named(name), place) as made:
        can_backup(made)
        many(made)
        _writing(made, monkeypatch, "INSERT INTO shop.many (v) VALUES ('the last')")
        real, ends = physical_copy.prepare, []

        async def prepare(host: Host, there: Place, copy: str) -> None:
            await real(host, there, copy)
            file, at = (await physical_copy.innodb_position(host, copy)) or ("", 0)
            ends.append((Path(file).name, at))
            ends.append((await physical_copy.position(host, copy))[:2])

        monkeypatch.setattr(physical_copy, "prepare", prepare)
        assert "MDEV-39468" in _copied(made)["unsure"]  # not that it ends too early
        assert ends[0] == ends[1]


@pytest.mark.parametrize("ends", [("./bin.000001", 400), ("./bin.000009", 400), None])
def test_a_copy_that_ends_before_it_says_it_does_is_unsure(
    ends: tuple[str, int] | None, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def early(_host: Host, _copy: str) -> tuple[str, int] | None:
        return ends

    with scene(named("mariadb-10.11"), place) as made:
        can_backup(made)
        many(made)
        monkeypatch.setattr(physical_copy, "innodb_position", early)
        assert "unsure" not in _copied(made)  # nothing was written meanwhile
        _writing(made, monkeypatch, "INSERT INTO shop.many (v) VALUES ('the last')")
        assert ("ends at" if ends else "does not say") in _copied(made)["unsure"]


def test_of_a_copy_that_is_unsure_the_set_up_says_so(place: Path) -> None:
    """As where the last that a source in use had written is not InnoDB's."""
    with scene(named("mariadb-10.11"), place) as made:
        can_backup(made)
        many(made)
        made.sql("a", "CREATE TABLE shop.old_engine (n INT) ENGINE = MyISAM")
        writing, ended = threading.Event(), threading.Event()

        def write() -> None:
            while not ended.wait(0.02):
                made.sql("a", "INSERT INTO shop.old_engine VALUES (1)")
                writing.set()

        thread = threading.Thread(target=write)
        thread.start()
        try:
            assert writing.wait(20)
            done = made.run(*BACKUP)
        finally:
            ended.set()
            thread.join()
        assert done.returncode == 0, done.stdout + done.stderr
        assert "whether its copy is whole `slackwater pair compare` tells: it is of" in done.stdout
        equal(made)
        quiet = made.run(*BACKUP, "--overwrite", "b", "--active", "a")
        assert quiet.returncode == 0, quiet.stdout + quiet.stderr
        assert "pair compare" not in quiet.stdout


def test_an_event_that_ran_on_the_target_before_it_could_be_stopped_is_noticed(
    place: Path,
) -> None:
    """Where the command that starts the server returns late: afterwards nothing would show it."""
    with scene(named("mariadb-10.11"), place, extra=("--event-scheduler=ON",)) as made:
        can_backup(made)
        many(made)
        made.sql("a", "CREATE TABLE shop.ticks (who INT)")
        made.sql("a", "CREATE EVENT shop.tick ON SCHEDULE EVERY 1 SECOND"
                      " DO INSERT INTO shop.ticks VALUES (@@server_id)")
        text = made.config.read_text()
        made.config.write_text(re.sub(r'restart = "(.*)"', r'''restart = "sh -c '\1; sleep 3'"''',
                                      text))
        made.sql("b", "CREATE DATABASE its_own")
        done = made.run(*BACKUP, "--json", "--active", "a", "--overwrite", "b")
        said = json.loads(done.stdout.splitlines()[-1])
        assert said["outcome"] == "undone", said
        assert "b has written into the copy as it started (0-2-" in str(said), said
        assert made.sql("b", "SHOW DATABASES LIKE 'its_own'")  # what was there is back
