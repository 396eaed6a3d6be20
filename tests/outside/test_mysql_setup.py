"""Statements of setting up replication, and what a client that dies meanwhile leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pymysql
import pytest
from tests.servers.fixtures import sql
from tests.servers.patience import eventually
from tests.setup.scene import scene
from tests.setup.stories import named

from slackwater.facts.server import ServerAddress
from slackwater.outside.mysql import setup
from slackwater.outside.mysql.session import Session

pytestmark = pytest.mark.servers
WAITING = "SELECT 1 FROM information_schema.PROCESSLIST WHERE STATE LIKE '%lock%'"
NOW = "SELECT @@GLOBAL.gtid_slave_pos AS pos, @@GLOBAL.gtid_strict_mode AS strict"


@pytest.mark.parametrize("name", ["mariadb-10.5", "mariadb-11.8"])
def test_strict_mode_is_on_again_when_the_client_died_in_between(name: str, place: Path) -> None:
    with scene(named(name), place, 1) as made:
        socket = made.servers["a"].socket
        made.sql("a", "CREATE DATABASE shop")
        at = made.sql("a", "SELECT @@GLOBAL.gtid_binlog_pos AS at")[0]["at"]
        made.sql("a", "CREATE TABLE shop.t (n INT)")  # its own log is ahead: strict mode says no
        lock = pymysql.connect(unix_socket=str(socket), user="root")
        with lock, lock.cursor() as cursor:
            cursor.execute("LOCK TABLES mysql.gtid_slave_pos READ")
            asyncio.run(_begun_and_left(socket, at))
            assert sql(socket, WAITING)
        eventually(lambda: sql(socket, NOW) == [{"pos": at, "strict": 1}],
                   "the position, and strict mode")


async def _begun_and_left(socket: Path, at: str) -> None:
    """The connection is cut while the server waits for the table."""
    session = await Session.open(ServerAddress("a", "root", socket=str(socket)))
    running = asyncio.create_task(setup.begin_behind(session, at))
    await asyncio.to_thread(eventually, lambda: sql(socket, WAITING), "the position being set")
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await session.close()


@pytest.mark.parametrize("name", ["mariadb-10.5", "mariadb-11.8"])
def test_a_server_that_was_killed_while_it_wrote_master_info(name: str, place: Path) -> None:
    with scene(named(name), place, 1) as made:
        it = made.servers["a"]
        asyncio.run(_follow(it.socket))
        it.kill()
        (it.directory / "data/master.info").write_text("")
        it.start()
        with pytest.raises(pymysql.Error, match="1201"):
            made.sql("a", "CHANGE MASTER TO MASTER_HOST='127.0.0.1'")
        asyncio.run(_follow(it.socket))
        assert made.sql("a", "SHOW SLAVE STATUS")[0]["Master_Port"] == 9


async def _follow(socket: Path) -> None:
    async with await Session.open(ServerAddress("a", "root", socket=str(socket))) as session:
        await setup.follow(session, "127.0.0.1", 9, "repl", "x", tls=False)
