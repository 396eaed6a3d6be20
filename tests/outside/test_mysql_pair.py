"""Replication verbs on a real pair, and an account with no more rights than slackwater needs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from slackwater.errors import OutsideError
from slackwater.facts.server import ServerAddress
from slackwater.lab.instance import Instance
from slackwater.outside import server_programs as programs
from slackwater.outside.mysql import server
from slackwater.outside.mysql.account import own_grants
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.session import MysqlError, Session

pytestmark = pytest.mark.servers
WANTED = ("mariadb-10.5", "mariadb-10.11", "mariadb-11.8", "mysql-5.7", "mysql-9.7")


@pytest.fixture(scope="module", params=WANTED)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Instance, Instance]]:
    """Two servers that replicate from each other."""
    found = next((p for p in programs.installed() if p.name == request.param), None)
    if found is None:
        pytest.skip(f"{request.param} is not installed (scripts/servers/get {request.param})")
    home = tmp_path_factory.mktemp(request.param)
    home.chmod(0o755)  # the servers run as another user
    servers = tuple(
        Instance.create(found, home / name, server_id=number, mark=home)
        for number, name in ((1, "a"), (2, "b"))
    )
    try:
        for it in servers:
            it.start()
        asyncio.run(_join(*servers))
        yield servers[0], servers[1]
    finally:
        for it in servers:
            it.kill()
            it.remove()


async def _join(a: Instance, b: Instance) -> None:
    for it, source in ((a, b), (b, a)):
        async with await Session.open(root(it)) as session:
            await session.run("SET SESSION sql_log_bin = 0")
            await session.run("CREATE USER repl@'127.0.0.1' IDENTIFIED BY 'r'")
            await session.run("GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'")
            await server.change_source(session, "127.0.0.1", source.port, "repl", "r")
            await server.start_replica(session)


def root(it: Instance) -> ServerAddress:
    return ServerAddress(it.directory.name, "root", socket=str(it.socket))


@contextlib.asynccontextmanager
async def sessions(pair: tuple[Instance, Instance]) -> AsyncIterator[tuple[Session, Session]]:
    async with await Session.open(root(pair[0])) as a, await Session.open(root(pair[1])) as b:
        yield a, b


def test_positions_go_there_and_back(pair: tuple[Instance, Instance]) -> None:
    async def test() -> None:
        async with sessions(pair) as (a, b):
            await a.run("CREATE DATABASE IF NOT EXISTS t")
            await a.run("CREATE TABLE IF NOT EXISTS t.x (id INT PRIMARY KEY)")
            for writes, reads in ((a, b), (b, a), (a, b)):
                await writes.run("REPLACE INTO t.x VALUES (1)")
                there = await server.executed_text(writes)
                assert await server.wait_executed(reads, there, limit_s=5)
                assert await server.has_executed(reads, there)
                assert await reads.value("SELECT COUNT(*) FROM t.x") == 1
                # What a server wrote itself comes back by its partner's position, and must not
                # be waited for in vain.
                back = await server.executed_text(reads)
                assert await server.wait_executed(writes, back, limit_s=5)

    asyncio.run(test())


def test_status_of_replication_in_one_vocabulary(pair: tuple[Instance, Instance]) -> None:
    async def test() -> None:
        async with sessions(pair) as (a, b):
            await _until_running(b)
            (status,) = await server.replica_status(b)
            assert (status.source_host, status.source_port) == ("127.0.0.1", pair[0].port)
            assert (status.source_server_id, status.source_user) == (1, "repl")
            assert status.auto_position and status.delay_s == 0 and status.errors == ()
            assert (status.source_uuid is None) == b.flavour.mariadb
            assert (await server.look(b, "b")).replication[0].running
            # Neither the applier nor the dump thread is a client.
            assert [s.user for s in await server.client_sessions(a)] == []
            await server.stop_replica(b)
            (status,) = await server.replica_status(b)
            assert not status.io_running and not status.sql_running
            assert status.seconds_behind is None
            await a.run("REPLACE INTO t.x VALUES (2)")
            there = await server.executed_text(a)
            assert not await server.wait_executed(b, there, limit_s=0.2)
            assert await server.kill_dump_threads(a) <= 1
            await server.start_replica(b)
            assert await server.wait_executed(b, there, limit_s=5)

    asyncio.run(test())


async def _until_running(session: Session) -> None:
    for _ in range(1000):
        if all(s.running for s in await server.replica_status(session)):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("replication does not run")


async def _until_closed(session: Session, session_id: int) -> None:
    for _ in range(100):  # whole seconds is all that it knows
        if await server.close_idle(session, [session_id], 1):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("a resting session is never closed")


def test_the_privileges_that_it_asks_for_are_enough(pair: tuple[Instance, Instance]) -> None:
    async def test() -> None:
        async with sessions(pair) as (a, _), await Session.open(root(pair[0])) as admin:
            speaks = dialect(a.flavour)
            own, *everywhere = own_grants(a.flavour)[:-1]  # the last is for `compare`
            await admin.run("SET SESSION sql_log_bin = 0")
            await admin.run("CREATE USER s@localhost IDENTIFIED BY 's'")
            await admin.run(own.format("s@localhost"))
            await admin.run(f"GRANT {', '.join(speaks.needs)} ON *.* TO s@localhost")
            await _what_guardrails_look_for(admin)
            at = ServerAddress("a", "s", "s", socket=str(pair[0].socket))
            async with await Session.open(at) as session:
                blind = ["EVENT", *(f"SELECT on {schema}.*" for schema in speaks.reads)]
                schema = [] if speaks.mariadb else ["SELECT on performance_schema.*"]
                assert await server.missing_privileges(session) == schema
                assert await server.missing_rights(session) == [*schema, *blind]
                assert await server.enabled_events(session) == 0, "there is one, and it is hidden"
                assert "dba" not in await server.privileged_users(session)
            for grant in everywhere:
                await admin.run(grant.format("s@localhost"))
            async with await Session.open(at) as session, await Session.open(at) as lock:
                assert await server.missing_rights(session) == []
                assert await server.enabled_events(session) == 1
                assert ("dba" in await server.privileged_users(session)) == bool(speaks.reads)
                await admin.run("SET GLOBAL event_scheduler = OFF")
                await admin.run("CREATE USER c@localhost IDENTIFIED BY 'c'")
                client = ServerAddress("a", "c", "c", socket=str(pair[0].socket))
                async with await Session.open(client) as victim:
                    await _every_verb(session, lock, victim)
                if a.flavour.min_mysql(8):  # root has SYSTEM_USER: passed over, not an error
                    assert await server.close_idle(session, [admin.connection_id], 0) == []
                assert session.abilities.own_thread or a.flavour.mariadb

    asyncio.run(test())


async def _what_guardrails_look_for(admin: Session) -> None:
    """An event that would run, and an account that writes past read_only."""
    await admin.run("CREATE DATABASE jobs")
    await admin.run("CREATE EVENT jobs.nightly ON SCHEDULE EVERY 1 DAY DO DO 0")
    await admin.run("SET GLOBAL event_scheduler = ON")
    await admin.run("CREATE USER dba@localhost IDENTIFIED BY 'd'")
    right = "READ ONLY ADMIN" if admin.flavour.mariadb else "SUPER"
    await admin.run(f"GRANT {right} ON *.* TO dba@localhost")


async def _every_verb(session: Session, lock: Session, victim: Session) -> None:
    await server.look(session, "a")
    ids = [s.id for s in await server.client_sessions(session)]
    assert victim.connection_id in ids
    await server.open_transactions(session)
    await server.stop_replica(session)
    await server.start_replica(session)
    await server.prepare_lock(lock, wait_timeout_s=2, lock_wait_timeout_s=1)
    await server.lock_all(lock)
    await server.set_read_only(lock, True)
    await server.unlock(lock)
    await server.set_read_only(session, False)
    await server.prepared_xa(session)
    await server.enabled_events(session)
    assert await server.kill(session, victim.connection_id)
    with pytest.raises(OutsideError):
        await victim.rows("SELECT 1")


@pytest.mark.parametrize("name", ["mysql-5.7", "mysql-9.7"])
def test_mysql_without_performance_schema(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = next((p for p in programs.installed() if p.name == name), None)
    if found is None:
        pytest.skip(f"{name} is not installed (scripts/servers/get {name})")
    home: Path = tmp_path_factory.mktemp(name)
    home.chmod(0o755)
    extra = ("--performance-schema=OFF",)
    it = Instance.create(found, home / "a", server_id=1, mark=home, extra=extra)

    async def test() -> None:
        async with await Session.open(root(it)) as session, await Session.open(root(it)) as other:
            await server.look(session, "a")
            assert session.abilities.own_thread is None
            assert not await server.watch_transactions(session)
            (seen,) = await server.client_sessions(session)
            assert seen.id == other.connection_id and seen.sleeping
            assert await server.close_idle(session, [other.connection_id], 1) == []
            await _until_closed(session, other.connection_id)
            assert await server.programs(session, [session.connection_id]) == {}
            with pytest.raises((OutsideError, MysqlError)):
                await other.rows("SELECT 1")

    try:
        it.start()
        asyncio.run(test())
    finally:
        it.kill()
        it.remove()
