"""A replica that is about to catch up applies nothing before it does so no faster than its source
bears."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.servers.patience import eventually
from tests.setup.behind import EACH, SLOW_MS, all_of, behind, caught_up, cut_off, in_world, status
from tests.setup.scene import Scene, scene
from tests.setup.stories import named, verified

from slackwater.errors import StepFailed
from slackwater.operations.setup.catch_up import CatchUp
from slackwater.operations.setup.follow import Follow
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside.mysql import alter as mysql_alter
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan.step import Seen

pytestmark = pytest.mark.servers

FOLLOW = Follow("b", "a", tls=False, waits=True)
LATE = "SELECT COUNT(*) AS n FROM shop.many WHERE v = 'late'"


def _begun(made: Scene, then: Callable[[SetupWorld], Awaitable[object]] | None = None) -> None:
    async def begin(world: SetupWorld) -> None:
        await FOLLOW.do(world)
        assert await FOLLOW.verify(world) is Seen.DONE
        if then is not None:
            await then(world)

    in_world(made, begin)


@EACH
def test_nothing_is_applied_before_it_catches_up(name: str, place: Path) -> None:
    with scene(named(name), place) as made:
        behind(made, begun=False)
        _begun(made)
        eventually(lambda: status(made)[0].io_running, "that it receives")
        time.sleep(0.3)
        assert made.sql("b", LATE) == [{"n": 0}]

        async def catch_up(world: SetupWorld) -> None:
            world.note("waits b", True)
            await CatchUp("b", "a", SLOW_MS).do(world)

        in_world(made, catch_up)
        caught_up(made)


@EACH
def test_what_has_everything_applies_what_comes(name: str, place: Path) -> None:
    with scene(named(name), place) as made:
        made.setup()
        _begun(made, CatchUp("b", "a", SLOW_MS).do)
        assert status(made)[0].running
        verified(made)


def test_a_server_that_refuses_to_begin_is_told_with_its_error(place: Path) -> None:
    with scene(named("mysql-9.7"), place) as made:
        behind(made, begun=False)

        async def may_not(world: SetupWorld) -> None:
            session = await world.session("b")
            user, host = str(await session.value("SELECT CURRENT_USER()")).split("@")
            await session.run("SET SESSION sql_log_bin = 0")
            await session.run("SET GLOBAL super_read_only = OFF")
            await session.run(
                f"REVOKE REPLICATION_SLAVE_ADMIN, SUPER ON *.* FROM '{user}'@'{host}'")
            async with asyncio.timeout(20):
                with pytest.raises(StepFailed, match=r"b does not begin to apply.*1227"):
                    await CatchUp("b", "a", SLOW_MS).do(world)

        _begun(made, may_not)


def test_beside_a_named_connection_it_waits_for_nobody(place: Path) -> None:
    """With another one, neither is started alone."""
    with scene(named("mariadb-10.11"), place) as made:
        made.setup()
        port = made.servers["b"].port  # of itself: it is never connected
        all_of(made, "b", f"CHANGE MASTER 'other' TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}")

        async def begin(world: SetupWorld) -> None:
            with contextlib.suppress(StepFailed):  # the other one has no account to log in with
                await FOLLOW.do(world)
            assert "waits b" not in world.notes

        in_world(made, begin)
        assert next(c for c in status(made) if not c.channel).sql_running


@EACH
def test_cut_off_it_applies(name: str, place: Path) -> None:
    with scene(named(name), place) as made:
        behind(made, begun=False)
        # Then it still asks the source how it answers by itself.
        _begun(made, lambda world: cut_off(world, 0.2))
        assert status(made)[0].sql_running


@EACH
def test_a_start_that_fails_is_undone(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not go on receiving, with nobody who would have it apply."""

    async def no_answer(*_: object) -> None:
        raise StepFailed("no answer")

    monkeypatch.setattr(mysql_server, "start_receiving", no_answer)
    with scene(named(name), place) as made:
        behind(made, begun=False)

        async def begin(world: SetupWorld) -> None:
            with pytest.raises(StepFailed, match="no answer"):
                await FOLLOW.do(world)
            assert await FOLLOW.verify(world) is Seen.NOT_DONE
            await FOLLOW.undo(world)

        in_world(made, begin)
        assert status(made) == ()


@EACH
def test_what_does_not_apply_has_not_caught_up(name: str, place: Path) -> None:
    with scene(named(name), place) as made:
        made.setup()

        async def stopped(world: SetupWorld) -> None:
            step = CatchUp("b", "a", SLOW_MS)
            await step.do(world)
            assert await step.verify(world) is Seen.DONE
            await mysql_alter.stop_applier(await world.session("b"))
            assert await step.verify(world) is Seen.NOT_DONE

        in_world(made, stopped)
