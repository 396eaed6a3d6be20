"""A replica that catches up in slices, as its source bears, and what may go wrong with that."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pymysql
import pytest
from tests.servers.patience import eventually
from tests.setup.scene import Scene, scene
from tests.setup.stories import many, named

from slackwater.config import load
from slackwater.errors import StepFailed
from slackwater.facts.replication import ReplicaStatus
from slackwater.operations.setup import catch_up, slices
from slackwater.operations.setup.catch_up import CatchUp
from slackwater.operations.setup.look import SetupWorld
from slackwater.operations.setup.slices import Slices
from slackwater.outside.mysql.server import replica_status
from slackwater.outside.mysql.session import Session

pytestmark = pytest.mark.servers

SLOW_MS = 25.0
WRITES = 3000
EACH = pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-5.7", "mysql-9.7"])


@EACH
def test_it_rests_while_the_source_does_not_answer(name: str, place: Path) -> None:
    with scene(named(name), place) as made:
        _behind(made)

        async def pause_the_source(world: SetupWorld) -> None:
            # It does not end by itself meanwhile: what it applies waits for our lock.
            async with await Session.open(world.servers["b"].at) as other:
                waiting = asyncio.ensure_future(CatchUp("b", "a", SLOW_MS).do(world))
                await asyncio.sleep(0.8)
                os.kill(made.servers["a"].pid, signal.SIGSTOP)
                try:
                    await asyncio.sleep(0.4)
                    assert not await _applies(other)
                finally:
                    os.kill(made.servers["a"].pid, signal.SIGCONT)
                await waiting

        _in_world(made, pause_the_source)
        _caught_up(made)


@EACH
def test_soon_it_does_not_rest_beside_a_source_that_answers_in_time(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "FREE_S", 0.2)
    with scene(named(name), place) as made:
        _behind(made)
        made_by: list[Slices] = []
        monkeypatch.setattr(slices, "Slices", lambda at: made_by.append(Slices(at)) or made_by[0])

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

        _in_world(made, wait_for_a_lock)
        _caught_up(made)


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
def test_a_session_that_is_lost_as_it_rests_is_opened_again(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "REST_S", 0.7)
    monkeypatch.setattr(slices, "AGAIN_S", 0.1)
    ids = "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'root'"
    with scene(named(name), place) as made:
        _behind(made)

        async def lose_it(world: SetupWorld) -> None:
            others = {row["ID"] for row in made.sql("b", ids)}
            waiting = asyncio.ensure_future(CatchUp("b", "a", SLOW_MS).do(world))
            await asyncio.sleep(1.2)
            async with await Session.open(world.servers["b"].at) as other:
                assert not await _applies(other), "it should rest now"
                for row in await other.rows(f"{ids} AND ID <> CONNECTION_ID()"):
                    if row["ID"] not in others:
                        await other.run(f"KILL {row['ID']}")
            await waiting

        _in_world(made, lose_it)
        _caught_up(made)


@EACH
def test_an_error_of_replication_is_told_and_stays(name: str, place: Path) -> None:
    with scene(named(name), place) as made:
        _behind(made, without=1234)
        with pytest.raises(StepFailed, match="1032"):
            _in_world(made, lambda world: CatchUp("b", "a", SLOW_MS).do(world))
        assert "1032" in str(_status(made)[0].sql_error)


def test_whoever_stops_it_keeps_it_stopped(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "STILL_S", 1.0)
    with scene(named("mariadb-10.11"), place) as made:
        _behind(made)
        made.sql("b", "STOP SLAVE SQL_THREAD")
        with pytest.raises(StepFailed, match="nothing was applied there"):
            _in_world(made, lambda world: CatchUp("b", "a", SLOW_MS).do(world))
        assert not _status(made)[0].sql_running


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
@pytest.mark.parametrize("after_s", [0.1, 0.5, 0.8])
def test_cut_off_it_applies_again(
    name: str, after_s: float, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "REST_S", 5.0)
    with scene(named(name), place) as made:
        _behind(made)

        async def cut_off(world: SetupWorld) -> None:
            waiting = asyncio.ensure_future(CatchUp("b", "a", SLOW_MS).do(world))
            await asyncio.sleep(after_s)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting

        _in_world(made, cut_off)
        assert _status(made)[0].sql_running


@EACH
def test_killed_as_it_rests_the_same_command_again_has_it_apply(name: str, place: Path) -> None:
    with scene(named(name), place) as made:
        _behind(made, begun=False)
        word = _word(made)
        _all(made, "a", f"STOP {word}", f"RESET {word} ALL")
        with subprocess.Popen(made.words("pair", "setup", "--json"), stderr=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, text=True) as doing:
            assert doing.stderr is not None
            assert any('"CatchUp.b"' in line for line in doing.stderr)
            show, running = f"SHOW {word} STATUS", f"{word.capitalize()}_SQL_Running"
            eventually(lambda: made.sql("b", show)[0][running] == "No", "a rest")
            doing.kill()
        assert not _status(made)[0].sql_running
        assert "CatchUp.b" in str(made.setup())
        _caught_up(made)


def _word(made: Scene) -> str:
    program = made.servers["b"].program
    return "SLAVE" if program.is_mariadb or program.version < (8, 0, 22) else "REPLICA"


def _behind(made: Scene, *, without: int = 0, begun: bool = True) -> None:
    """A pair whose passive has thousands of transactions to apply; it lacks row `without`."""
    many(made)
    made.setup()
    word = _word(made)
    made.sql("b", f"STOP {word}")
    if without:
        made.sql("b", "SET GLOBAL read_only = 0")
        _all(made, "b", "SET SESSION sql_log_bin = 0",
             f"DELETE FROM shop.many WHERE id = {without}")
    _all(made, "a", *(f"UPDATE shop.many SET v = 'late' WHERE id = {n + 1}" for n in range(WRITES)))
    if begun:
        made.sql("b", f"START {word}")


def _all(made: Scene, name: str, *statements: str) -> None:
    with pymysql.connect(unix_socket=str(made.servers[name].socket), user="root",
                         autocommit=True) as link, link.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


async def _applies(session: Session) -> bool:
    return (await replica_status(session))[0].sql_running


def _status(made: Scene) -> tuple[ReplicaStatus, ...]:
    found: list[ReplicaStatus] = []

    async def ask(world: SetupWorld) -> None:
        found.extend(await replica_status(await world.session("b")))

    _in_world(made, ask)
    return tuple(found)


def _caught_up(made: Scene) -> None:
    count = "SELECT COUNT(*) AS n FROM shop.many WHERE v = 'late'"
    assert made.sql("b", count) == made.sql("a", count) != [{"n": 0}]
    assert _status(made)[0].running


def _in_world(made: Scene, what: Callable[[SetupWorld], Awaitable[object]]) -> None:
    async def inside() -> None:
        settings = load(made.config)
        world = SetupWorld(settings, settings.group("shop"))
        await world.connect()
        try:
            async with asyncio.timeout(60):
                await what(world)
        finally:
            await world.close()

    asyncio.run(inside())
