"""What is only seen while it happens: --watch, --capture, run."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.doctor.clients import LANGUAGES, WARNING, Client, client
from tests.doctor.conftest import PASSWORD
from tests.doctor.doctor import COMMAND
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually

from slackwater.lab.instance import Instance, free_port

pytestmark = [pytest.mark.servers, pytest.mark.parametrize(
    "it", ["mariadb-10.11", "mysql-9.7"], indirect=True)]
Row = dict[str, Any]


@contextlib.contextmanager
def watching(it: Instance, *pids: int, more: tuple[str, ...] = ()) -> Iterator[Callable[[], Row]]:
    """A running `doctor --watch` of these processes; gives the next event."""
    chosen = [word for pid in pids for word in ("--pid", str(pid))]
    toml = str(it.directory.parent / "slackwater.toml")
    with subprocess.Popen([*COMMAND, "--watch", "--json", "--config", toml, *chosen, *more],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it_runs:
        assert it_runs.stdout and it_runs.stderr

        def event() -> Row:
            ready, _, _ = select.select([it_runs.stdout], [], [], 40 * PATIENCE)
            assert ready, "no event"
            assert it_runs.stdout
            found: Row = json.loads(it_runs.stdout.readline())
            return found

        try:
            assert "watching" in it_runs.stderr.readline()
            number = "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'slackwater'"
            eventually(lambda: sql(it.socket, number), "it asks the server")
            yield event
        finally:
            it_runs.kill()


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == 0


def test_a_kill_is_told_when_it_happens(it: Instance) -> None:
    with client("php", "open", "", it.port) as one, watching(it, one.pid) as event:
        sql(it.socket, "KILL %s", one.session_id)
        found = event()
        assert found["cause"] == "killed" and found["sure"] == "certain", found
        assert str(one.pid) in found["hits"]


def test_an_idle_session_is_told_when_it_is_lost(it: Instance) -> None:
    sql(it.socket, "SET GLOBAL wait_timeout = 3")
    with client("php", "open", "", it.port) as one, watching(it, one.pid) as event:
        found = event()
        assert found["cause"] == "idle-timeout" and found["sure"] == "certain", found
    sql(it.socket, "SET GLOBAL wait_timeout = 28800")


def test_a_fork_that_says_goodbye(it: Instance) -> None:
    """It ends in order, and closes its parent's session: the server sees nothing wrong."""
    for language in LANGUAGES:
        goodbye(it, language)


def goodbye(it: Instance, language: str) -> None:
    """One client, in the words of its language."""
    if language == "php" and "pcntl" not in subprocess.run(
            ["php", "-m"], capture_output=True, text=True, check=True).stdout:
        return  # this PHP cannot fork
    with client(language, "open", "", it.port) as one:
        child = int(one.say("fork").split()[1])
        with watching(it, one.pid, child) as event:
            danger = event()
            assert (danger["cause"], danger["sure"]) == ("forked", "certain"), danger
            os.kill(child, signal.SIGTERM)
            loss = event()
            assert (loss["cause"], loss["sure"]) == ("forked", "likely"), loss
            assert any("goodbye" in line and str(child) in line for line in loss["evidence"]), loss
            assert one.say("query").startswith("error")


@contextlib.contextmanager
def busy(one: Client) -> Iterator[Callable[[], None]]:
    """A client that asks something all the time, till a second after it is told to rest."""
    told, never = threading.Event(), threading.Event()

    def ask() -> None:
        left = 5
        while left:
            left -= told.is_set()
            assert one.say("query") == "ok"
            never.wait(0.2)

    asking = threading.Thread(target=ask)
    asking.start()

    def rest() -> None:
        told.set()
        asking.join()

    try:
        yield rest
    finally:
        rest()


HAPROXY = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 2s
  timeout server 2s
listen through
  bind 127.0.0.1:{port}
  server s 127.0.0.1:{server}
