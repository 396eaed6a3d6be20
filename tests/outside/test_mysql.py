"""The verbs of a database server, against every server on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.outside.real_mysql import INSERT, PASSWORD, app, root, running, until, with_sessions

from slackwater.errors import OutsideError
from slackwater.facts.server import ServerAddress
from slackwater.lab.instance import Instance
from slackwater.outside.mysql import server
from slackwater.outside.mysql.session import MysqlError, Session

__all__ = ["running"]

pytestmark = pytest.mark.servers


def test_looks(running: Instance) -> None:
    async def test(control: Session, client: Session) -> None:
        facts = await server.look(control, "s")
        assert str(facts.flavour).lower().replace(" ", "-").startswith(running.program.name)
        assert (facts.server_id, facts.port, facts.writable) == (7, running.port, True)
        assert facts.log_bin and facts.log_replica_updates and facts.sync_binlog == 1
        assert (facts.super_read_only is None) == facts.flavour.mariadb
        assert facts.executed and facts.replication == ()
        assert await server.has_executed(control, str(facts.executed))
        assert await server.missing_privileges(control) == []
        assert "RELOAD" in await server.missing_privileges(client)
        privileged = await server.privileged_users(control)
        assert ("root" in privileged) == facts.flavour.mariadb and "app" not in privileged
        assert (await server.prepared_xa(control), await server.enabled_events(control)) == (0, 0)
        told = None if running.program.name.startswith("mysql-5.7") else True
        assert await server.read_only_unset(control) is told  # the first test of this server

    with_sessions(running, test)


def test_with_an_authority_there_is_no_way_back_to_plain(
    running: Instance, tmp_path: Path
) -> None:
    """Whether the server has no TLS, or a certificate that the authority did not sign."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-subj", "/CN=somebody", "-keyout", str(tmp_path / "key"),
         "-out", str(tmp_path / "ca")], check=True, capture_output=True)

    async def login() -> None:
        at = app(running, socket="", host="127.0.0.1", port=running.port, tls="preferred",
                 ca=str(tmp_path / "ca"))
        async with await Session.open(at):
            pass

    with pytest.raises(OutsideError):
        asyncio.run(login())


@pytest.mark.parametrize("tls", ["off", "preferred", "required"])
def test_logs_in_over_tcp(running: Instance, tls: str) -> None:
    async def test() -> None:
        at = app(running, socket="", host="127.0.0.1", port=running.port, tls=tls)
        try:
            async with await Session.open(at) as session:
                row = (await session.rows("SHOW STATUS LIKE 'Ssl_cipher'"))[0]
                assert row["Value"] == "" or tls != "off"
                assert row["Value"] != "" or tls != "required"
        except OutsideError as error:
            # MariaDB before 11.4 and this build of 5.7 have no certificate of their own.
            assert tls == "required", error

    asyncio.run(test())


def test_what_was_given_up_is_not_delivered_later(running: Instance) -> None:
    """The kernel throws it away (tests/sweep/test_network.py); a goodbye is still delivered."""

    async def test() -> tuple[bytes, str]:
        async with await Session.open(root(running)) as watch:
            at = ServerAddress("s", "app", host="127.0.0.1", port=running.port, password=PASSWORD)
            aborted = "SHOW GLOBAL STATUS LIKE 'Aborted_clients'"
            before = (await watch.rows(aborted))[0]["Value"]
            session = await Session.open(at)
            sock = session._connection._transport.get_extra_info("socket")
            linger = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
            await session.close()
            async with asyncio.timeout(20):
                gone = session.connection_id
                while gone in {s.id for s in await server.client_sessions(watch)}:
                    await asyncio.sleep(0.01)
            after = (await watch.rows(aborted))[0]["Value"]
            return linger, f"{before} {after}"

    linger, aborted = asyncio.run(test())
    assert struct.unpack("ii", linger) == (1, 0)
    assert len(set(aborted.split())) == 1


def test_a_wrong_password_is_told_without_it(running: Instance) -> None:
    async def test() -> None:
        with pytest.raises(MysqlError) as caught:
            at = ServerAddress("s", "app", "not-this", host="127.0.0.1", port=running.port)
            await Session.open(at)
        assert (caught.value.code, caught.value.sent) == (1045, False)
        assert "not-this" not in str(caught.value)

    asyncio.run(test())


