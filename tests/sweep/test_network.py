"""The cable of the sweep's network cases must not change what servers see of their clients."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from tests.sweep.network import Network, reason_against
from tests.sweep.pair import environment, python

CLIENT = """
import socket, sys
client = socket.socket()
client.bind(("0.0.0.0", {source}))
client.connect(("127.0.0.1", {target}))
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("then", ["open", "closed"])
def test_a_client_of_the_lab_keeps_its_port(then: str) -> None:
    if reason := reason_against():
        pytest.skip(reason)
    command = ["unshare", "--net", *python("tests.sweep.test_network", then)]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _same_port_on_both_sides(then: str) -> None:
    """Inside a namespace: connect over the cable, and then in the lab from the same port."""
    network = Network()
    try:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            target = server.getsockname()
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                source = free.getsockname()[1]
            words = [sys.executable, "-c", CLIENT.format(source=source, target=target[1])]
            far = subprocess.Popen(
                network.command(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert far.stdout and far.stdout.readline()
            taken, seen = server.accept()
            assert seen[0] == "127.0.0.1"
            if then == "closed":  # its translation outlasts it
                taken.close()
                far.communicate()
            with socket.socket() as near:
                near.bind(("127.0.0.1", source))
                near.connect(target)
                assert server.accept()[1] == near.getsockname()
            far.communicate()
    finally:
        network.close()


if __name__ == "__main__":
    _same_port_on_both_sides(sys.argv[1])
