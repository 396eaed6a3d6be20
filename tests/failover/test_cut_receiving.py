"""MariaDB's I/O thread that gives word tells a hung source of its end for a second: it is not
waited for, and yet takes nothing more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.servers.patience import eventually
from tests.setup.scene import Scene, scene
from tests.setup.stories import named

from slackwater.facts.server import ServerAddress
from slackwater.outside.mysql import semi_sync
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import Session

pytestmark = pytest.mark.servers
TRIES = 8
_IO = "SELECT COMMAND AS c FROM information_schema.PROCESSLIST WHERE ID = %s"


def test_the_thread_of_a_hung_source_is_not_waited_for(place: Path) -> None:
    with scene(named("mariadb-10.11"), place) as made:
        _replicate(made)
        # One that waits never ends within that second; one that does not may be late by chance.
        assert any(_cut_in_time(made) for _ in range(TRIES))
        wait = made.sql("b", "SHOW GLOBAL VARIABLES LIKE 'rpl_semi_sync_slave_kill_conn_timeout'")
        assert wait[0]["Value"] == "5", "the server's own setting is not put back"
        made.sql("a", "CREATE DATABASE after_it")
        eventually(lambda: made.sql("b", "SHOW DATABASES LIKE 'after_it'"), "what came after it")


def _cut_in_time(made: Scene) -> bool:
    """Whether the thread was still telling its source when nothing came any more."""
    made.servers["a"].pause()
    try:
        (io,) = made.sql("b", semi_sync._RECEIVERS)
        asyncio.run(_cut(made))
        found = made.sql("b", _IO, io["ID"])
        assert made.sql("b", "SHOW SLAVE STATUS")[0]["Slave_SQL_Running"] == "No"
    finally:
        made.servers["a"].resume()
    asyncio.run(_begin_again(made))
    eventually(lambda: made.sql("b", "SHOW SLAVE STATUS")[0]["Slave_IO_Running"] == "Yes",
               "replication again")
    return found == [{"c": "Killed"}]


def _replicate(made: Scene) -> None:
    made.sql("a", "CREATE USER r@'127.0.0.1' IDENTIFIED BY 'r'")
    made.sql("a", "GRANT REPLICATION SLAVE ON *.* TO r@'127.0.0.1'")
    made.sql("b", "SET GLOBAL rpl_semi_sync_slave_enabled = 1")
    made.sql("b", "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_USER='r', MASTER_PASSWORD='r',"
                  " MASTER_PORT=%s, MASTER_USE_GTID=slave_pos", made.servers["a"].port)
    made.sql("a", "SET GLOBAL rpl_semi_sync_master_enabled = 1")
    made.sql("b", "START SLAVE")
    eventually(lambda: int(made.sql(
        "a", "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_clients'")[0]["Value"]), "a replica")


def _at(made: Scene) -> ServerAddress:
    return ServerAddress(name="b", host="", port=0, socket=str(made.servers["b"].socket),
                         user="root", password="", tls="off", ca="")


async def _cut(made: Scene) -> None:
    async with await Session.open(_at(made)) as session:
        await semi_sync.cut_receiving(session)
        assert not await semi_sync.receives(session)
        await semi_sync.stop_applying(session)


async def _begin_again(made: Scene) -> None:
    """As where the step is undone: the thread that was killed is waited for."""
    async with await Session.open(_at(made)) as session:
        await mysql_server.stop_receiving(session)
        await mysql_server.start_replica(session)
