"""Sessions that are rarely used are ended by way of their balancer."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.operations.test_close_idle import closed
from tests.servers.pooled import pooled
from tests.sweep.front import Front

from slackwater import config
from slackwater.lab.facts import LabFacts
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.switchover import end_by_balancer, settle_sessions
from slackwater.outside.mysql import server as mysql_server
from slackwater.rules.settle import RARELY_USED_MS

pytestmark = pytest.mark.servers

FEW = 6
WRITING = (
    "CREATE TABLE IF NOT EXISTS t_ways (i INT)", "BEGIN", "INSERT INTO t_ways VALUES (1)",
)
RESTED_S = RARELY_USED_MS / 1000 + 0.3
Settle = Callable[[], Awaitable[set[int]]]


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The ids that the server itself is told to close."""
    found: set[int] = set()
    real = mysql_server.close_idle_and_look

    async def told(session: Any, ids: Sequence[int], *args: Any, **more: Any) -> Any:
        found.update(ids)
        return await real(session, ids, *args, **more)

    monkeypatch.setattr(mysql_server, "close_idle_and_look", told)
    return found


def settling(lab: LabFacts, act: Callable[[PairWorld, Settle], Awaitable[None]]) -> None:
    """Run `act` with a world that looked as before a hold, and what settles its sessions."""

    async def walk() -> None:
        world = PairWorld(config.load(lab.config), "lab")
        try:
            await world.connect()
            session = await world.servers["a"].session()
            world.ways = await end_by_balancer.ways(world, "a", ("lb1",))
            world.looked = await settle_sessions.look(world, "a")
            sessions = settle_sessions._Settling(world, "a", session, None)

            async def settle() -> set[int]:
                for _ in range(100):
                    if await sessions.close_resting_and_look():
                        break
                    await sessions.pause()
                return sessions.closed

            await act(world, settle)
        finally:
            await world.close()

    asyncio.run(walk())


def test_they_are_ended_there_and_those_in_use_or_in_a_transaction_are_not(
    lab: LabFacts, killed: set[int]
) -> None:
    rarely = [pooled(lab) for _ in range(FEW)]
    writing = pooled(lab, *WRITING)
    time.sleep(RESTED_S)
    used = pooled(lab)

    async def act(world: PairWorld, settle: Settle) -> None:
        ended = await settle()
        assert {s.thread_id() for s in rarely} | {used.thread_id()} == ended
        assert killed == {used.thread_id()}

    settling(lab, act)
    assert all(closed(s) for s in [*rarely, used])
    writing.cursor().execute("COMMIT")
    assert not closed(writing)


def test_a_pointer_that_is_anothers_by_now_ends_nobody(lab: LabFacts, killed: set[int]) -> None:
    gone, innocent = pooled(lab), pooled(lab, *WRITING)
    time.sleep(RESTED_S)

    async def act(world: PairWorld, settle: Settle) -> None:
        assert world.looked is not None
        hosts = {s.id: s.host for s in world.looked.sessions}
        mine, other = hosts[gone.thread_id()], hosts[innocent.thread_id()]
        world.ways[mine] = replace(world.ways[mine], pointer=world.ways[other].pointer)
        assert await settle() == {gone.thread_id()}

    settling(lab, act)
    assert killed == {gone.thread_id()}  # by its server, since there was no way
    assert not closed(innocent)


def test_a_balancer_that_hangs_leaves_them_to_the_server(lab: LabFacts, killed: set[int]) -> None:
    rarely = [pooled(lab) for _ in range(FEW)]
    time.sleep(RESTED_S)
    front = Front(lab.directory, "lb1", lab.balancers["lb1"])

    async def act(world: PairWorld, settle: Settle) -> None:
        assert len(world.ways) >= FEW
        front.signal(signal.SIGSTOP)
        try:
            assert await end_by_balancer.ways(world, "a", ("lb1",)) == {}
            assert await settle() == {s.thread_id() for s in rarely}
        finally:
            front.signal(signal.SIGCONT)

    settling(lab, act)
    assert killed == {s.thread_id() for s in rarely}
