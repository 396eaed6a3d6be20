"""A replica that catches up in slices, as its source bears, and what may go wrong with that."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from tests.servers.patience import eventually
from tests.setup.behind import (
    EACH,
    SLOW_MS,
    all_of,
    applies,
    behind,
    caught_up,
    cut_off,
    in_world,
    paused,
    status,
    word,
)
from tests.setup.scene import scene
from tests.setup.stories import named

from slackwater.errors import StepFailed
from slackwater.operations.setup import catch_up, slices
from slackwater.operations.setup.catch_up import CatchUp
from slackwater.operations.setup.look import SetupWorld
from slackwater.operations.setup.slices import Slices
from slackwater.outside.mysql.session import Session

pytestmark = pytest.mark.servers


@EACH
def test_it_rests_while_the_source_does_not_answer(name: str, place: Path) -> None:
    with scene(named(name), place) as made:
        behind(made)

        async def pause_the_source(world: SetupWorld) -> None:
            # It does not end by itself meanwhile: what it applies waits for our lock.
            async with await Session.open(world.servers["b"].at) as other:
                waiting = asyncio.ensure_future(CatchUp("b", "a", SLOW_MS).do(world))
                await asyncio.sleep(0.8)
                with paused(made):
                    await asyncio.sleep(0.4)
                    assert not await applies(other)
                await waiting

        in_world(made, pause_the_source)
        caught_up(made)


@EACH
def test_soon_it_does_not_rest_beside_a_source_that_answers_in_time(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "FREE_S", 0.2)
    with scene(named(name), place) as made:
        behind(made)
        made_by: list[Slices] = []
        monkeypatch.setattr(
            slices, "Slices", lambda *a, **k: made_by.append(Slices(*a, **k)) or made_by[0])

        async def wait_for_a_lock(world: SetupWorld) -> None:
            async with await Session.open(world.servers["b"].at) as other:
                waiting = asyncio.ensure_future(CatchUp("b", "a", 60_000.0).do(world))
                await asyncio.sleep(1.5)
                rests = made_by[0].rests
                await other.run("LOCK TABLES shop.many READ")
                await asyncio.sleep(1.0)
                assert 2 <= rests <= 6
                assert made_by[0].rests == rests
                await other.run("UNLOCK TABLES")
                await waiting

        in_world(made, wait_for_a_lock)
        caught_up(made)


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
def test_a_session_that_is_lost_as_it_rests_is_opened_again(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "REST_S", 0.7)
    monkeypatch.setattr(slices, "AGAIN_S", 0.1)
    ids = "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'root'"
    with scene(named(name), place) as made:
        behind(made)

        async def lose_it(world: SetupWorld) -> None:
            others = {row["ID"] for row in made.sql("b", ids)}
            waiting = asyncio.ensure_future(CatchUp("b", "a", SLOW_MS).do(world))
            await asyncio.sleep(1.2)
            async with await Session.open(world.servers["b"].at) as other:
                assert not await applies(other), "it should rest now"
                for row in await other.rows(f"{ids} AND ID <> CONNECTION_ID()"):
                    if row["ID"] not in others:
                        await other.run(f"KILL {row['ID']}")
            await waiting

        in_world(made, lose_it)
        caught_up(made)


@EACH
def test_an_error_of_replication_is_told_and_stays(name: str, place: Path) -> None:
    with scene(named(name), place) as made:
        behind(made, without=1234)
        with pytest.raises(StepFailed, match="1032"):
            in_world(made, lambda world: CatchUp("b", "a", SLOW_MS).do(world))
        assert "1032" in str(status(made)[0].sql_error)


def test_the_error_that_is_told_is_the_one_that_others_stopped_for(place: Path) -> None:
    """MySQL 9.7's status tells the last worker's, as often as not 3030: "a previous worker ..."."""
    with scene(named("mysql-9.7"), place) as made:
        behind(made, without=1234)
        for _ in range(60):
            eventually(lambda: made.sql("b", "SHOW REPLICA STATUS")[0]["Last_SQL_Errno"] != 0,
                       "its error")
            assert status(made)[0].sql_error.startswith("1032: ")
            if made.sql("b", "SHOW REPLICA STATUS")[0]["Last_SQL_Errno"] == 3030:
                return
            made.sql("b", "START REPLICA SQL_THREAD")
        raise AssertionError("there was no 3030 to look behind")


def test_whoever_stops_it_keeps_it_stopped(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "STILL_S", 1.0)
    with scene(named("mariadb-10.11"), place) as made:
        behind(made)
        made.sql("b", "STOP SLAVE SQL_THREAD")
        with pytest.raises(StepFailed, match="nothing was applied there"):
            in_world(made, lambda world: CatchUp("b", "a", SLOW_MS).do(world))
        assert not status(made)[0].sql_running


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
@pytest.mark.parametrize("after_s", [0.1, 0.5, 0.8])
def test_cut_off_it_applies_again(
    name: str, after_s: float, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "REST_S", 5.0)
    with scene(named(name), place) as made:
        behind(made)
        in_world(made, lambda world: cut_off(world, after_s))
        assert status(made)[0].sql_running


@EACH
def test_killed_as_it_rests_the_same_command_again_has_it_apply(name: str, place: Path) -> None:
    with scene(named(name), place) as made:
        behind(made, begun=False)
        said = word(made)
        all_of(made, "a", f"STOP {said}", f"RESET {said} ALL")
        with subprocess.Popen(made.words("pair", "setup", "--json"), stderr=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, text=True) as doing:
            assert doing.stderr is not None
            assert any('"CatchUp.b"' in line for line in doing.stderr)
            show, running = f"SHOW {said} STATUS", f"{said.capitalize()}_SQL_Running"
            eventually(lambda: made.sql("b", show)[0][running] == "No", "a rest")
            doing.kill()
        assert not status(made)[0].sql_running
        assert "CatchUp.b" in str(made.setup())
        caught_up(made)
