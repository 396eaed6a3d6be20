"""Every cause that a server can tell of, done to real servers, and named; and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import threading
from typing import Any

import pymysql
import pytest
from tests.doctor.conftest import PASSWORD, only, options
from tests.doctor.doctor import causes, doctor, evidence, finding
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually

from slackwater.cli.doctor_page import as_json
from slackwater.facts.server import ServerAddress
from slackwater.lab.instance import Instance
from slackwater.operations.doctor.servers import Asked, of_server

pytestmark = pytest.mark.servers


def ask(it: Instance) -> dict[str, Any]:
    """The doctor's word on the server alone, as its JSON."""
    at = ServerAddress("s", "slackwater", PASSWORD, host="127.0.0.1", port=it.port)
    found = asyncio.run(of_server(at, Asked(between_s=0.1, limit_s=10 * PATIENCE)))
    said: dict[str, Any] = json.loads(json.dumps(as_json(found, 0)))
    return said


def app(it: Instance, **more: Any) -> pymysql.Connection[Any]:
    """A session of `app`."""
    return pymysql.connect(host="127.0.0.1", port=it.port, user="app", password=PASSWORD, **more)


def named(said: dict[str, Any], cause: str) -> None:
    """That cause, certainly, and no other with certainty."""
    assert causes(said, "certain") == {cause}, said["findings"]


def gone(it: Instance, link: pymysql.Connection[Any]) -> None:
    """Wait until the server has no such session any more."""
    number = link.thread_id()
    eventually(lambda: not sql(
        it.socket, "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = %s", number),
        "the session is gone")  # fmt: skip


def test_nothing_happened(it: Instance) -> None:
    link = app(it)
    link.query("SELECT 1")
    link.close()
    said = ask(it)
    assert causes(said, "certain", "likely", "possible") == set(), said["findings"]
    assert said["not_seen"] == []


def test_idle_for_too_long(it: Instance) -> None:
    with contextlib.closing(app(it)) as link:
        link.query("SET SESSION wait_timeout = 1")
        gone(it, link)
        said = ask(it)
    if it.program.is_mariadb:  # it tells nobody that limit, which could be idle_transaction_timeout
        assert causes(said, "certain", "likely", "possible") == {"idle-timeout"}, said["findings"]
        assert finding(said, "idle-timeout")["sure"] == "likely"
    else:
        named(said, "idle-timeout")
    assert "app@127.0.0.1" in finding(said, "idle-timeout")["hits"]


def test_killed(it: Instance) -> None:
    with contextlib.closing(app(it)) as link:
        sql(it.socket, "KILL %s", link.thread_id())
        gone(it, link)
        said = ask(it)
    named(said, "killed")


def test_a_stopped_statement_is_no_lost_connection(it: Instance) -> None:
    with contextlib.closing(app(it)) as link:
        number = link.thread_id()
        stopper = threading.Thread(target=lambda: eventually(lambda: sql(
            it.socket, "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = %s AND INFO LIKE"
            " '%%SLEEP%%'", number), "it sleeps") and sql(it.socket, "KILL QUERY %s", number))
        stopper.start()
        with contextlib.suppress(pymysql.err.Error):
            link.query("SELECT SLEEP(60)")
        stopper.join()
        link.query("SELECT 1")
    said = ask(it)
    assert "query-stopped" in causes(said, "note")
    assert causes(said, "certain", "likely", "possible") == set(), said["findings"]


def test_bytes_of_somebody_else(it: Instance) -> None:
    link = app(it, ssl_disabled=True)
    raw: socket.socket = link._sock  # type: ignore[attr-defined]
    raw.sendall(b"rndc: WARNING: key file exists\n")
    gone(it, link)
    said = ask(it)
    if it.program.is_mariadb or it.program.version < (8,):
        # The server keeps no trace of it, and says that it would not.
        assert causes(said, "certain", "likely", "possible") == set(), said["findings"]
        assert "foreign bytes" in evidence(said, "no-trace")
    else:
        named(said, "foreign-bytes")
    link._force_close()


def test_a_packet_too_big(it: Instance) -> None:
    link = app(it)
    with pytest.raises((pymysql.err.Error, OSError)):
        link.query(f"SELECT LENGTH('{'x' * (40 << 20)}')")
    said = ask(it)
    named(said, "packet-too-big")
    link._force_close()


def test_a_client_that_vanished(it: Instance) -> None:
    link = app(it)
    raw = link._sock  # type: ignore[attr-defined]
    raw.shutdown(socket.SHUT_RDWR)
    gone(it, link)
    said = ask(it)
    # It lost nothing: a note, with its name.
    assert causes(said, "certain", "likely", "possible") == set(), said["findings"]
    assert "app@127.0.0.1" in finding(said, "client-vanished")["hits"]
    link._force_close()


def test_a_client_that_does_not_read(it: Instance) -> None:
    link = app(it, ssl_disabled=True)
    link.query("SET SESSION net_write_timeout = 1")
    link._execute_command(  # type: ignore[attr-defined]
        3, "SELECT REPEAT('x', 500000) FROM information_schema.COLUMNS LIMIT 60")
    gone(it, link)
    said = ask(it)
    if it.program.is_mariadb:
        assert causes(said, "likely") == {"client-not-reading"}
        assert causes(said, "certain") == set()
    else:
        named(said, "client-not-reading")
    link._force_close()