def test_an_expired_password_is_called_so(running: Instance) -> None:
    async def test() -> None:
        async with await Session.open(root(running)) as control:
            await control.run("CREATE USER late@localhost IDENTIFIED BY %s", PASSWORD)
            try:
                await control.run("ALTER USER late@localhost PASSWORD EXPIRE")
                with pytest.raises(MysqlError, match=r"password (of late )?has expired") as caught:
                    at = ServerAddress("s", "late", PASSWORD, socket=str(running.socket))
                    async with await Session.open(at) as session:  # MariaDB lets it in
                        await session.rows("SELECT 1")
                assert PASSWORD not in str(caught.value)
            finally:
                await control.run("DROP USER late@localhost")

    asyncio.run(test())


def test_read_only(running: Instance) -> None:
    async def test(control: Session, client: Session) -> None:
        await server.set_read_only(control, True)
        assert not await server.is_writable(control)
        with pytest.raises(MysqlError) as caught:
            await client.run(INSERT)
        assert (caught.value.code, caught.value.sent) == (1290, False)
        await server.set_read_only(control, False)
        assert await server.is_writable(control)
        assert await client.run(INSERT) == 1

    with_sessions(running, test)


def test_who_waited_behind_the_lock_fails_and_never_commits(running: Instance) -> None:
    async def test(control: Session, client: Session) -> None:
        lock = await Session.open(root(running))
        await server.prepare_lock(lock, wait_timeout_s=5, lock_wait_timeout_s=1)
        position = await server.lock_all(lock)
        write = asyncio.create_task(client.run(INSERT))
        await until(lambda: _waits(control, client))
        await server.set_read_only(lock, True)
        await server.unlock(lock)
        with pytest.raises(MysqlError) as caught:
            await write
        assert caught.value.code == 1290
        assert await server.executed_text(control) == position
        await lock.close()

    with_sessions(running, test)


async def _waits(control: Session, client: Session) -> bool:
    seen = {s.id: s for s in await server.client_sessions(control)}
    return "lock" in seen[client.connection_id].state.lower()


@pytest.mark.parametrize("end", ["expires", "dies"])
def test_the_server_frees_the_lock_of_a_holder_that_is_gone(running: Instance, end: str) -> None:
    async def test(control: Session, client: Session) -> None:
        lock = await Session.open(root(running))
        await server.prepare_lock(lock, wait_timeout_s=1, lock_wait_timeout_s=1)
        await server.lock_all(lock)
        begun = time.monotonic()
        if end == "dies":
            lock.drop("as if killed")
        assert await client.run(INSERT, limit_s=5) == 1
        took = time.monotonic() - begun
        assert took < 0.5 if end == "dies" else 0.8 < took < 2.5
        # And then it cannot make the server read-only: that is the proof that it was held.
        with pytest.raises(OutsideError):
            await server.set_read_only(lock, True)
        assert await server.is_writable(control)

    with_sessions(running, test)


def test_a_lock_that_fails_leaves_nothing(running: Instance) -> None:
    async def test(control: Session, client: Session) -> None:
        lock, other = await Session.open(root(running)), await Session.open(root(running))
        await other.run("LOCK TABLES t.x WRITE")
        await server.prepare_lock(lock, wait_timeout_s=5, lock_wait_timeout_s=1)
        with pytest.raises(MysqlError) as caught:
            await server.lock_all(lock)
        assert caught.value.code == 1205
        assert lock.broken
        await other.close()
        assert await client.run(INSERT, limit_s=3) == 1

    with_sessions(running, test)


def test_what_cannot_be_told_is_not_told(running: Instance) -> None:
    """Who set read_only, and XA transactions for an account that may not ask."""

    async def test() -> tuple[bool | None, int | None]:
        async with await Session.open(root(running)) as session:
            await server.set_read_only(session, False)
            unset = await server.read_only_unset(session)
        async with await Session.open(app(running)) as session:
            return unset, await server.prepared_xa(session)

    unset, prepared = asyncio.run(test())
    assert unset is (None if running.program.name.startswith("mysql-5.7") else False)
    assert prepared == (None if running.program.name.startswith("mysql-9") else 0)


def test_what_was_persisted_overrules_the_file_at_the_next_start(running: Instance) -> None:
    async def test() -> list[bool]:
        async with await Session.open(root(running)) as session:
            seen = [await server.persisted_writable(session)]
            for statement in ("SET PERSIST read_only = OFF", "SET PERSIST super_read_only = OFF",
                              "RESET PERSIST read_only", "RESET PERSIST super_read_only"):
                await session.run(statement)
                seen.append(await server.persisted_writable(session))
            return seen

    if running.program.name.startswith("mysql-9"):
        assert asyncio.run(test()) == [False, True, True, False, False]
        return
    with pytest.raises(MysqlError):
        asyncio.run(test())  # no other has such a thing


