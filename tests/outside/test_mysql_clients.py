"""Clients' sessions, seen and ended: against every server on this machine."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.outside.real_mysql import INSERT, PASSWORD, app, running, until, with_sessions

from slackwater.errors import OutsideError
from slackwater.lab.instance import Instance
from slackwater.lab.wire import Credentials
from slackwater.lab.wire_session import Session as Wire
from slackwater.outside.mysql import server
from slackwater.outside.mysql.clients import CHUNK
from slackwater.outside.mysql.session import Session

__all__ = ["running"]

pytestmark = pytest.mark.servers


def test_sees_clients_and_how_long_they_rest(running: Instance) -> None:
    async def test(control: Session, client: Session) -> None:
        async def seen() -> object:
            found = {s.id: s for s in await server.client_sessions(control)}
            return found[client.connection_id]

        assert control.connection_id not in {
            s.id for s in await server.client_sessions(control)
        }
        await client.rows("SELECT SLEEP(0.3)")
        rest = await seen()
        assert rest.sleeping and rest.user == "app"  # type: ignore[attr-defined]
        assert rest.idle_ms < 250  # type: ignore[attr-defined]  # not counted from its start
        busy = asyncio.create_task(client.rows("SELECT SLEEP(0.3)"))

        async def is_busy() -> bool:
            return "SLEEP" in (await seen()).info  # type: ignore[attr-defined]

        await until(is_busy)
        assert (await seen()).idle_ms is None  # type: ignore[attr-defined]
        await busy

    with_sessions(running, test)


def test_sees_who_has_not_logged_in(running: Instance) -> None:
    async def test(control: Session, client: Session) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)

        async def connecting() -> bool:
            found = await server.client_sessions(control)
            return any(s.command == "Connect" and s.idle_ms is None for s in found)

        await until(connecting)
        writer.close()

    with_sessions(running, test)


def test_what_of_a_session_is_not_seen(running: Instance) -> None:
    """As docs/what-if.md and docs/decisions/0002 say it: who holds this can be closed."""

    async def test(control: Session, client: Session) -> None:
        changed = await server.watch_transactions(control)

        async def seen(*statements: str) -> bool:
            for statement in statements:
                await client.run(statement)
            return client.connection_id in await server.open_transactions(control)

        mariadb = running.program.is_mariadb
        assert await seen("BEGIN") == (not mariadb)
        assert not await seen("COMMIT")
        assert await seen("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        assert not await seen("COMMIT")
        assert not await seen("SELECT GET_LOCK('job', 1)")
        assert not await seen("LOCK TABLES t.x WRITE")
        assert not await seen("UNLOCK TABLES", "DO RELEASE_LOCK('job')")
        if changed:
            await server.unwatch_transactions(control)

    with_sessions(running, test)


def test_sees_transactions_live(running: Instance) -> None:
    async def test(control: Session, client: Session) -> None:
        changed = await server.watch_transactions(control)
        assert changed == (running.program.name == "mysql-5.7")
        for _ in range(3):  # quicker than InnoDB renews INNODB_TRX
            await client.run("BEGIN")
            await client.rows("SELECT * FROM t.x")
            assert client.connection_id in await server.open_transactions(control)
            await client.run("COMMIT")
            assert await server.open_transactions(control) == {}
            await client.run("BEGIN")
            await client.run(INSERT)
            assert client.connection_id in await server.open_transactions(control)
            await client.run("ROLLBACK")
            assert await server.open_transactions(control) == {}
        if changed:
            await server.unwatch_transactions(control)
            assert not await _transactions_watched(control)

    with_sessions(running, test)


async def _transactions_watched(control: Session) -> bool:
    sql = "SELECT ENABLED FROM performance_schema.setup_instruments WHERE NAME = 'transaction'"
    return bool(await control.value(sql) == "YES")


def test_closes_who_rests_and_looks_in_one_go(running: Instance) -> None:
    async def test(control: Session, client: Session) -> None:
        rests = await Session.open(app(running))
        busy = asyncio.create_task(client.rows("SELECT SLEEP(2)"))
        not_there = range(900_000, 900_000 + CHUNK)
        ids = [*not_there, rests.connection_id, client.connection_id, 987654]

        async def closed() -> bool:
            found, left, _ = await server.close_idle_and_look(control, ids, 20)
            seen = {s.id for s in left if s.command != "Killed"}
            assert client.connection_id in seen
            assert found in ([], [rests.connection_id])
            assert (rests.connection_id in seen) is not bool(found)
            return bool(found)

        assert await until(closed) < 1.5
        assert len(await busy) == 1
        with pytest.raises(OutsideError):
            await rests.rows("SELECT 1")

    with_sessions(running, test)


def test_who_began_a_transaction_since_the_look_is_not_closed(running: Instance) -> None:
    if running.program.name == "mysql-5.7":
        pytest.skip("tells of transactions only while it is watched")

    async def test(control: Session, client: Session) -> None:
        await asyncio.sleep(0.1)  # it rested for long at the look
        _, transactions = await server.clients_and_transactions(control)
        assert transactions == {}
        await client.run("BEGIN")
        await client.run(INSERT)
        await asyncio.sleep(0.05)
        assert await server.close_idle(control, [client.connection_id], 20) == []
        found, _, transactions = await server.close_idle_and_look(
            control, [client.connection_id], 20)
        assert found == [] and client.connection_id in transactions
        await client.run("ROLLBACK")
        await server.clients_and_transactions(control)

        async def closed() -> bool:
            return bool(await server.close_idle(control, [client.connection_id], 20))

        assert await until(closed) < 3

    with_sessions(running, test)


def test_closes_only_who_rests_long_enough(running: Instance) -> None:
    async def test(control: Session, client: Session) -> None:
        clients = [await Session.open(app(running)) for _ in range(20)]
        ids = [c.connection_id for c in clients]
        busy = asyncio.create_task(client.rows("SELECT SLEEP(0.5)"))
        wanted = [*ids, client.connection_id, 987654]
        assert await server.close_idle(control, wanted, 60_000) == []
        closed: set[int] = set()

        async def all_closed() -> bool:
            closed.update(await server.close_idle(control, wanted, 20))
            return closed >= set(ids)

        assert await until(all_closed) < 3
        assert closed == set(ids)
        assert await server.close_idle(control, [987654], 0) == []
        assert len(await busy) == 1
        for one in clients:
            with pytest.raises(OutsideError):
                await one.rows("SELECT 1")

    with_sessions(running, test)


def test_who_has_just_logged_in_has_not_rested_for_as_long_as_the_one_before(
    running: Instance,
) -> None:
    # MySQL's Performance Schema keeps some hundred places for sessions, in turns.
    def log_in() -> Wire:
        return Wire(str(running.socket), Credentials("app", PASSWORD))

    async def test(control: Session, client: Session) -> None:
        for _ in range(600):
            with log_in() as before:
                before.run("SELECT 1")
        await asyncio.sleep(0.5)
        with contextlib.ExitStack() as open_ones:
            for _ in range(40):
                open_ones.enter_context(log_in())
            seen = [s for s in await server.client_sessions(control)
                    if s.user == "app" and s.id != client.connection_id]
            assert len(seen) == 40
            assert {s.last_command for s in seen} == {""}
            assert max(s.idle_ms or 0 for s in seen) < 400
            assert await server.close_idle(control, [s.id for s in seen], 400) == []

    with_sessions(running, test)


def test_kills_and_names_sessions(running: Instance) -> None:
    async def test(control: Session, client: Session) -> None:
        named = await server.programs(control, [client.connection_id])
        has_attributes = not control.flavour.mariadb
        assert named == ({client.connection_id: "slackwater"} if has_attributes else {})
        assert await server.kill(control, client.connection_id)
        await until(lambda: _gone(control, client.connection_id))
        assert not await server.kill(control, client.connection_id)

    with_sessions(running, test)


async def _gone(control: Session, session_id: int) -> bool:
    return not await server.end_session(control, session_id)
