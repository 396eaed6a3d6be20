"""Sockets handed over by another process, as systemd does: real ones."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from slackwater.facts.kept import Kept
from slackwater.outside.sent_sockets import keepers, peers


@pytest.fixture
def server_program(tmp_path):
    """A program with a server's name, as the kernel sees it."""
    path = tmp_path / "mariadbd"
    shutil.copy("/bin/cat", path)
    return path


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_a_parent_keeps_is_seen(tmp_path, host, server_program):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    path = str(tmp_path / "server.sock")
    with (socket.create_server((host, 0), family=family, backlog=77) as tcp,
          socket.socket(socket.AF_UNIX) as local):  # fmt: skip
        port = tcp.getsockname()[1]
        local.bind(path)
        local.listen()
        assert Kept.of(keepers(port, path)) == Kept(0, {})  # no server has them
        with subprocess.Popen([server_program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              pass_fds=[tcp.fileno(), local.fileno()]) as child:
            _up(child)
            seen = Kept.of(keepers(port, path))
            me = f"{Path('/proc/self/comm').read_text().strip()} ({os.getpid()})"
            assert seen == Kept(
                child.pid, {f"tcp {port}": (me,), f"unix {path}": (me,)}, backlog=77)
            assert seen.whole and seen.keepers == (me,)
            tcp.close()
            left = Kept.of(keepers(port, path))
            assert left.sockets == {f"tcp {port}": (), f"unix {path}": (me,)}
            assert not left.whole and left.names == (f"unix {path}",)
            child.stdin.close()


def _up(child):
    """Until it runs its own program, and not ours any more."""
    child.stdin.write(b"up\n")
    child.stdin.flush()
    assert child.stdout.readline() == b"up\n"


def test_connections_to_a_port():
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        port = tcp.getsockname()[1]
        assert peers(port) == []
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert peers(port) == [client.getsockname()[1]]


def test_what_is_sent_needs_no_package():
    """The modules that go to other hosts run on a bare Python there (`-I -S`)."""
    from slackwater.outside import sent

    done = subprocess.run(
        [sys.executable, *sent.words("title")[1:]], check=True, capture_output=True,
        input=sent.program({"serve": True}) + b'{"ask": "peers", "port": 1}\n',
    )
    assert done.stdout == b'{"answer": []}\n'
