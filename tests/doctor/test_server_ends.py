"""More ways in which a session ends, or a login does not come to one: done to real servers."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
from pathlib import Path

import pymysql
import pytest
from tests.doctor.conftest import only, options
from tests.doctor.doctor import causes, evidence
from tests.doctor.test_server import app, ask, gone, named
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually

from slackwater.lab.instance import Instance

pytestmark = pytest.mark.servers
ABOVE_A_NOTE = ("certain", "likely", "possible")
_COM_PROCESS_KILL = 12
_LONG = "SELECT {hint} COUNT(*) FROM information_schema.COLUMNS a, information_schema.COLUMNS b," \
    " information_schema.COLUMNS c"


@only("mariadb")
@pytest.mark.parametrize("name", ["", "readonly_", "write_"])
def test_a_transaction_that_rests(it: Instance, name: str) -> None:
    sql(it.socket, "CREATE DATABASE d")
    sql(it.socket, "CREATE TABLE d.t (a INT)")
    sql(it.socket, f"SET GLOBAL idle_{name}transaction_timeout = 1")
    with contextlib.closing(app(it)) as link:
        link.query("BEGIN")
        link.query("SELECT 1 FROM d.t" if name != "write_" else "INSERT INTO d.t VALUES (1)")
        gone(it, link)
        said = ask(it)
        link._force_close()
    assert causes(said, "likely") == {"idle-transaction"}, said["findings"]
    assert causes(said, "certain") == set()
    assert f"idle_{name}transaction_timeout = 1" in evidence(said, "idle-transaction")


@only("mariadb")
def test_a_transaction_that_rests_by_its_sessions_own_limit(it: Instance) -> None:
    """The server tells nobody that limit: wait_timeout is then not named as certain."""
    with contextlib.closing(app(it)) as link:
        link.query("SET SESSION idle_transaction_timeout = 1")
        link.query("BEGIN")
        gone(it, link)
        said = ask(it)
        link._force_close()
    assert causes(said, "certain") == set(), said["findings"]
    assert "idle_transaction_timeout" in evidence(said, "idle-timeout")


def test_idle_for_longer_than_the_servers_own_limit(it: Instance) -> None:
    sql(it.socket, "SET GLOBAL wait_timeout = 1")
    with contextlib.closing(app(it)) as link:
        gone(it, link)
        said = ask(it)
        link._force_close()
    named(said, "idle-timeout")


def test_a_statement_that_took_too_long(it: Instance) -> None:
    """It is stopped, and its connection lives: no loss, and named as what it is."""
    hint, number = "", 1969
    with contextlib.closing(app(it)) as link:
        if it.program.is_mariadb:
            link.query("SET SESSION max_statement_time = 0.05")
        else:
            hint, number = "/*+ MAX_EXECUTION_TIME(20) */", 3024
        with pytest.raises(pymysql.err.OperationalError) as caught:
            link.query(_LONG.format(hint=hint))
        assert caught.value.args[0] == number
        link.query("SELECT 1")
    said = ask(it)
    assert "query-stopped" in causes(said, "note"), said["findings"]
    assert "_time_exceeded: 1" in evidence(said, "query-stopped")
    assert causes(said, *ABOVE_A_NOTE) == set(), said["findings"]


def test_killed_as_mysqladmin_does(it: Instance) -> None:
    """By a command of the protocol, which is no statement."""
    with contextlib.closing(app(it)) as link, contextlib.closing(app(it)) as killer:
        number = link.thread_id()
        killer._execute_command(  # type: ignore[attr-defined]
            _COM_PROCESS_KILL, struct.pack("<I", number))
        try:
            killer._read_ok_packet()  # type: ignore[attr-defined]
        except pymysql.err.Error as error:
            pytest.skip(f"this server has no such command any more: {error}")
        gone(it, link)
        said = ask(it)
        link._force_close()
    named(said, "killed")


@options("--connect-timeout=2")
def test_a_login_that_does_not_go_on(it: Instance) -> None:
    """Nothing of it, and half of it, is sent before connect_timeout."""
    before = aborted_connects(it)
    for begun in (b"", b"\x50\x00\x00\x01\x05\xa6"):
        with socket.create_connection(("127.0.0.1", it.port)) as link:
            link.settimeout(20 * PATIENCE)
            link.recv(4096)
            link.sendall(begun)
            with contextlib.suppress(ConnectionError):
                while link.recv(4096):  # to the end
                    pass
    eventually(lambda: aborted_connects(it) == before + 2, "counted")
    said = ask(it)
    # MariaDB logs it as it logs a port scan: a note names both.
    above = set() if it.program.is_mariadb else {"slow-login"}
    assert causes(said, *ABOVE_A_NOTE) == above, said["findings"]
    assert "connect_timeout" in evidence(said, "slow-login")


def aborted_connects(it: Instance) -> int:
    return int(sql(it.socket, "SHOW GLOBAL STATUS LIKE 'Aborted_connects'")[0]["Value"])


def test_a_statement_that_came_by_half(it: Instance) -> None:
    """The server waits for the rest, and tells nobody: no other cause is named."""
    link = app(it, ssl_disabled=True)
    link._sock.sendall(b"\x20\x00\x00\x00\x03SEL")  # type: ignore[attr-defined]
    said = ask(it)
    assert causes(said, *ABOVE_A_NOTE) == set(), said["findings"]
    link._force_close()


def test_a_child_that_says_goodbye_for_its_parent(it: Instance) -> None:
    """COM_QUIT is an end like any other: nothing is to be seen on the server."""
    link = app(it)
    link._execute_command(1, b"")  # type: ignore[attr-defined]
    gone(it, link)
    with pytest.raises(pymysql.err.OperationalError) as caught:
        link.query("SELECT 1")
    assert caught.value.args[0] in (2006, 2013)
    said = ask(it)
    assert causes(said, *ABOVE_A_NOTE) == set(), said["findings"]
    link._force_close()


def test_bytes_of_somebody_else_inside_tls(it: Instance) -> None:
    """The server takes them for a client that is gone: no other cause is named as certain."""
    if it.program.is_mariadb and it.program.version < (11, 4):
        pytest.skip("this server has no certificate of its own")
    link = app(it, ssl={"check_hostname": False})
    raw = link._sock  # type: ignore[attr-defined]
    with socket.socket(fileno=raw.detach()) as below:
        below.sendall(b"rndc: WARNING: key file exists\n")
        gone(it, link)
    said = ask(it)
    assert causes(said, "certain") <= {"foreign-bytes"}, said["findings"]
    assert causes(said, "likely", "possible") == set(), said["findings"]
    assert {"foreign-bytes", "client-vanished"} & causes(said), said["findings"]


@only("mysql")
def test_offline_mode(it: Instance) -> None:
    sql(it.socket, "CREATE USER plain@'127.0.0.1' IDENTIFIED BY 'x'")
    link = pymysql.connect(host="127.0.0.1", port=it.port, user="plain", password="x")
    sql(it.socket, "SET GLOBAL offline_mode = ON")
    gone(it, link)
    said = ask(it)
    named(said, "offline-mode")
    link._force_close()


def test_an_account_with_too_many_connections(it: Instance) -> None:
    sql(it.socket, "CREATE USER few@'127.0.0.1' IDENTIFIED BY 'x'")
    sql(it.socket, "GRANT USAGE ON *.* TO few@'127.0.0.1' WITH MAX_USER_CONNECTIONS 1"
        if it.program.is_mariadb or it.program.version < (8,)
        else "ALTER USER few@'127.0.0.1' WITH MAX_USER_CONNECTIONS 1")
    login = {"host": "127.0.0.1", "port": it.port, "user": "few", "password": "x"}
    with contextlib.closing(pymysql.connect(**login)):  # type: ignore[call-overload]
        with pytest.raises(pymysql.err.OperationalError) as caught:
            pymysql.connect(**login)  # type: ignore[call-overload]
        assert caught.value.args[0] in (1203, 1226)
    said = ask(it)
    assert causes(said, *ABOVE_A_NOTE) <= {"too-many-connections"}, said["findings"]
    if it.program.is_mariadb:
        assert "few@127.0.0.1" in evidence(said, "too-many-connections")
    elif it.program.version >= (8,):
        named(said, "too-many-connections")


def test_no_descriptor_is_left_for_a_connection(it: Instance) -> None:
    """The kernel refuses the server one more."""
    assert it.pid
    owner = Path(f"/proc/{it.pid}").stat()

    def limit(descriptors: int) -> None:
        """As the server's own user: root may need one more right for it."""
        subprocess.run(["prlimit", f"--pid={it.pid}", f"--nofile={descriptors}:"], check=True,
                       user=owner.st_uid, group=owner.st_gid)

    before = next(int(line.split()[3]) for line in Path(
        f"/proc/{it.pid}/limits").read_text().splitlines() if line.startswith("Max open files"))
    limit(3)
    with socket.create_connection(("127.0.0.1", it.port)):
        eventually(lambda: "Error in accept" in (it.directory / "error.log").read_text(
            errors="replace"), "it could not be accepted")
    limit(before)
    said = ask(it)
    named(said, "no-resources")