def test_what_is_no_client(it: Instance) -> None:
    for text in (b"GET / HTTP/1.0\r\n\r\n", b""):
        with socket.create_connection(("127.0.0.1", it.port)) as link:
            link.recv(4096)
            link.sendall(text)
    eventually(lambda: sql(it.socket, "SHOW GLOBAL STATUS LIKE 'Aborted_connects'")[0]["Value"]
               != "0", "counted")
    said = ask(it)
    assert causes(said, "certain", "likely", "possible") == set(), said["findings"]
    assert "not-a-client" in causes(said, "note")


def test_a_wrong_password(it: Instance) -> None:
    with pytest.raises(pymysql.err.OperationalError):
        pymysql.connect(host="127.0.0.1", port=it.port, user="app", password="wrong")
    named(ask(it), "access-denied")


@options("--max-connections=10")
def test_too_many_connections(it: Instance) -> None:
    links: list[pymysql.Connection[Any]] = []
    try:
        with pytest.raises(pymysql.err.OperationalError) as caught:
            while len(links) < 20:
                links.append(app(it))
        assert caught.value.args[0] == 1040
    finally:
        for link in links:
            link.close()
    eventually(lambda: _may_come_in(it), "there is room again")
    named(ask(it), "too-many-connections")


def _may_come_in(it: Instance) -> bool:
    try:
        app(it).close()
    except pymysql.err.OperationalError:
        return False
    return True


def test_a_restart(it: Instance) -> None:
    it.stop(60 * PATIENCE)
    it.start(60 * PATIENCE)
    named(ask(it), "server-shutdown")


def test_a_server_that_was_shot(it: Instance) -> None:
    it.kill()
    it.start(60 * PATIENCE)
    named(ask(it), "server-crash")


def test_a_server_that_crashed(it: Instance) -> None:
    """A signal that its own handler reports."""
    process = it.process
    assert process
    process.signal(signal.SIGSEGV)
    assert process.wait_gone(20 * PATIENCE)
    it.start(60 * PATIENCE)
    said = ask(it)
    named(said, "server-crash")
    assert "got signal 11" in evidence(said, "server-crash") or "signal" in evidence(
        said, "server-crash")


def test_a_server_that_is_down(it: Instance) -> None:
    it.stop(60 * PATIENCE)
    said = doctor("--config", it.directory.parent / "slackwater.toml", "--pid", 1)
    assert causes(said) == {"not-running"}


@only("mysql")
@options("--require-secure-transport=ON")
def test_a_server_that_insists_on_tls(it: Instance) -> None:
    if it.program.version < (8,):
        pytest.skip("only MySQL 8 and newer count it")
    with pytest.raises(pymysql.err.OperationalError):
        app(it, ssl_disabled=True)
    named(ask(it), "tls-or-plugin")


def test_an_account_that_may_see_little(it: Instance) -> None:
    sql(it.socket, "REVOKE ALL PRIVILEGES, GRANT OPTION FROM slackwater@'127.0.0.1'")
    (it.directory / "error.log").rename(it.directory / "kept")
    said = ask(it)
    assert any("error log" in line for line in said["not_seen"])
    assert causes(said, "certain", "likely", "possible") == set()
    if not it.program.is_mariadb:
        assert any("may not read it" in line for line in said["not_seen"])


@options("--max-connect-errors=3", "--skip-name-resolve=OFF")
def test_a_host_that_is_blocked(it: Instance) -> None:
    """127.0.0.1 is never blocked; another loopback address is a host like others."""
    sql(it.socket, "CREATE USER anybody@'127.0.0.%' IDENTIFIED BY 'x'")

    def knock() -> bytes:
        with socket.create_connection(("127.0.0.1", it.port), source_address=("127.0.0.2", 0),
                                      timeout=20) as link:
            said = link.recv(4096)
            with contextlib.suppress(ConnectionError):
                link.sendall(b"GET / HTTP/1.0\r\n\r\n")
                link.recv(4096)
            return said

    if not any(b"is blocked" in knock() for _ in range(10)):
        assert not sql(it.socket, "SELECT IP FROM performance_schema.host_cache")
        pytest.skip("no resolver answers for 127.0.0.2 here, so that MySQL remembers no host")
    said = ask(it)
    if it.program.is_mariadb:  # without Performance Schema there is no host cache to read
        assert causes(said, "certain") <= {"host-blocked"}, said["findings"]
    else:
        assert "host-blocked" in causes(said, "certain"), said["findings"]
        assert "127.0.0.2" in finding(said, "host-blocked")["hits"]
        assert causes(said, "certain") == {"host-blocked"}


@only("mariadb")
def test_bytes_of_somebody_else_where_mariadb_logs_errors(it: Instance) -> None:
    try:
        sql(it.socket, "INSTALL SONAME 'sql_errlog'")
    except pymysql.err.Error as error:
        pytest.skip(f"no plugin SQL_ERROR_LOG here: {error}")
    link = app(it, ssl_disabled=True)
    link._sock.sendall(b"rndc: WARNING: key file exists\n")  # type: ignore[attr-defined]
    gone(it, link)
    link._force_close()
    said = ask(it)
    named(said, "foreign-bytes")
