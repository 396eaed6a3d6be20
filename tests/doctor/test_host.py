"""The client's host: real clients with their real mistakes, found before they do harm."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.doctor.clients import LANGUAGES, client
from tests.doctor.doctor import causes, doctor, evidence, finding, let_in
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually

from slackwater.facts.doctor import tables
from slackwater.facts.doctor.host import shown as shown_words
from slackwater.facts.doctor.host import without_secrets
from slackwater.lab.instance import Instance
from slackwater.outside import processes

pytestmark = pytest.mark.servers


def test_the_original_is_found_before_it_happens(server: Instance) -> None:
    for language in LANGUAGES:
        with client(language, "closed", server.socket) as it:
            said = doctor("--pid", it.pid)
            assert causes(said, "certain") == {"stray-output"}
            name = {"c": "c-client"}.get(language, language)
            assert f"descriptor 2 (standard error) of {name}" in evidence(said, "stray-output")
            assert it.say("query") == "ok"  # the look did nothing to it
            # and it is so: the warning ends the session
            assert it.say("warn") == "warned"
            assert it.say("query").startswith("error")


@pytest.mark.one_flavour
def test_a_client_that_does_nothing_wrong(server: Instance) -> None:
    for language in LANGUAGES:
        with client(language, "open", server.socket) as it:
            said = doctor("--pid", it.pid)
            assert causes(said, "certain", "likely", "possible") == set()
            assert "1 database connections" in said["looked_at"][0]


@pytest.mark.one_flavour
@pytest.mark.parametrize("language", ["perl", "python", "c"])
def test_a_connection_in_two_processes_of_one_program(server: Instance, language: str) -> None:
    with client(language, "open", server.socket) as it:
        child = it.say("fork").split()[1]
        said = doctor("--pid", it.pid, "--pid", child)
        assert causes(said, "certain") == {"forked"}
        assert child in evidence(said, "forked") and str(it.pid) in evidence(said, "forked")


@pytest.mark.one_flavour
def test_a_child_that_inherited_a_connection(server: Instance) -> None:
    let_in(server)
    with client("perl", "open", "", server.port) as it:
        child = it.say("child").split()[1]
        said = doctor("--pid", it.pid, "--pid", child)
        assert finding(said, "inherited")["sure"] == "note"
        assert "sleep" in evidence(said, "inherited")
        assert "forked" not in causes(said)
        assert f"perl (pid {it.pid})" in evidence(said, "no-cloexec")


@pytest.mark.one_flavour
@pytest.mark.parametrize("language", ["perl", "c"])
def test_a_child_that_keeps_a_connection_that_its_parent_closed(
    server: Instance, language: str
) -> None:
    """The session stays on the server, with its locks, and its owner thinks that it is closed."""
    let_in(server)
    with client(language, "open", "", server.port) as it:
        assert it.say("query") == "ok"
        known = processes.Known(frozenset({server.port}))

        def idle_ms() -> int:
            (connection,) = processes.scan(known, [it.pid]).connections.values()
            return connection.idle_ms or 0

        eventually(lambda: idle_ms() > 300, "it is idle")
        child = int(it.say("child").split()[1])
        assert it.say("drop") == "dropped"

        def orphaned() -> dict[str, object] | None:  # idle for longer than the child lives
            said = doctor("--pid", it.pid, "--pid", child, "--port", server.port)
            return said if causes(said, "likely") else None

        said = eventually(orphaned, "the child alone has it")
        assert causes(said, "certain", "likely") == {"inherited"}
        assert f"of sleep (pid {child}), and of nobody else" in evidence(said, "inherited")
        assert sql(server.socket, "SELECT ID FROM information_schema.PROCESSLIST WHERE ID = %s",
                   it.session_id)


@pytest.mark.one_flavour
def test_a_connection_that_the_server_has_closed(server: Instance) -> None:
    let_in(server)
    with client("php", "open", "", server.port) as it:
        assert it.say("query") == "ok"
        sql(server.socket, "KILL %s", it.session_id)
        said = eventually(lambda: _closed(it.pid), "CLOSE_WAIT was seen")
        assert causes(said, "likely") == {"server-closed"}
        assert it.say("query").startswith("error 2006")


def _closed(pid: int) -> dict[str, object] | None:
    said = doctor("--pid", pid)
    return said if causes(said, "likely") else None


@pytest.mark.one_flavour
def test_a_client_in_a_network_namespace_of_its_own(server: Instance) -> None:
    """Its TCP sockets are in no table of ours; the path of a unix socket reaches in."""
    if os.geteuid() or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare")
    code = ("import socket, time\n"
            "s = socket.socket(); s.bind(('127.0.0.1', 3306)); s.listen()\n"
            "c = socket.create_connection(('127.0.0.1', 3306)); print('ready', flush=True)\n"
            "time.sleep(300)")
    script = f"ip link set lo up && exec {sys.executable} -c \"{code}\""
    with subprocess.Popen(["unshare", "--net", "sh", "-c", script],
                          stdout=subprocess.PIPE, text=True) as it:
        try:
            assert it.stdout and it.stdout.readline() == "ready\n"
            seen = processes.scan(pids=[it.pid])
            assert [c.remote for c in seen.connections.values()] == ["127.0.0.1:3306"]
            assert seen.blind == ()
        finally:
            it.kill()


@pytest.mark.one_flavour
def test_who_may_see_nothing_says_so(server: Instance, place: Path) -> None:
    """As nobody: the other users' processes are counted as not seen, and the rest is reported."""
    if os.geteuid():
        pytest.skip("needs root")
    code = ("import os\n"
            "from slackwater.outside import processes\n"
            "from slackwater.rules.doctor import host\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "seen = processes.scan(); print(seen.blind, len(host.findings(seen)))")
    with client("perl", "closed", server.socket):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                              timeout=60 * PATIENCE, check=True)
    assert "they are not ours" in done.stdout
    assert done.stdout.strip().endswith(" 0")


def test_the_tables_of_proc_agree_with_netlink() -> None:
    """The fallback reads the same sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        inode = os.fstat(listening.fileno()).st_ino
        rows = {r.inode: r for r in tables.tcp_rows(Path("/proc/self/net/tcp").read_text())}
        assert rows[inode].local == (b"\x7f\0\0\1", listening.getsockname()[1])
        assert rows[inode].state == 10
    six = "   0: 00000000000000000000000001000000:0CEA 0000000000000000FFFF00000100007F:8000 01 " \
          "00000005:00000000 02:000A0000 00000000     0        0 77 1"
    (row,) = tables.tcp_rows(six)
    assert row.local == (b"\0" * 15 + b"\1", 3306) and row.remote[0].endswith(b"\x7f\0\0\1")
    assert (row.unsent, row.timer, row.inode) == (5, 2, 77)


@pytest.mark.parametrize(("command", "shown"), [
    ("mysql -u root -psecret db", "mysql -u root -p… db"),
    ("mysql --password=secret -h x", "mysql --password=… -h x"),
    ("worker mysql://app:secret@db/x", "worker mysql://app:…@db/x"),
    ("perl report.pl --since 2026", "perl report.pl --since 2026"),
])
def test_no_password_of_a_command_line_is_shown(command: str, shown: str) -> None:
    assert without_secrets(command) == shown


def test_code_on_a_command_line_is_not_shown() -> None:
    assert shown_words(["perl", "-e", "my $p = 'geheim'", "x"]) == "perl -e … x"
