"""Sockets handed over by another process, as systemd does: real ones."""

import os
import socket
import subprocess
import sys

import pytest

from slackwater.errors import OutsideError
from slackwater.outside.listening import activated, handed_over

CHILD = """
import socket, sys
own = socket.create_server(("127.0.0.1", 0))
print("up", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_only_what_both_have_open_counts(tmp_path, host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    path = str(tmp_path / "server.sock")
    with (socket.create_server((host, 0), family=family) as tcp,
          socket.socket(socket.AF_UNIX) as local,
          socket.create_server(("127.0.0.1", 0)) as kept):  # fmt: skip
        local.bind(path)
        local.listen()
        with subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", CHILD], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, pass_fds=[tcp.fileno(), local.fileno()],
        ) as child:  # fmt: skip
            assert child.stdout.readline() == b"up\n"
            assert handed_over(child.pid, keeper=os.getpid()) == sorted(
                [f"tcp {tcp.getsockname()[1]}", f"unix {path}"])
            assert f"tcp {kept.getsockname()[1]}" in handed_over(os.getpid(), keeper=os.getpid())
            child.stdin.close()


def test_a_process_that_is_not_there():
    with pytest.raises(OutsideError, match="process 4194305"):
        handed_over(4194305, keeper=os.getpid())


def test_a_server_that_opened_its_own_socket_is_not_activated(tmp_path):
    path = str(tmp_path / "server.sock")
    assert activated(path) is None, "nobody listens"
    with socket.socket(socket.AF_UNIX) as local:
        local.bind(path)
        local.listen()
        assert not activated(path)  # None where systemd's descriptors may not be looked at