"""


def test_a_proxy_that_ends_what_is_idle(it: Instance, place: Path) -> None:
    """The server would have kept it: it tells of a client that vanished, and of no timeout."""
    if shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("no haproxy here")
    port = free_port()
    (place / "haproxy.cfg").write_text(HAPROXY.format(port=port, server=it.port))
    with subprocess.Popen(["haproxy", "-db", "-f", str(place / "haproxy.cfg")],
                          env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}) as proxy:
        try:
            eventually(lambda: answers(port), "the proxy listens")
            # It is kept busy till the watch has seen it: only then it may be idle.
            with client("c", "open", "", port) as one, busy(one) as rest, watching(
                it, one.pid, more=("--port", str(port))) as event:
                rest()
                found = event()
                assert (found["cause"], found["sure"]) == ("proxy-closed", "likely"), found
        finally:
            proxy.terminate()


def test_the_original_while_it_happens(it: Instance) -> None:
    for port in (0, it.port):
        with client("perl", "closed", it.socket, port) as one, watching(it, one.pid) as event:
            danger = event()
            assert (danger["cause"], danger["sure"]) == ("stray-output", "certain")
            assert one.say("warn") == "warned"
            loss = event()
            assert (loss["cause"], loss["sure"]) == ("stray-output", "certain"), loss
            assert "closed by the server" in loss["evidence"][0]


def capture_with(port: int, pid: int, act: Callable[[], None]) -> tuple[Row, str]:
    """The report of `doctor --capture`, with `act` done while it looks; and all that it printed."""
    with subprocess.Popen(
        [*COMMAND, "--capture", "--seconds", str(2 * PATIENCE), "--json", "--port", str(port),
         "--pid", str(pid)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
    ) as running:
        assert running.stderr and running.stdout
        assert "looking at the wire" in running.stderr.readline()
        act()
        out = running.stdout.read()
    return json.loads(out), out


def test_the_childs_text_is_shown(it: Instance) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    sql(it.socket, "CREATE USER plain@'127.0.0.1' IDENTIFIED BY 'topsecret'")
    secret = "SELECT 'a secret of the application'"
    with client("perl", "closed", "", it.port) as one:
        def act() -> None:
            with contextlib.suppress(Exception):
                import pymysql
                link = pymysql.connect(host="127.0.0.1", port=it.port, user="app",
                                       password=PASSWORD, ssl_disabled=True)
                link.query(secret)
                link.close()
            assert one.say("query") == "ok"
            assert one.say("warn") == "warned"

        said, printed = capture_with(it.port, one.pid, act)
    found = [f for f in said["findings"] if any("text, where" in e for e in f["evidence"])]
    if it.program.is_mariadb and not found:
        assert any("TLS" in line for line in said["not_seen"]), said
    elif any("TLS" in line for line in said["not_seen"]):
        pytest.skip("this client uses TLS with this server")
    else:
        assert found and WARNING in "".join(found[0]["evidence"]), said
        assert found[0]["sure"] == "certain"
    assert "secret" not in printed.replace("without_secrets", "")


def test_a_program_is_run_and_its_loss_explained(it: Instance) -> None:
    toml = str(it.directory.parent / "slackwater.toml")
    with subprocess.Popen(
        [*COMMAND, "run", "--json", "--config", toml, "--", "perl", "-e", LANGUAGES["perl"][2],
         "closed", str(it.socket)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:
        assert running.stdin and running.stdout and running.stderr
        danger = json.loads(running.stderr.readline())  # before it happens
        assert (danger["cause"], danger["sure"]) == ("stray-output", "certain")
        out, _ = running.communicate("warn\nquery\nbye\n", timeout=60 * PATIENCE)
    *lines, last = out.strip().splitlines()
    assert "error" in lines[-1]  # its own output is its own
    said = json.loads(last)
    assert said["exit_code"] == 0 and running.returncode == 3
    assert said["findings"][0]["cause"] == "stray-output"


def test_a_program_that_does_well(it: Instance) -> None:
    done = subprocess.run(
        [*COMMAND, "run", "--json", "--", "perl", "-e", LANGUAGES["perl"][2], "open",
         str(it.socket)],
        input="query\nbye\n", capture_output=True, text=True, check=False, timeout=60 * PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1])["findings"] == []
