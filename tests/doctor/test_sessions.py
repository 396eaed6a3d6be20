"""A connection of this host is named with its number on the server; unknown ports by greeting."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading

import pytest
from tests.doctor.clients import client
from tests.doctor.doctor import causes, doctor, evidence
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually

from slackwater.lab.instance import Instance
from slackwater.operations.doctor.doctor import look_at_host
from slackwater.outside import knock
from slackwater.outside.processes import Known

pytestmark = pytest.mark.servers


def test_each_connection_has_its_number_on_the_server(it: Instance) -> None:
    """By TCP, by unix socket, and two of one process by unix socket."""
    toml = it.directory.parent / "slackwater.toml"
    with client("c", "open", it.socket) as one, client("perl", "open", "", it.port) as two, \
            client("php", "closed", it.socket) as three:
        for each, language in ((one, "c-client"), (two, "perl")):
            forked = each.say("child").split()[1]  # so that a finding names the connection
            said = doctor("--config", toml, "--sample", 0, "--pid", each.pid, "--pid", forked)
            found = evidence(said, "inherited")
            assert f"{language} (pid {each.pid})" in found
            if os.geteuid() == 0 or each is two:
                assert f"session {each.session_id} of server s" in found, found
        said = doctor("--config", toml, "--sample", 0, "--pid", three.pid)
        if os.geteuid() == 0:
            assert f"session {three.session_id} of" in evidence(said, "stray-output")


HALF = """
import pymysql, sys
db = pymysql.connect(host="127.0.0.1", port=int(sys.argv[1]), user="app", password="geheim",
                     ssl_disabled=True)
print("ready", flush=True)
sys.stdin.readline()
db._sock.sendall(bytes.fromhex(sys.argv[2]))
print("sent", flush=True)
db._sock.recv(1)
"""


@pytest.mark.parametrize("sent", ["200000000353454c", "78"], ids=["half a statement", "one byte"])
def test_client_and_server_that_wait_for_each_other(it: Instance, sent: str) -> None:
    """Less than a whole packet came. A client that only rests is none such."""
    toml = it.directory.parent / "slackwater.toml"
    with subprocess.Popen([sys.executable, "-c", HALF, str(it.port), sent], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one:
        try:
            assert one.stdin and one.stdout and one.stdout.readline() == "ready\n"

            def seen() -> dict[str, object]:
                return doctor("--config", toml, "--sample", 0, "--pid", one.pid)

            slept = "SELECT 1 FROM information_schema.PROCESSLIST WHERE USER = 'app' AND TIME > 1"
            eventually(lambda: sql(it.socket, slept), "its session sleeps")
            assert causes(seen(), "certain", "likely", "possible") == set()
            one.stdin.write("\n")
            one.stdin.flush()
            assert one.stdout.readline() == "sent\n"
            said = eventually(lambda: s if causes(s := seen(), "likely") else None, "it is seen")
            assert causes(said, "certain", "likely", "possible") == {"half-sent"}, said
            assert "session" in evidence(said, "half-sent")
        finally:
            one.kill()


def _connects(it: Instance) -> dict[str, int]:
    rows = sql(it.socket, "SHOW GLOBAL STATUS WHERE Variable_name IN"
               " ('Aborted_connects', 'Aborted_connects_preauth', 'Aborted_clients')")
    return {row["Variable_name"]: int(row["Value"]) for row in rows}


def test_an_unknown_port_is_known_by_its_greeting(it: Instance) -> None:
    """Through a forwarder that is no database server itself; and --no-knock leaves it alone."""
    sql(it.socket, "SET GLOBAL max_connect_errors = 1")
    with socket.create_server(("127.0.0.1", 0)) as forward:
        port = forward.getsockname()[1]
        threading.Thread(target=_forward, args=(forward, it.port), daemon=True).start()
        with client("perl", "closed", "", port) as one:
            left = doctor("--pid", one.pid, "--no-knock")
            assert "0 database connections" in left["looked_at"][0]
            before = _connects(it)
            said = doctor("--pid", one.pid)
            assert causes(said, "certain") == {"stray-output"}
            assert f"127.0.0.1:{port}" in evidence(said, "stray-output")
            # What a knock costs: one login that is refused, and no broken handshake.
            after = _connects(it)
            assert after == {**before, "Aborted_connects": before["Aborted_connects"] + 1}
            assert one.say("query") == "ok"
        forward.shutdown(socket.SHUT_RDWR)  # ends the thread


def _forward(listening: socket.socket, port: int) -> None:
    """Both ways, each connection in threads of its own, until the socket is closed."""
    def copy(source: socket.socket, target: socket.socket) -> None:
        with source, contextlib.suppress(OSError):
            while block := source.recv(65536):
                target.sendall(block)
            target.shutdown(socket.SHUT_WR)

    while True:
        try:
            near, _ = listening.accept()
        except OSError:
            return
        far = socket.create_connection(("127.0.0.1", port))
        for ends in ((near, far), (far, near)):
            threading.Thread(target=copy, args=ends, daemon=True).start()


def test_what_does_not_greet_gets_no_word() -> None:
    """A server of something else: one connection, closed without a byte."""
    code = ("import socket, sys\n"
            "c = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
            "print('ready', flush=True); sys.stdin.read()")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20 * PATIENCE)
        port = silent.getsockname()[1]
        with subprocess.Popen([sys.executable, "-c", code, str(port)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as other:
            assert other.stdin and other.stdout and other.stdout.readline() == "ready\n"
            its, _ = silent.accept()
            assert look_at_host(Known(), [other.pid]).held == ()
            knocked, _ = silent.accept()
            with its, knocked:
                knocked.settimeout(20 * PATIENCE)
                assert knocked.recv(100) == b""
                silent.settimeout(0)
                with pytest.raises(BlockingIOError):
                    silent.accept()  # no second one
            other.stdin.close()


@pytest.mark.parametrize(("raw", "is_one"), [
    (b"K\0\0\0\n9.7.4-2\0" + b"x" * 66, True),
    (b"@\0\0\0\xffj\x04Host '127.0.0.1' is not allowed to connect to this MariaDB server", True),
    (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", False),
    (b"220 mail.example.org ESMTP Postfix\r\n", False),
    (b"+OK ready\r\n", False),
    (b"", False),
])  # fmt: skip
def test_what_is_a_greeting(raw: bytes, is_one: bool) -> None:
    assert knock.is_greeting(raw) is is_one
