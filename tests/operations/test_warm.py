"""The new server has threads for the clients that are let in."""

from __future__ import annotations

import asyncio

import pytest
from tests.servers.pooled import pooled

from slackwater import clock, config
from slackwater.lab.facts import LabFacts
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.switchover import warm
from slackwater.outside.mysql.session import Session
from slackwater.outside.mysql.threads import Threads, threads

OLD = Threads(kept=3, kept_at_most=100, in_use=9, room=500)


@pytest.mark.parametrize(("kept", "at_most", "room", "wanted"), [
    (0, 100, 500, 12),
    (4, 100, 500, 8),
    (20, 100, 500, 0),
    (0, 5, 500, 5),
    (0, 0, 500, 0),  # a pool of threads
    (0, 100, 8, 4),
])
def test_how_many(kept: int, at_most: int, room: int, wanted: int) -> None:
    assert warm.missing(OLD, Threads(kept, at_most, 3, room)) == wanted


def test_no_more_than_a_few_dozen() -> None:
    many = Threads(kept=0, kept_at_most=100, in_use=900, room=100)
    assert warm.missing(many, Threads(0, 100, 3, 1000)) == warm.MOST


@pytest.mark.servers
def test_threads_are_kept(lab: LabFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = list[Session]()
    plain = Session.open

    async def counted(*words: object, **more: object) -> Session:
        opened.append(await plain(*words, **more))  # type: ignore[arg-type]
        return opened[-1]

    async def walk() -> tuple[bool, Threads]:
        world = PairWorld(config.load(lab.config), "lab")
        try:
            await world.connect()
            new = await world.session("b")
            with monkeypatch.context() as patch:
                patch.setattr(Session, "open", counted)
                await warm.warm(world, "a", "b")
            assert all(s.broken for s in opened)
            if not new.flavour.mariadb:
                return False, OLD
            until = clock.mono() + 10  # who has said goodbye has not yet ended
            while (found := await threads(new)).kept < 10 and clock.mono() < until:
                await asyncio.sleep(0.05)
            return True, found
        finally:
            await world.close()

    clients = [pooled(lab) for _ in range(15)]
    mariadb, kept = asyncio.run(walk())
    for client in clients:
        client.close()
    assert bool(opened) is mariadb
    if mariadb:
        assert kept.kept >= 10
        assert len(opened) >= 10


@pytest.mark.servers
def test_a_server_that_takes_no_more_is_left_alone(
    lab: LabFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def walk() -> None:
        world = PairWorld(config.load(lab.config), "lab")
        try:
            await world.connect()
            await world.session("a"), await world.session("b")
            with monkeypatch.context() as patch:
                patch.setattr(warm, "LIMIT_S", 0.0)
                await warm.warm(world, "a", "b")
        finally:
            await world.close()

    asyncio.run(walk())
