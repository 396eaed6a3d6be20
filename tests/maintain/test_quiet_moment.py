"""The quiet moment on real servers: who is named, who does not count, when it is quiet."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pymysql
import pytest
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually

from slackwater.facts.server import ServerAddress
from slackwater.lab import accounts
from slackwater.lab.instance import Instance
from slackwater.operations.quiet_moment import Quiet, look_for_quiet, wait_for_quiet
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import Session

pytestmark = pytest.mark.servers


def connect(server: Instance) -> pymysql.Connection:
    return pymysql.connect(unix_socket=str(server.socket), user="root", autocommit=True,
                           program_name="cron-job")


def sleep(client: pymysql.Connection) -> None:
    with contextlib.suppress(pymysql.MySQLError):  # MariaDB calls the end an error
        client.cursor().execute("SELECT SLEEP(60)")


def at(server: Instance) -> ServerAddress:
    return ServerAddress(name="s", user="root", socket=str(server.socket))


def wait(server: Instance, *, older_than_s: float, gone: bool, limit_s: float) -> Quiet:
    async def ask() -> Quiet:
        async with await Session.open(at(server)) as session:
            return await wait_for_quiet(
                session, older_than_s=older_than_s, limit_s=limit_s, clients_gone=gone
            )

    return asyncio.run(ask())


def test_who_is_there_is_named_and_who_is_gone_is_not(server: Instance) -> None:
    """An idle client, one in a transaction, one with a running statement; then none."""
    sql(server.socket, "SET GLOBAL read_only = 0")
    sql(server.socket, "CREATE DATABASE d")
    sql(server.socket, "CREATE TABLE d.t (n INT PRIMARY KEY) ENGINE=InnoDB")
    assert wait(server, older_than_s=0, gone=True, limit_s=20 * PATIENCE).reached
    idle, busy, running = connect(server), connect(server), connect(server)
    busy.begin()
    busy.cursor().execute("INSERT INTO d.t VALUES (1)")
    statement = threading.Thread(target=sleep, args=(running,))
    statement.start()
    try:
        def ages() -> list[str]:
            found = wait(server, older_than_s=1, gone=False, limit_s=0)
            return [str(one) for one in found.left] if len(found.left) == 2 else []

        said = eventually(ages, "the statement and the transaction are older than a second")
        assert any("SELECT SLEEP(60)" in line and "a statement for" in line for line in said)
        assert any("a transaction open for" in line for line in said)
        everybody = wait(server, older_than_s=0, gone=True, limit_s=0)
        assert len(everybody.left) == 3
        assert "root@localhost" in everybody.who()
        if not server.program.is_mariadb:  # it has no Performance Schema in the lab
            assert "cron-job" in everybody.who()
    finally:
        sql(server.socket, f"KILL QUERY {running.thread_id()}")
        statement.join()
        for client in (idle, busy, running):
            client.close()
    assert wait(server, older_than_s=0, gone=True, limit_s=20 * PATIENCE).reached


@pytest.mark.one_flavour
def test_our_own_sessions_and_account_do_not_count(server: Instance) -> None:
    async def ask() -> tuple[int, int, int]:
        async with await Session.open(at(server)) as one, await Session.open(at(server)) as two:
            assert await mysql_server.server_id(two) == 1
            everybody, ids, user = [
                await look_for_quiet(one, older_than_s=0, clients_gone=True, **known)
                for known in ({}, {"exclude_ids": {two.connection_id}}, {"exclude_user": "root"})
            ]
            return len(everybody), len(ids), len(user)

    assert asyncio.run(ask()) == (1, 0, 0)


@pytest.mark.one_flavour
def test_replication_does_not_count(pair: tuple[Instance, Instance]) -> None:
    """A source's dump threads and a replica's own threads are no clients."""
    a, b = pair
    passwords = dict.fromkeys(("slackwater", "app", "repl"), "abcdefgh12345678")
    for one in pair:
        asyncio.run(accounts.make_accounts(one, passwords))
    asyncio.run(accounts.follow(b, a, passwords["repl"]))
    asyncio.run(accounts.make_database(a))
    asyncio.run(accounts.wait_replicated(b))
    for one in pair:
        assert wait(one, older_than_s=0, gone=True, limit_s=20 * PATIENCE).reached
