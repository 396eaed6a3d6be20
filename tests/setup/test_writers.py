"""The threads of MySQL's redo log: started for a copy, and as before after it, whatever happens."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.patience import PATIENCE
from tests.setup.behind import in_world
from tests.setup.file_server import FileServer
from tests.setup.scene import Scene, scene
from tests.setup.stories import journals, killed_at, many, named, verified

from slackwater.facts.server import is_on
from slackwater.operations.setup.look import SetupWorld
from slackwater.operations.setup.writers import SETTING, StartWriters, StopWriters
from slackwater.outside.mysql.session import MysqlError
from slackwater.plan.step import Seen

pytestmark = pytest.mark.servers

STEPS = {"StartWriters", "StopWriters"}


@contextlib.contextmanager
def _off(place: Path, **more: Any) -> Iterator[Scene]:
    """A source that has something to be copied, with them off."""
    with scene(named("mysql-9.7"), place, **more) as made:
        many(made)
        made.sql("a", f"SET GLOBAL {SETTING} = OFF")
        yield made


def _on(made: Scene) -> bool:
    return is_on(str(made.sql("a", f"SELECT @@GLOBAL.{SETTING} AS v")[0]["v"]))


def _steps(made: Scene) -> set[str]:
    written = journals(made)[-1].read_text()
    return {step for step in STEPS if f'"{step}"' in written}


@pytest.mark.parametrize("before", ["ON", "OFF"])
def test_after_a_copy_they_are_as_before(before: str, place: Path) -> None:
    with scene(named("mysql-9.7"), place) as made:
        many(made)
        made.sql("a", f"SET GLOBAL {SETTING} = {before}")
        made.setup()
        assert _steps(made) == (STEPS if before == "OFF" else set())
        assert _on(made) is (before == "ON")
        made.setup()
        assert not _steps(made), "nothing was copied"
        verified(made)


def test_a_source_that_is_not_to_be_slowed_for_keeps_its_own(place: Path) -> None:
    with _off(place) as made:
        made.setup("--slow-ms", "0")
        assert not _steps(made)
        assert not _on(made)


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-5.7"])
def test_others_have_none(name: str, place: Path) -> None:
    with scene(named(name), place) as made:
        made.setup()
        assert not _steps(made)


def test_interrupted_they_are_as_before(place: Path) -> None:
    with _off(place) as made:
        with subprocess.Popen(made.words("pair", "setup", "--limit-rate", "0.05"),
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as doing:
            try:
                for _ in range(600):
                    if _on(made):
                        break
                    with pytest.raises(subprocess.TimeoutExpired):
                        doing.wait(0.02)
                assert _on(made)
                doing.send_signal(signal.SIGINT)
                doing.wait(60)
            finally:
                doing.kill()
        assert not _on(made)


def test_killed_recover_puts_them_back(place: Path) -> None:
    with _off(place) as made:
        assert killed_at(made, "CopyData.b", later=(0,))
        assert _on(made)
        done = made.run("recover")
        assert done.returncode == 0, done.stderr
        assert not _on(made)


def test_killed_the_same_command_again_has_them_as_before(place: Path) -> None:
    with _off(place) as made:
        assert killed_at(made, "CatchUp.b", later=(0,))
        assert _on(made)
        made.setup()
        assert not _on(made)
        verified(made)


@pytest.mark.parametrize("again", [["recover"], ["pair", "setup"]])
@pytest.mark.parametrize("file", ["ON", "OFF"])
def test_of_a_source_that_was_restarted_its_own_file_decides(
    again: list[str], file: str, place: Path
) -> None:
    with _off(place, kind=FileServer) as made:
        lines = {n: [f'config_dir = "{s.directory / "conf.d"}"'] for n, s in made.servers.items()}
        made.write(server_lines=lines)
        assert killed_at(made, "CopyData.b", later=(0,))
        assert _on(made)
        a = FileServer.load(made.servers["a"].directory)  # was restarted for its settings
        a.kill()
        (a.directory / "conf.d/60-own.cnf").write_text(f"[mysqld]\n{SETTING} = {file}\n")
        FileServer.load(a.directory).start(60 * PATIENCE)
        assert _on(made) is (file == "ON")
        done = made.run(*again)
        assert done.returncode == 0, done.stdout + done.stderr
        assert _on(made) is (file == "ON")


def test_without_the_performance_schema_they_are_put_back_too(place: Path) -> None:
    with scene(named("mysql-9.7"), place, extra=["--performance-schema=OFF"]) as made:
        many(made)
        made.sql("a", f"SET GLOBAL {SETTING} = OFF")
        made.setup()
        assert _steps(made) == STEPS
        assert not _on(made)


def test_an_account_that_may_not_is_no_reason_to_stop(place: Path) -> None:
    with _off(place) as made:

        async def denied(world: SetupWorld) -> None:
            await _may_not(world)
            for step in (StartWriters("a"), StopWriters("a")):
                assert await step.do(world) is Seen.DONE

        in_world(made, denied)
        assert not _on(made)


def test_what_cannot_be_put_back_is_told_and_undoes_no_copy(place: Path) -> None:
    with _off(place) as made:
        told: list[str] = []

        async def denied(world: SetupWorld) -> None:
            world.tell = lambda event: told.append(event["text"])
            await StartWriters("a").do(world)
            await _may_not(world)
            assert await StopWriters("a").do(world) is Seen.DONE
            assert await StopWriters("a").verify(world) is Seen.NOT_DONE

        in_world(made, denied)
        assert _on(made)
        assert ["still ON" in text and "1227" in text for text in told] == [True]


def test_a_connection_that_is_lost_is_opened_again_to_put_them_back(place: Path) -> None:
    with _off(place) as made:

        async def lose_it(world: SetupWorld) -> None:
            assert await StartWriters("a").verify(world) is Seen.NOT_DONE
            await StartWriters("a").do(world)
            assert await StartWriters("a").verify(world) is Seen.DONE
            session = await world.session("a")
            made.sql("a", f"KILL {await session.value('SELECT CONNECTION_ID()')}")
            await StopWriters("a").do(world)

        in_world(made, lose_it)
        assert not _on(made)


async def _may_not(world: SetupWorld) -> None:
    """From here on our account may not set anything there."""
    session = await world.session("a")
    user, host = str(await session.value("SELECT CURRENT_USER()")).split("@")
    await session.run(f"REVOKE SYSTEM_VARIABLES_ADMIN, SUPER ON *.* FROM '{user}'@'{host}'")
    await world.close()
    await world.connect()
    with pytest.raises(MysqlError, match="1227"):
        await (await world.session("a")).run(f"SET GLOBAL {SETTING} = ON")