def test_sees_a_lock_on_everything_while_read_only(running: Instance) -> None:
    async def test() -> list[bool]:
        at = root(running)
        async with await Session.open(at) as one, await Session.open(at) as other:
            await server.set_read_only(one, True)
            try:
                seen = [await server.commits_held_up(one, "t.x")]
                await other.run("FLUSH TABLES WITH READ LOCK")
                seen.append(await server.commits_held_up(one, "t.x"))
                await other.run("UNLOCK TABLES")
                seen.append(await server.commits_held_up(one, "t.x"))
            finally:
                await server.set_read_only(one, False)
            await other.run(INSERT)  # nothing of ours is left locked
            return [*seen, await server.commits_held_up(one, "t.x")]

    assert asyncio.run(test()) == [False, True, False, False]


def test_waits_for_positions(running: Instance) -> None:
    async def test(control: Session, client: Session) -> None:
        here = await server.executed_text(control)
        assert await server.wait_executed(control, here, limit_s=1)
        assert await server.wait_executed(control, "", limit_s=1)
        far = "5-9-1" if control.flavour.mariadb else "aaaaaaaa-71ca-11e1-9e33-c80aa9429562:1"
        begun = time.monotonic()
        assert not await server.wait_executed(control, far, limit_s=0.2)
        assert 0.15 < time.monotonic() - begun < 1.0
        assert not await server.wait_executed(control, far, limit_s=0)
        assert await control.value("SELECT 1") == 1  # and it is still fit for use

    with_sessions(running, test)


def test_advisory_locks(running: Instance) -> None:
    async def test(control: Session, client: Session) -> None:
        assert await server.take_lock(control, "slackwater:x")
        assert await server.take_lock(control, "slackwater:x")
        assert not await server.take_lock(client, "slackwater:x")
        assert await server.lock_owner(client, "slackwater:x") == control.connection_id
        assert await server.release_lock(control, "slackwater:x")
        assert await server.lock_owner(client, "slackwater:x") is None

    with_sessions(running, test)


@pytest.mark.parametrize("how", ["limit", "cancel"])
def test_a_session_without_its_answer_is_broken(running: Instance, how: str) -> None:
    async def test(control: Session, client: Session) -> None:
        if how == "limit":
            with pytest.raises(OutsideError) as caught:
                await client.rows("SELECT SLEEP(2)", limit_s=0.1)
            assert caught.value.sent
        else:
            task = asyncio.create_task(client.rows("SELECT SLEEP(2)"))
            await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        with pytest.raises(OutsideError) as caught:
            await client.rows("SELECT 1")
        assert not caught.value.sent

    with_sessions(running, test)


def test_a_refused_connection_says_so(tmp_path: Path, running: Instance) -> None:
    async def test() -> None:
        with pytest.raises(OutsideError) as caught:
            await Session.open(ServerAddress("s", "x", host="127.0.0.1", port=1), limit_s=1)
        assert caught.value.refused and not caught.value.sent
        with pytest.raises(OutsideError) as caught:
            lost_socket = str(tmp_path / "none")
            at = ServerAddress("s", "x", host="127.0.0.1", port=running.port, socket=lost_socket)
            await Session.open(at, limit_s=1)
        assert not caught.value.refused  # its socket file is gone, but it listens

    asyncio.run(test())


def test_no_connection_becomes_a_standard_descriptor(running: Instance) -> None:
    code = (
        "import asyncio, os, sys\n"
        "from slackwater.facts.server import ServerAddress\n"
        "from slackwater.outside.mysql.session import Session\n"
        "async def main():\n"
        "    for n in (0, 1, 2): os.close(n)\n"
        "    s = await Session.open(ServerAddress('s', 'root', socket=sys.argv[1]))\n"
        "    print('this must not reach the server', flush=True)\n"
        "    assert await s.value('SELECT 1') == 1\n"
        "    ends = [os.readlink(f'/proc/self/fd/{n}') for n in (0, 1, 2)]\n"
        "    await s.close()\n"
        "    sys.exit(0 if not any('socket' in e for e in ends) else 7)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(running.socket)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0
