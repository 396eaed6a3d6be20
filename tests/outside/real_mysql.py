"""Real servers of each kind, for tests of what slackwater asks of one: one of them running, an
account without special rights, a table, and sessions of both sides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from slackwater.facts.server import ServerAddress
from slackwater.lab.instance import Instance
from slackwater.outside import server_programs as programs
from slackwater.outside.mysql import server
from slackwater.outside.mysql.session import Session

WANTED = ("mariadb-10.5", "mariadb-10.11", "mariadb-11.8", "mysql-5.7", "mysql-9.7")
PASSWORD = "it's %s ü"
INSERT = "INSERT INTO t.x (v) VALUES (1)"


@pytest.fixture(scope="module", params=WANTED)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
            ) -> Iterator[Instance]:  # fmt: skip
    """One server of each flavour, with an account without special rights and a table."""
    found = next((p for p in programs.installed() if p.name == request.param), None)
    if found is None:
        pytest.skip(f"{request.param} is not installed (scripts/servers/get {request.param})")
    home = tmp_path_factory.mktemp(request.param)
    home.chmod(0o755)  # the server runs as another user
    it = Instance.create(found, home / "s", server_id=7, mark=home)
    it.start()
    try:
        asyncio.run(_prepare(it))
        yield it
    finally:
        it.kill()
        it.remove()


async def _prepare(it: Instance) -> None:
    async with await Session.open(root(it)) as session:
        await session.run("CREATE DATABASE t")
        await session.run("CREATE TABLE t.x (id INT PRIMARY KEY AUTO_INCREMENT, v INT)")
        await session.run("INSERT INTO t.x (v) VALUES (0)")
        for host in ("localhost", "127.0.0.1"):
            await session.run(f"CREATE USER app@'{host}' IDENTIFIED BY %s", PASSWORD)
            await session.run(f"GRANT SELECT, INSERT, UPDATE, LOCK TABLES ON t.* TO app@'{host}'")


def root(it: Instance) -> ServerAddress:
    return ServerAddress("s", "root", socket=str(it.socket))


def app(it: Instance, **other: object) -> ServerAddress:
    way: dict[str, object] = {"socket": str(it.socket)} | other
    return ServerAddress("s", "app", PASSWORD, **way)  # type: ignore[arg-type]


Test = Callable[[Session, Session], Awaitable[None]]


def with_sessions(it: Instance, test: Test) -> None:
    """Run with a control session (root) and a client's (app)."""

    async def run() -> None:
        async with await Session.open(root(it)) as control, await Session.open(app(it)) as client:
            try:
                await test(control, client)
            finally:
                await server.set_read_only(control, False)

    asyncio.run(run())


async def until(look: Callable[[], Awaitable[bool]], limit_s: float = 5.0) -> float:
    begun = time.monotonic()
    while not await look():
        assert time.monotonic() - begun < limit_s, "waited in vain"
        await asyncio.sleep(0.005)
    return time.monotonic() - begun
