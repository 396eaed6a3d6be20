"""A large result is taken as fast as it is used; left half read, it ends its session."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from slackwater.facts.server import ServerAddress
from slackwater.lab.instance import Instance
from slackwater.outside.mysql import logical_copy
from slackwater.outside.mysql.logical_copy import Progress
from slackwater.outside.mysql.row_text import Column, Table
from slackwater.outside.mysql.session import Session

pytestmark = pytest.mark.servers


def _root(server: Instance) -> ServerAddress:
    return ServerAddress("s", "root", socket=str(server.socket))


def test_a_copy_that_cannot_be_written_says_so_and_leaves_no_half_read_session(
    server: Instance,
) -> None:
    table = Table("mysql", "proc", 0, (Column("name", "char"),))  # it is never written
    text = f"(SELECT REPEAT('x', {2**20}) AS name FROM information_schema.COLLATIONS) AS t"

    class Large(Table):
        @property
        def select(self) -> str:
            return f"SELECT {self.row} FROM {text}"

    async def run() -> None:
        async with await Session.open(_root(server)) as source, \
                await Session.open(_root(server)) as target:
            await logical_copy.begin_snapshot(source)
            target.drop("its server is gone")
            with pytest.raises(ExceptionGroup) as failed:
                await logical_copy.copy_table(
                    source, target, Large(table.schema, table.name, 0, table.columns),
                    Progress(0), 2**24, lambda: None)
            assert "its server is gone" in str(failed.value.exceptions[0])
            assert source.broken is not None

    asyncio.run(run())


def test_a_slow_taker_of_a_large_result_has_the_server_wait(server: Instance) -> None:
    megabyte = 2**20

    async def run() -> int:
        async with await Session.open(_root(server)) as session:
            rows = 0
            async for some in session.stream(
                f"SELECT REPEAT('x', {megabyte}) FROM information_schema.COLLATIONS LIMIT 200",
            ):
                if not rows:
                    await asyncio.sleep(0.3)  # all of them come in that time, if they may
                rows += len(some)
            return rows

    tracemalloc.start()
    try:
        assert asyncio.run(run()) == 200
        assert tracemalloc.get_traced_memory()[1] < 20 * megabyte
    finally:
        tracemalloc.stop()
