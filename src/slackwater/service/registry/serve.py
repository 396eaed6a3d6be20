"""`slackwater registry serve`: all parts of the registry, put together and run."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import shlex
import signal
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn

from slackwater import clock
from slackwater.config import host_port
from slackwater.errors import ConfigError
from slackwater.facts.server import ServerAddress
from slackwater.outside.registry import apache, haproxy, nginx, tls
from slackwater.outside.registry.balancer import Balancer, Files
from slackwater.outside.registry.keys import KeyRing
from slackwater.outside.registry.notify import notify
from slackwater.outside.registry.store import Store
from slackwater.outside.registry.store_file import FileStore
from slackwater.outside.secrets import read_password
from slackwater.rules.registry.pace import Pace
from slackwater.service.registry import api
from slackwater.service.registry.applier import Applier
from slackwater.service.registry.door import Bouncer, door
from slackwater.service.registry.gate import Gate
from slackwater.service.registry.keeper import Keeper
from slackwater.service.registry.longest import Longest
from slackwater.service.registry.roster import Roster
from slackwater.service.registry.settings import BalancerTable, Settings, StoreTable

MAX_HEAD = 16 * 1024
KEEP_ALIVE_S = 30
GOODBYE_S = 3
HANDSHAKE_S = 5  # of TLS; asyncio's own minute is before the door, which counts connections


class Registry:
    """A registry by its settings. `run` until `stop`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        store = store_of(settings.store, settings)
        files = [None, None] if isinstance(store, FileStore) else [
            FileStore(settings.directory / name) for name in ("last-good.json", "untold.json")]
        self.roster = Roster(store, settings.known_pools(), last_good=files[0], untold=files[1])
        rules = {pool: settings.rules(pool) for pool in settings.pools}
        self.keeper = Keeper(self.roster, rules, probe_s=settings.limits.probe)
        limits = settings.limits
        pace = Pace(limits.quiet, limits.longest, limits.between_reloads)
        self.keeper.appliers = [
            Applier(balancer_of(name, table, settings), self.keeper.now, self.keeper.progress, pace)
            for name, table in settings.balancers.items()
        ]
        self.bouncer = Bouncer()
        self._server = uvicorn.Server(self._http())

    def _http(self) -> uvicorn.Config:
        settings = self.settings
        app = api.make(self.roster, self.keeper, allow_loopback=settings.allow_loopback)
        host, port = host_port(settings.listen)
        files: dict[str, Any] = {}
        if settings.tls is not None:
            if warning := tls.check_own(settings.tls.certificate, settings.tls.key):
                print(f"slackwater: {warning}", file=sys.stderr, flush=True)
            files = {"ssl_certfile": settings.tls.certificate, "ssl_keyfile": settings.tls.key}
        return uvicorn.Config(
            Gate(app, KeyRing(settings.keys), self.bouncer.strike), host=host, port=port,
            http=door(self.bouncer), ws="none", lifespan="off", log_level="error",
            access_log=False, server_header=False, proxy_headers=False,
            h11_max_incomplete_event_size=MAX_HEAD, timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GOODBYE_S, backlog=2048, **files,
        )

    def stop(self) -> None:
        """End `run`; requests under way are answered."""
        self._server.should_exit = True

    async def run(self) -> None:
        """Serve until `stop`. Members and balancers stay as they are when it ends."""
        await self.roster.start()
        # Before any balancer is told anything: or the first thing would be that nobody is there.
        await self.keeper.judge(every=True)
        longest = Longest(self.settings.directory / "longest-lease.json",
                          self.settings.limits.come_back)
        left_alone_s = longest.left_alone_s()
        for applier in self.keeper.appliers:
            # Nothing is known, but the balancer has members: what was known is lost, and they come
            # back with their next renewal. Till then they keep their traffic.
            lost = not self.roster.count or self.roster.faults
            if (lost or left_alone_s) and await applier.balancer.has_members():
                left_alone_s = longest.lost() if lost else left_alone_s
                applier.not_before = clock.mono() + left_alone_s
            applier.tell()
        serving = asyncio.ensure_future(self._serve())
        tasks = [asyncio.ensure_future(c) for c in (
            self.roster.follow(), self.keeper.run(),
            longest.keep(self.roster), *(a.run() for a in self.keeper.appliers))]
        try:
            # One that ends is a fault of ours: better to be restarted than to be half there.
            done, _ = await asyncio.wait([serving, *tasks], return_when=asyncio.FIRST_COMPLETED)
            self.stop()
            await serving
            for task in done:
                task.result()
        finally:
            notify("STOPPING=1")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.roster.store.close()

    async def _serve(self) -> None:
        with _no_signals(self._server), _short_handshakes(on=self.settings.tls is not None):
            ready = asyncio.ensure_future(self._ready())
            try:
                await self._server.serve()
            except SystemExit:
                raise ConfigError(f"cannot listen on {self.settings.listen}",
                                  hint="is another registry running there?") from None
            finally:
                ready.cancel()

    async def _ready(self) -> None:
        while not self._server.started:
            await asyncio.sleep(0.02)
        notify("READY=1", f"STATUS=listening on {self.settings.listen}")


@contextlib.contextmanager
def _no_signals(server: uvicorn.Server) -> Iterator[None]:
    """Signals are `serve`'s: uvicorn's own handlers are not installed."""
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment,method-assign]
    yield


@contextlib.contextmanager
def _short_handshakes(*, on: bool) -> Iterator[None]:
    """uvicorn hands on everything of TLS but this."""
    loop = asyncio.get_running_loop()
    if on:
        loop.create_server = functools.partial(  # type: ignore[method-assign]
            loop.create_server, ssl_handshake_timeout=HANDSHAKE_S)
    yield


async def serve(settings: Settings) -> None:
    """Run a registry until SIGTERM or SIGINT."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # refusals are not errors
    registry = Registry(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, registry.stop)
    await registry.run()


def store_of(table: StoreTable, settings: Settings) -> Store:
    """The store that is configured. Raises ConfigError."""
    password = read_password(file=table.password_file) if table.password_file else ""
    if table.kind == "mysql":
        from slackwater.outside.registry.store_mysql import MysqlStore

        host, port = host_port(table.address) if table.address else ("", 3306)
        at = ServerAddress(
            name="registry", user=table.user, password=password, host=host, port=port,
            socket=str(table.socket or ""), tls=table.tls, ca=str(table.ca or ""),
        )
        return MysqlStore(at, table.database, poll_s=table.poll)
    if table.kind == "etcd":
        from slackwater.outside.registry.store_etcd import EtcdStore

        return EtcdStore(table.endpoints, table.prefix, user=table.user, password=password,
                         ca=str(table.ca or ""))
    return FileStore(settings.directory / "members.json")


def balancer_of(name: str, table: BalancerTable, settings: Settings) -> Balancer:
    """A balancer of the settings."""
    pools = settings.pools_of(name)
    reload_ = {"apache": apache.RELOAD, "nginx": nginx.RELOAD, "haproxy": haproxy.RELOAD}
    check = {"apache": apache.CHECK, "nginx": (),
             "haproxy": haproxy.check([str(m) for m in table.main])}
    files = Files(
        table.file,
        tuple(shlex.split(table.check)) if table.check else check[table.kind],
        tuple(shlex.split(table.reload)) if table.reload else reload_[table.kind],
        table.pid_file,
    )
    if table.kind == "apache":
        return apache.Apache(name, files, pools)
    if table.kind == "nginx":
        return nginx.Nginx(name, files, pools)
    return haproxy.HAProxy(name, files, pools, str(table.runtime))
