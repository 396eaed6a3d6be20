"""A real HAProxy on slackwater's own rendered files, before two small servers that greet."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from slackwater.errors import OutsideError
from slackwater.facts.balancer import BalancerAddress
from slackwater.outside.haproxy import config
from slackwater.outside.haproxy.haproxy import HAProxy


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


async def until(what: Callable[[], Awaitable[bool]], limit_s: float = 15.0) -> None:
    """Look again and again until it is so; fails after the limit."""
    async with asyncio.timeout(limit_s):
        while not await what():
            await asyncio.sleep(0.005)


class Greeter:
    """A server that speaks first, as MySQL does: says its name, then echoes lines."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.served = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served += 1
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            writer.write(f"{self.name}\n".encode())
            while data := await reader.readline():
                writer.write(data)
        self._writers.discard(writer)
        writer.close()

    def peers(self) -> set[str]:
        """Whom it serves: the other ends (host:port) of its connections."""
        return {"{}:{}".format(*w.get_extra_info("peername")) for w in self._writers}

    async def stop(self) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        async with asyncio.timeout(5):
            while self._writers:
                await asyncio.sleep(0.005)


class Client:
    """One client: `greeted()` waits for the server's name."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, frontend: str) -> Client:
        host, _, port = frontend.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def greeted(self, limit_s: float = 5.0) -> str:
        async with asyncio.timeout(limit_s):
            return (await self.reader.readline()).decode().strip()

    async def echo(self, word: str) -> str:
        self.writer.write(f"{word}\n".encode())
        return await self.greeted()

    def close(self) -> None:
        self.writer.close()


class Lab:
    """HAProxy for one or more pairs. `pairs`: the address of each; `servers`: a, b of each."""

    def __init__(self, directory: Path, backends: tuple[str, ...] = ("pair",)) -> None:
        self.directory = directory
        self.pairs = {name: self._address(name) for name in backends}
        self.servers: dict[str, dict[str, Greeter]] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.main = directory / "haproxy.cfg"

    def _address(self, backend: str) -> BalancerAddress:
        d = self.directory
        return BalancerAddress(
            name="lb1",
            runtime=f"unix:{d}/admin.sock",
            backend=backend,
            frontend=f"127.0.0.1:{free_port()}",
            pin=f"unix:{d}/{backend}.pin",
            holds_map=f"{d}/slackwater-holds.map",
            config_file=f"{d}/slackwater-{backend}.cfg",
        )

    async def write(self, maxconn: int = 8000) -> None:
        self.main.write_text(config.render_global(list(self.pairs.values()), maxconn=maxconn))
        for name, at in self.pairs.items():
            self.servers[name] = {n: Greeter(n) for n in ("a", "b")}
            for server in self.servers[name].values():
                await server.start()
            where = {n: f"127.0.0.1:{s.port}" for n, s in self.servers[name].items()}
            Path(at.config_file).write_text(config.render(name, at, where, "a", maxconn=maxconn))
            config.lua_path(at).write_text(config.render_lua(at))
            Path(at.holds_map).write_text(config.render_map())

    def command(self) -> list[str]:
        files = [str(self.main), *(at.config_file for at in self.pairs.values())]
        return ["haproxy", "-db", *(word for file in files for word in ("-f", file))]

    async def start(self, *, alive: bool = True) -> None:
        """Start HAProxy; `alive`: wait for its Lua task, where it has one, too."""
        log = (self.directory / "haproxy.log").open("ab")
        self.process = subprocess.Popen(  # noqa: ASYNC220 - blocks for a moment only
            self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        log.close()
        balancer = HAProxy(next(iter(self.pairs.values())))

        async def answers() -> bool:
            assert self.process and self.process.poll() is None, self.log()
            with contextlib.suppress(OutsideError):
                state = await balancer.look()
                return not alive or state.switch is None or state.switch.age_ms < 1000
            return False

        await until(answers)

    def log(self) -> str:
        return (self.directory / "haproxy.log").read_text()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)
        self.process = None

    async def close(self) -> None:
        self.stop()
        for pair in self.servers.values():
            for server in pair.values():
                await server.stop()


@contextlib.asynccontextmanager
async def lab(*backends: str, start: bool = True, maxconn: int = 8000) -> AsyncIterator[Lab]:
    """A running HAProxy for these backends (one, `pair`, by default), and its end."""
    with tempfile.TemporaryDirectory(prefix="slw") as directory:
        made = Lab(Path(directory), backends or ("pair",))
        try:
            await made.write(maxconn)
            if start:
                await made.start()
            yield made
        finally:
            await made.close()


@contextlib.asynccontextmanager
async def clients(at: BalancerAddress, count: int) -> AsyncIterator[list[Client]]:
    """So many connections to the frontend, closed at the end."""
    made = [await Client.connect(at.frontend) for _ in range(count)]
    try:
        yield made
    finally:
        for client in made:
            client.close()


def in_seconds(seconds: float) -> float:
    """A deadline."""
    return time.time() + seconds
