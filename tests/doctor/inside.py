"""What needs a network of its own: run by test_network.py under `unshare --net --mount`.

    python -m tests.doctor.inside SCENARIO SERVER PLACE      prints the doctor's JSON
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
from tests.doctor.clients import client
from tests.doctor.conftest import PASSWORD, resolve
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually

from slackwater.cli.doctor_page import as_json
from slackwater.facts.doctor.finding import Finding
from slackwater.facts.server import ServerAddress
from slackwater.lab.instance import Instance
from slackwater.operations.doctor.doctor import Diagnosis, look_at_host, of_host, together
from slackwater.operations.doctor.servers import Asked, of_server
from slackwater.operations.doctor.watch import watch
from slackwater.outside import processes
from slackwater.outside import server_programs as programs
from slackwater.outside.processes import Known

# A firewall that forgets a connection that is idle for a second, and drops what it does not know.
FORGETS = """
table inet middlebox {{
  chain through {{
    type filter hook input priority 0;
    tcp dport {port} ct state new tcp flags & (syn | ack) == syn accept
    ct state established accept
    tcp dport {port} drop
    tcp sport {port} drop
  }}
}}"""
# The same, but it resets what it does not know.
RESETS = FORGETS.replace("tcp dport {port} drop", "tcp dport {port} reject with tcp reset").replace(
    "    tcp sport {port} drop\n", "")
# A resolver that never answers.
SILENT = """
table inet silence {
  chain asked {
    type filter hook output priority 0;
    udp dport 53 drop
  }
}"""


def run(*words: str) -> None:
    """A command that has to succeed."""
    subprocess.run(words, check=True, capture_output=True, text=True)


@contextlib.contextmanager
def server(name: str, place: Path, *extra: str) -> Iterator[Instance]:
    """A server in this network, with an account for every address of it."""
    program = next(p for p in programs.installed() if p.name == name)
    made = Instance.create(program, place / "s", server_id=1, mark=place, extra=extra)
    resolve(made)
    try:
        made.start(60 * PATIENCE)
        sql(made.socket, f"CREATE USER app@'127.0.0.%' IDENTIFIED BY '{PASSWORD}'")
        sql(made.socket, "GRANT ALL ON *.* TO app@'127.0.0.%'")
        yield made
    finally:
        made.remove()


def told(it: Instance) -> Any:
    """What the server says of it."""
    at = ServerAddress("s", "root", socket=str(it.socket))
    return asyncio.run(of_server(at, Asked(between_s=0.1, limit_s=10 * PATIENCE)))


def middlebox(name: str, place: Path) -> Any:
    """The connection is idle, is forgotten without a word, and is used again."""
    for key, value in (("loose", 0), ("timeout_established", 1)):
        Path(f"/proc/sys/net/netfilter/nf_conntrack_tcp_{key}").write_text(str(value))
    with server(name, place) as it:
        run("nft", FORGETS.format(port=it.port))
        with client("c", "open", "", it.port) as one:
            known = Known(frozenset({it.port}))

            def connection() -> Any:
                return next(iter(processes.scan(known, [one.pid]).connections.values()))

            eventually(lambda: connection().idle_ms > 2500, "it is idle, and forgotten")
            assert one.process.stdin
            one.process.stdin.write("query\n")
            one.process.stdin.flush()
            eventually(lambda: connection().retransmits > 2, "nobody acknowledges it")
            found = together([of_host(look_at_host(known, [one.pid])), told(it)])
            run("nft", "flush", "ruleset")  # so that it ends well
            one.process.kill()
    return found


def reset(name: str, place: Path) -> Any:
    """The same, but the client is told at its next statement, and keeps the socket; it is
    watched."""
    for key, value in (("loose", 0), ("timeout_established", 1)):
        Path(f"/proc/sys/net/netfilter/nf_conntrack_tcp_{key}").write_text(str(value))
    with server(name, place) as it:
        run("nft", RESETS.format(port=it.port))
        link = pymysql.connect(host="127.0.0.1", port=it.port, user="app", password=PASSWORD,
                               ssl_disabled=True)
        found = asyncio.run(_watched(it, link._sock))  # type: ignore[attr-defined]
        run("nft", "flush", "ruleset")  # so that it ends well
    return found


async def _watched(it: Instance, raw: socket.socket) -> Diagnosis:
    """What a watch says of it, until its one loss is explained."""
    found: list[Finding] = []
    known = Known(frozenset({it.port}))
    at = ServerAddress("s", "root", socket=str(it.socket), port=it.port)
    inode = os.fstat(raw.fileno()).st_ino

    def rest_and_ask() -> None:
        eventually(lambda: (processes.scan(known, [os.getpid()]).connections[inode].idle_ms or 0)
                   > 2500, "it is forgotten")
        raw.sendall(b"\t\0\0\0\3SELECT 1")
        with contextlib.suppress(ConnectionResetError):
            raw.recv(1)

    async with asyncio.timeout(30 * PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(rest_and_ask))
        async for event in watch(known, [at], Asked(limit_s=10 * PATIENCE), every_s=0.1,
                                 pids=lambda: [os.getpid()], until=lambda: bool(found)):
            found.append(event.finding)
    return Diagnosis(found)


def dns(name: str, place: Path) -> Any:
    """The server asks a resolver that is dead for each client's name, and waits for it."""
    (place / "resolv.conf").write_text(
        "nameserver 127.0.0.53\noptions timeout:1 attempts:1\n")
    run("mount", "--bind", str(place / "resolv.conf"), str(Path("/etc/resolv.conf").resolve()))
    run("nft", SILENT)
    with server(name, place, "--skip-name-resolve=OFF", "--performance-schema=ON") as it:
        with contextlib.suppress(pymysql.err.OperationalError):
            pymysql.connect(host="127.0.0.1", port=it.port, user="app", password=PASSWORD,
                            bind_address="127.0.0.2", connect_timeout=int(30 * PATIENCE)).close()
        return told(it)


SCENARIOS: dict[str, Callable[[str, Path], Any]] = {
    "middlebox": middlebox, "reset": reset, "dns": dns}

if __name__ == "__main__":
    socket.setdefaulttimeout(60 * PATIENCE)
    run("ip", "link", "set", "lo", "up")
    scenario, which, where = sys.argv[1:]
    print(json.dumps(as_json(SCENARIOS[scenario](which, Path(where)), 0)))
