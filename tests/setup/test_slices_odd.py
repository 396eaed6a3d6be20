"""A replica that catches up in slices, where its server or its source is not as it mostly is."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from tests.setup.behind import (
    EACH,
    SLOW_MS,
    all_of,
    behind,
    caught_up,
    in_world,
    paused,
    status,
    word,
)
from tests.setup.scene import Scene, scene
from tests.setup.stories import many, named

from slackwater.operations import keep_alive, pair_lock, servers_world
from slackwater.operations.setup import catch_up, slices
from slackwater.operations.setup.catch_up import CatchUp
from slackwater.operations.setup.look import SetupWorld
from slackwater.operations.setup.slices import gently
from slackwater.outside.mysql.session import Session

pytestmark = pytest.mark.servers


def test_let_go_beside_a_source_that_is_late_the_rest_of_us_goes_on(place: Path) -> None:
    def stands_still(*_: object) -> None:
        raise AssertionError("nothing else of slackwater has come to do anything for 10 s")

    async def pause_the_source(world: SetupWorld) -> None:
        async with gently(world, "b", "a", SLOW_MS) as slices:
            assert slices is not None
            slices.let_go()
            await asyncio.sleep(0.3)
            with paused(made):
                await asyncio.sleep(0.5)

    with scene(named("mariadb-10.11"), place) as made:
        behind(made)
        before = signal.signal(signal.SIGALRM, stands_still)
        signal.setitimer(signal.ITIMER_REAL, 10)
        try:
            in_world(made, pause_the_source)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def test_it_applies_at_once_by_a_connection_that_has_a_name(place: Path) -> None:
    with scene(named("mariadb-10.11"), place) as made:
        behind(made, begun=False)
        from_a = made.sql("b", "SHOW SLAVE STATUS")[0]
        password = (place / "repl").read_text().strip()
        all_of(made, "b", "RESET SLAVE ALL",
               f"CHANGE MASTER 'x' TO MASTER_HOST = '127.0.0.1', MASTER_USE_GTID = slave_pos,"
               f" MASTER_PORT = {from_a['Master_Port']}, MASTER_USER = '{from_a['Master_User']}',"
               f" MASTER_PASSWORD = '{password}'", "START ALL SLAVES")
        in_world(made, lambda world: CatchUp("b", "a", SLOW_MS).do(world))
        caught_up(made)
        assert [c.channel for c in status(made)] == ["x"]


def test_a_channel_that_somebody_else_has_stopped_stays_stopped(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "REST_S", 0.8)
    with scene(named("mysql-9.7"), place) as made:
        behind(made, begun=False)
        all_of(made, "b", "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1,"
               " SOURCE_USER = 'nobody' FOR CHANNEL 'other'",
               "START REPLICA SQL_THREAD FOR CHANNEL 'other'",
               "START REPLICA IO_THREAD FOR CHANNEL ''")

        async def stop_the_other(world: SetupWorld) -> None:
            async with await Session.open(world.servers["b"].at) as session:
                await session.run("START REPLICA SQL_THREAD FOR CHANNEL ''")
                waiting = asyncio.ensure_future(CatchUp("b", "a", SLOW_MS).do(world))
                await asyncio.sleep(0.4)
                await session.run("STOP REPLICA SQL_THREAD FOR CHANNEL 'other'")
            await waiting

        in_world(made, stop_the_other)
        assert {c.channel: c.sql_running for c in status(made)} == {"": True, "other": False}


@pytest.mark.parametrize("name", ["mysql-5.7", "mysql-9.7"])
def test_what_takes_long_to_be_applied_costs_no_lock(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MySQL's STOP waits for it."""
    monkeypatch.setattr(servers_world, "SESSION_WAIT_TIMEOUT_S", 4)
    monkeypatch.setattr(keep_alive, "ALIVE_EVERY_S", 0.5)
    monkeypatch.setattr(catch_up, "TELL_EVERY_S", 0.5)

    async def keep_the_lock(world: SetupWorld) -> None:
        assert await pair_lock.take_unmarked(world, "a")
        await CatchUp("b", "a", SLOW_MS).do(world)
        assert await pair_lock.owned(world, "a")

    with scene(named(name), place) as made:
        _slow_on_b(made, 10)
        in_world(made, keep_the_lock)
        assert status(made)[0].running


@EACH
def test_one_long_transaction_gets_done(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the source is always late, say: slices stay as short as they are at first."""
    monkeypatch.setattr(slices, "LONGER", 1.0)
    with scene(named(name), place) as made:
        many(made)
        made.setup()
        all_of(made, "b", f"STOP {word(made)}")
        all_of(made, "a", "BEGIN", *["UPDATE shop.many SET v = CONCAT('late', RAND())"] * 15,
               "UPDATE shop.many SET v = 'late'", "COMMIT")

        async def catch_up_soon(world: SetupWorld) -> None:
            async with asyncio.timeout(20):
                await CatchUp("b", "a", SLOW_MS).do(world)

        all_of(made, "b", f"START {word(made)}")
        in_world(made, catch_up_soon)
        caught_up(made)


@EACH
def test_beside_a_source_that_is_late_for_other_reasons_it_gets_on(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "LEAST_S", 0.002)
    monkeypatch.setattr(slices, "REST_LIMIT_S", 0.3)

    async def pause_the_source(world: SetupWorld) -> None:
        waiting = asyncio.ensure_future(CatchUp("b", "a", SLOW_MS).do(world))
        await asyncio.sleep(0.8)
        with paused(made):
            async with asyncio.timeout(8.0):
                while made.sql("b", count) != want:
                    await asyncio.sleep(0.1)
        await waiting

    count = "SELECT COUNT(*) AS n FROM shop.many WHERE v = 'late'"
    with scene(named(name), place) as made:
        behind(made)
        want = made.sql("a", count)
        in_world(made, pause_the_source)
        caught_up(made)


@pytest.mark.parametrize("name", ["mysql-5.7", "mysql-9.7"])
def test_it_applies_again_where_the_server_gives_stopping_up(name: str, place: Path) -> None:
    """And then stops nevertheless."""
    with scene(named(name), place) as made:
        _slow_on_b(made, 7)
        made.sql("b", f"SET GLOBAL rpl_stop_{word(made).lower()}_timeout = 2")
        in_world(made, lambda world: CatchUp("b", "a", SLOW_MS).do(world))
        assert status(made)[0].running


def _slow_on_b(made: Scene, takes_s: float) -> None:
    """One transaction is to be applied, which takes that long there."""
    many(made)
    made.setup()
    all_of(made, "a", "SET SESSION binlog_format = STATEMENT",
           f"INSERT INTO shop.many (v) SELECT IF(@@server_id = 2, SLEEP({takes_s}), 0)")
