"""A pair whose passive has much to apply, and what tests ask of it and do to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterator

import pymysql
import pytest
from tests.setup.scene import Scene
from tests.setup.stories import many

from slackwater.config import load
from slackwater.facts.replication import ReplicaStatus
from slackwater.operations.setup.catch_up import CatchUp
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside.mysql.server import replica_status
from slackwater.outside.mysql.session import Session

SLOW_MS = 25.0
WRITES = 3000
EACH = pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-5.7", "mysql-9.7"])


def word(made: Scene) -> str:
    program = made.servers["b"].program
    return "SLAVE" if program.is_mariadb or program.version < (8, 0, 22) else "REPLICA"


def behind(made: Scene, *, without: int = 0, begun: bool = True) -> None:
    """A pair whose passive has thousands of transactions to apply; it lacks row `without`."""
    many(made)
    made.setup()
    said = word(made)
    made.sql("b", f"STOP {said}")
    if without:
        made.sql("b", "SET GLOBAL read_only = 0")
        all_of(made, "b", "SET SESSION sql_log_bin = 0",
               f"DELETE FROM shop.many WHERE id = {without}")
    all_of(made, "a", *(f"UPDATE shop.many SET v = 'late' WHERE id = {n}"
                        for n in range(1, WRITES + 1)))
    if begun:
        made.sql("b", f"START {said}")


def all_of(made: Scene, name: str, *statements: str) -> None:
    with pymysql.connect(unix_socket=str(made.servers[name].socket), user="root",
                         autocommit=True) as link, link.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


async def applies(session: Session) -> bool:
    return (await replica_status(session))[0].sql_running


def status(made: Scene) -> tuple[ReplicaStatus, ...]:
    found: list[ReplicaStatus] = []

    async def ask(world: SetupWorld) -> None:
        found.extend(await replica_status(await world.session("b")))

    in_world(made, ask)
    return tuple(found)


def caught_up(made: Scene) -> None:
    count = "SELECT COUNT(*) AS n FROM shop.many WHERE v = 'late'"
    assert made.sql("b", count) == made.sql("a", count) != [{"n": 0}]
    assert status(made)[0].running


def in_world(made: Scene, what: Callable[[SetupWorld], Awaitable[object]]) -> None:
    """Do it as a step would be done, within a minute."""
    asyncio.run(inside(made, what, limit_s=60))


async def inside(
    made: Scene, what: Callable[[SetupWorld], Awaitable[object]], *, limit_s: float
) -> None:
    """The same, for who is asynchronous already."""
    settings = load(made.config)
    world = SetupWorld(settings, settings.group("shop"))
    await world.connect()
    try:
        async with asyncio.timeout(limit_s):
            await what(world)
    finally:
        await world.close()


async def cut_off(world: SetupWorld, after_s: float) -> None:
    """Begin to catch up, and end that."""
    waiting = asyncio.ensure_future(CatchUp("b", "a", SLOW_MS).do(world))
    await asyncio.sleep(after_s)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting


@contextlib.contextmanager
def paused(made: Scene) -> Iterator[None]:
    """The source answers nobody meanwhile."""
    os.kill(made.servers["a"].pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(made.servers["a"].pid, signal.SIGCONT)
