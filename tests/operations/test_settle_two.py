"""Two sessions share the closing on MySQL since 8.0: one that fails leaves the other its work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.operations.test_close_idle import closed
from tests.servers.fixtures import sql
from tests.servers.pooled import pooled

from slackwater import config
from slackwater.lab.facts import LabFacts
from slackwater.operations.pair_world import Looked, PairWorld
from slackwater.operations.switchover import settle_sessions
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import Session

pytestmark = pytest.mark.servers

MANY = 12


def settling(
    lab: LabFacts,
    act: Callable[[PairWorld, settle_sessions._Settling, Session, Session], Awaitable[None]],
) -> None:
    """Run `act` with both sessions of a world, learned and looked as before a hold."""

    async def walk() -> None:
        world = PairWorld(config.load(lab.config), "lab")
        try:
            await world.connect()
            session, spare = world.servers["a"].control, world.servers["a"].spare
            assert session is not None
            assert spare is not None
            if not mysql_server.kill_waits(session):
                pytest.skip("one session closes alone here")
            world.looked = await settle_sessions.look(world, "a")
            await act(world, settle_sessions._Settling(world, "a", session, spare), session, spare)
        finally:
            await world.close()

    asyncio.run(walk())


def test_a_lost_spare_session_leaves_the_other_its_work(lab: LabFacts) -> None:
    idle = [pooled(lab) for _ in range(MANY)]
    time.sleep(0.2)

    async def act(
        world: PairWorld, sessions: settle_sessions._Settling, session: Session, spare: Session
    ) -> None:
        sql(lab.servers["a"]["socket"], f"KILL {spare.connection_id}")
        await asyncio.sleep(0.05)
        for _ in range(100):
            if await sessions.close_resting_and_look():
                break
            await sessions.pause()
        assert session.broken is None
        assert len(sessions.closed) == MANY

    settling(lab, act)
    assert all(closed(s) for s in idle)


def test_a_spare_session_lost_before_is_no_reason_to_stop(lab: LabFacts) -> None:
    async def act(
        world: PairWorld, _: settle_sessions._Settling, session: Session, spare: Session
    ) -> None:
        sql(lab.servers["a"]["socket"], f"KILL {spare.connection_id}")
        await asyncio.sleep(0.05)
        spare.abilities = None  # as where it has learned nothing yet
        await settle_sessions.look(world, "a")
        assert session.broken is None

    settling(lab, act)


def test_a_look_is_as_old_as_it_is_when_the_other_session_ends_late(
    lab: LabFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that only our look tells who is in a transaction.
    sql(lab.servers["a"]["socket"],
        "UPDATE performance_schema.setup_instruments SET ENABLED='NO' WHERE NAME='transaction'")
    idle = [pooled(lab) for _ in range(MANY)]
    writing = pooled(lab, "CREATE TABLE t_late (i INT)")
    real = mysql_server.close_idle

    async def late(*args: Any, **more: Any) -> list[int]:
        found = await real(*args, **more)
        await asyncio.sleep(0.2)  # the other one has looked
        writing.begin()
        writing.cursor().execute("INSERT INTO t_late VALUES (1)")
        await asyncio.sleep(0.1)
        return found

    time.sleep(0.2)

    async def act(
        world: PairWorld, sessions: settle_sessions._Settling, session: Session, spare: Session
    ) -> None:
        # It rests in our look, begins while the spare is at work, and rests again.
        assert world.looked is not None
        last = max(s.id for s in world.looked.sessions)
        found = [s for s in world.looked.sessions if s.id != last]
        sessions._last = Looked(
            world.looked.asked, found, world.looked.transactions)
        monkeypatch.setattr(mysql_server, "close_idle", late)
        await sessions.close_resting_and_look()
        monkeypatch.setattr(mysql_server, "close_idle", real)
        assert [s.id for s in sessions.left] == [last]
        await sessions.close_resting_and_look()

    settling(lab, act)
    assert all(closed(s) for s in idle)
    writing.commit()
