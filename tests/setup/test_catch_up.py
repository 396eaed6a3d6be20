"""A replica that has much to catch up with, as after a long copy: waited for, and told of."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.setup.behind import inside
from tests.setup.scene import Scene, scene
from tests.setup.stories import many, named

from slackwater.config import load
from slackwater.errors import StepFailed
from slackwater.operations import keep_alive, pair_lock, servers_world
from slackwater.operations.setup import backup_position, catch_up, copy_backup, copy_watch
from slackwater.operations.setup.catch_up import CatchUp
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside.mysql.server import executed_text, logged_text
from slackwater.outside.mysql.session import Session

pytestmark = pytest.mark.servers

BEHIND_S = 5.0


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
def test_our_locks_last_as_long_as_the_wait(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The servers end a session that is silent for long, and with it the lock that keeps others
    away: so nobody may be silent while one replica is waited for."""
    monkeypatch.setattr(servers_world, "SESSION_WAIT_TIMEOUT_S", 2)
    monkeypatch.setattr(keep_alive, "ALIVE_EVERY_S", 0.5)
    monkeypatch.setattr(catch_up, "TELL_EVERY_S", 0.5)
    with scene(named(name), place) as made:
        many(made)
        made.setup()
        told = asyncio.run(_wait_for_one_behind(made))
    assert any("b is catching up with a" in text for text in told), told


async def _wait_for_one_behind(made: Scene) -> list[str]:
    settings = load(made.config)
    world = SetupWorld(settings, settings.group("shop"))
    told: list[dict[str, Any]] = []
    world.tell = told.append
    await world.connect()
    try:
        for server in "ab":
            assert await pair_lock.take(world, server)
        async with await Session.open(world.servers["b"].at) as other:
            await other.run("LOCK TABLES shop.many READ")  # what b has to apply waits for it
            made.sql("a", "UPDATE shop.many SET v = 'late'")
            waiting = asyncio.create_task(CatchUp("b", "a").do(world))
            await asyncio.sleep(BEHIND_S)
            assert not waiting.done()
            made.sql("a", "UPDATE shop.many SET v = 'later'")  # what is written meanwhile, too
            await other.run("UNLOCK TABLES")
            await waiting
        assert world.notes["CatchUp.b"] == await logged_text(await world.session("a"))
        assert made.sql("b", "SELECT COUNT(*) AS n FROM shop.many WHERE v <> 'later'")[0]["n"] == 0
        for server in "ab":
            assert await pair_lock.owned(world, server), f"the lock on {server} was lost"
    finally:
        await world.close()
    return [event["text"] for event in told]


def test_replication_that_stands_still_is_told_and_not_waited_for(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catch_up, "STILL_S", 1.0)
    monkeypatch.setattr(keep_alive, "SLICE_S", 0.5)
    with scene(named("mariadb-10.11"), place) as made:
        many(made)
        made.setup()
        made.sql("b", "STOP SLAVE SQL_THREAD")
        made.sql("a", "UPDATE shop.many SET v = 'late'")
        with pytest.raises(StepFailed, match="does not arrive on b: nothing was applied"):
            asyncio.run(_wait(made, lambda world, _: CatchUp("b", "a").do(world)))
        with pytest.raises(StepFailed, match="b: replication stopped: its SQL thread was stopped"):
            asyncio.run(_wait(made, lambda world, has: keep_alive.caught_up(
                world, "b", has, limit_s=600)))


OTHER = "CHANGE MASTER 'old' TO MASTER_HOST='127.0.0.1', MASTER_PORT=1, MASTER_USER='nobody'"


def test_another_channel_and_a_pause_of_the_server_end_no_wait(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel that was stopped on purpose says nothing of the one that is waited for; nor does a
    server that answers late, once in an hour, cost us the session that has the lock."""
    monkeypatch.setattr(keep_alive, "SLICE_S", 0.5)
    with scene(named("mariadb-10.11"), place) as made:
        many(made)
        made.setup()
        made.sql("b", OTHER)
        made.sql("b", "STOP SLAVE")
        made.sql("a", "UPDATE shop.many SET v = 'late'")
        made.sql("b", "START SLAVE IO_THREAD")

        async def wait(world: SetupWorld, has: str) -> None:
            async with await Session.open(world.servers["b"].at) as other:
                await other.run("LOCK TABLES shop.many READ")
                await other.run("START SLAVE SQL_THREAD")
                waiting = asyncio.create_task(keep_alive.caught_up(world, "b", has, limit_s=25))
                await asyncio.sleep(1.2)
                process = made.servers["b"].pid
                os.kill(process, signal.SIGSTOP)
                await asyncio.sleep(3.0)
                os.kill(process, signal.SIGCONT)
                await asyncio.sleep(1.0)
                assert not waiting.done(), waiting.exception()
                await other.run("UNLOCK TABLES")
                assert await waiting

        asyncio.run(_wait(made, wait))


def test_what_the_source_has_not_logged_is_not_waited_for(place: Path) -> None:
    """A MariaDB that was a replica elsewhere, without log_slave_updates, has that position still;
    who was made from its binary log has not, and never will."""
    with scene(named("mariadb-10.11"), place) as made:
        made.setup()
        for statement in ("STOP SLAVE", "RESET SLAVE ALL",
                          "SET GLOBAL gtid_slave_pos = CONCAT('7-77-5,', @@gtid_binlog_pos)"):
            made.sql("a", statement)
        steps = [s["name"] for s in made.setup()["parts"][-1]["steps"]]
        assert "CatchUp.b" in steps


def test_what_asks_the_source_during_a_copy_asks_in_a_session_of_its_own(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that hold the locks are kept from falling silent meanwhile, by another task: two that
    ask in one session lose it, and the lock. A long binary log is looked through for seconds."""
    monkeypatch.setattr(copy_watch, "SESSION_WAIT_TIMEOUT_S", 0.004)
    monkeypatch.setattr(keep_alive, "ALIVE_EVERY_S", 0.0)
    with scene(named("mariadb-10.11"), place) as made:
        made.setup()
        where = made.sql("a", "SHOW MASTER STATUS")[0]

        async def ask(world: SetupWorld, has: str) -> None:
            assert await pair_lock.take(world, "a")
            async with copy_watch.awake(world):
                for _ in range(60):
                    found = await backup_position.gtids_of(
                        world, "a", where["File"], where["Position"], "")
                    await copy_backup._size(world, "a")
            assert found and set(found.split(",")) <= set(has.split(","))
            assert await pair_lock.owned(world, "a")

        asyncio.run(_wait(made, ask))


async def _wait(
    made: Scene, waiting: Callable[[SetupWorld, str], Awaitable[object]]
) -> None:
    async def for_what_a_has(world: SetupWorld) -> None:
        await waiting(world, await executed_text(await world.session("a")))

    await inside(made, for_what_a_has, limit_s=30)
