"""Real stores for tests: a file, MariaDB or MySQL behind its procedures, an etcd of its own."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.registry.rig import end
from tests.servers.for_pairs import for_pairs
from tests.servers.patience import PATIENCE, eventually

from slackwater.facts.server import ServerAddress
from slackwater.lab.instance import Instance, Program
from slackwater.lab.ports import free_port
from slackwater.outside.mysql.session import Session
from slackwater.outside.registry import sql

DATABASE = "slackwater_registry"
PASSWORD = "correct-horse"  # of throwaway servers on loopback


@dataclass
class EtcdNode:
    """One member of a cluster; `peers` are all of them, by name and peer port."""

    name: str
    directory: Path
    peers: dict[str, int]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        peer = f"http://127.0.0.1:{self.peers[self.name]}"
        cluster = ",".join(f"{n}=http://127.0.0.1:{p}" for n, p in self.peers.items())
        with (self.directory / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["etcd", "--name", self.name, "--data-dir", str(self.directory / self.name),
                 "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
                 "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                 "--initial-cluster", cluster, "--initial-cluster-state", "new",
                 "--logger", "zap", "--log-level", "error"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return b'"true"' in answer.read()
        except (OSError, urllib.error.URLError):
            return False

    def stop(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None:
            end(self.process, number)


@contextlib.contextmanager
def etcd(place: Path, nodes: int = 1) -> Iterator[list[EtcdNode]]:
    """A cluster on loopback, healthy."""
    if not shutil.which("etcd"):
        pytest.skip("etcd is not installed")
    place.mkdir()
    peers = {f"n{i}": free_port() for i in range(nodes)}
    made = [EtcdNode(n, place, peers) for n in peers]
    try:
        for each in made:
            each.start()
        for each in made:
            eventually(each.healthy, f"{each.name} is healthy", limit_s=30)
        yield made
    finally:
        for each in made:
            each.stop()


def programs() -> list[Program]:
    """One MariaDB and one MySQL, where they are installed."""
    found: dict[str, Program] = {}
    for program in for_pairs():
        found.setdefault("mariadb" if program.is_mariadb else "mysql", program)
    return list(found.values())


@contextlib.contextmanager
def database(program: Program, place: Path, *, install: bool = True) -> Iterator[Instance]:
    """A running server with the registry's tables and procedures, and two accounts:
    `registry` and `web`."""
    server = Instance.create(program, place / "db", server_id=1, mark=place)
    try:
        server.start(60 * PATIENCE)
        if install:
            asyncio.run(run_as_root(server, [
                *accounts(), *sql.schema(DATABASE),
                *sql.grants(DATABASE, servers=["web@127.0.0.1"], registry=["registry@127.0.0.1"]),
            ]))
        yield server
    finally:
        server.remove()


def accounts() -> list[str]:
    """The accounts that an administrator makes."""
    return [f"CREATE USER '{name}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'"
            for name in ("web", "registry")]


async def run_as_root(server: Instance, statements: list[str]) -> None:
    at = ServerAddress(name="root", user="root", socket=str(server.socket))
    async with await Session.open(at, limit_s=20 * PATIENCE) as session:
        for statement in statements:
            await session.run(statement, limit_s=20 * PATIENCE)


def address(server: Instance, user: str = "registry") -> ServerAddress:
    """How an account reaches the server."""
    return ServerAddress(name="registry", user=user, password=PASSWORD, host="127.0.0.1",
                         port=server.port)
