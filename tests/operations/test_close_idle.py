"""Pools that rest for long are closed before anybody waits for it; the others in the hold."""

from __future__ import annotations

import asyncio
import time

import pymysql
import pytest
from tests.servers.command import slackwater
from tests.servers.pooled import pooled

from slackwater import config
from slackwater.lab.facts import LabFacts
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.switchover.close_idle import CloseIdle
from slackwater.plan.step import Seen
from slackwater.rules.settle import MANY

pytestmark = pytest.mark.servers


def closed(session: pymysql.Connection) -> bool:
    try:
        session.cursor().execute("SELECT 1")
    except pymysql.err.OperationalError:
        return True
    return False


def close_idle(lab: LabFacts, rest_s: float) -> dict[str, object]:
    async def walk() -> dict[str, object]:
        world, step = PairWorld(config.load(lab.config), "lab"), CloseIdle("a", rest_s)
        try:
            await world.connect()
            assert await step.verify(world) is Seen.NOT_DONE
            await step.do(world)
            assert await step.verify(world) is Seen.DONE
            return world.figures
        finally:
            await world.close()

    return asyncio.run(walk())


def test_who_rests_for_long_is_closed(lab: LabFacts) -> None:
    idle = [pooled(lab) for _ in range(MANY)]
    writing = pooled(lab, "BEGIN", "CREATE TABLE IF NOT EXISTS t_idle (i INT)", "BEGIN",
                     "INSERT INTO t_idle VALUES (1)")
    # A MySQL without Performance Schema tells rests in whole seconds, and we ask for one more.
    time.sleep(2.5)
    fresh = pooled(lab)
    assert close_idle(lab, 1.0)["sessions_closed_early"] == MANY
    assert [closed(s) for s in idle] == [True] * MANY
    assert not closed(fresh)
    assert not closed(writing)
    writing.cursor().execute("COMMIT")


def test_a_few_are_left_to_the_hold_which_closes_them_all(lab: LabFacts) -> None:
    idle = [pooled(lab) for _ in range(MANY - 1)]
    time.sleep(1.5)
    assert close_idle(lab, 1.0)["sessions_closed_early"] == 0
    assert not any(closed(s) for s in idle)
    report = slackwater(lab, "switchover").report
    assert (report["outcome"], report["sessions_closed"]) == ("done", MANY - 1), report
    assert all(closed(s) for s in idle)
