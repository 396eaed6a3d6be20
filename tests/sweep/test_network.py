"""The cable of the sweep's network cases must not change what servers see of their clients."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from tests.servers.patience import PATIENCE
from tests.sweep.network import Network, reason_against
from tests.sweep.pair import environment, python

LIMIT_S = 20 * PATIENCE
CLIENT = """
import socket, sys
client = socket.socket()
client.bind(("0.0.0.0", {source}))
client.connect(("127.0.0.1", {target}))
print(flush=True)
sys.stdin.read()
"""


# Two connections: a plain one, and one as slackwater makes them. Both are given up in a cut.
GIVEN_UP = """
import asyncio, sys
from slackwater.outside.haproxy.runtime import connect

async def main():
    plain = await asyncio.open_connection("127.0.0.1", {target})
    ours = await connect("tcp:127.0.0.1:{target}")
    for _, writer in (plain, ours):
        writer.write(b"hello")
        await writer.drain()
    print(flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for _, writer in (plain, ours):
        writer.write(b" late")
    print(flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("then", ["open", "closed", "given-up"])
def test_in_a_namespace(then: str) -> None:
    """A client of the lab keeps its port; what slackwater gave up is not delivered later."""
    if reason := reason_against():
        pytest.skip(reason)
    command = ["unshare", "--net", *python("tests.sweep.test_network", then)]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False,
        timeout=3 * LIMIT_S,
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


def _given_up_is_never_delivered() -> None:
    """Inside a namespace: what is sent in a cut arrives when it ends, unless it was given up."""
    network = Network()
    try:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            server.settimeout(LIMIT_S)
            target = server.getsockname()[1]
            network.ports["old"] = (target,)
            words = [sys.executable, "-c", GIVEN_UP.format(target=target)]
            far = subprocess.Popen(
                network.command(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert far.stdin and far.stdout
            plain, ours = server.accept()[0], server.accept()[0]
            far.stdout.readline()
            network.cut("old")
            far.stdin.write(b"\n")
            far.stdin.flush()
            far.stdout.readline()
            far.communicate()  # it has ended, as if killed: the kernel has the rest
            network.heal()
            for link in (plain, ours):
                link.settimeout(LIMIT_S)
            assert plain.recv(99) == b"hello" and plain.recv(99) == b" late"
            assert ours.recv(99) == b"hello"
            ours.setblocking(False)
            try:
                late = ours.recv(99)
            except (BlockingIOError, ConnectionResetError):
                late = b""
            assert late == b"", "a line that was given up has arrived"
    finally:
        network.close()


if __name__ == "__main__":
    if sys.argv[1] == "given-up":
        _given_up_is_never_delivered()
    else:
        _same_port_on_both_sides(sys.argv[1])
