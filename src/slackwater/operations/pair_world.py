"""The handles that a pair's operations work with: sessions, balancers, notes, figures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from slackwater import clock
from slackwater.config import Config, host_port
from slackwater.errors import OutsideError, SlackwaterError, StepFailed
from slackwater.facts.balancer import BalancerAddress
from slackwater.facts.server import ServerAddress
from slackwater.outside import mysql_server
from slackwater.outside.haproxy import HAProxy
from slackwater.outside.host import Host
from slackwater.outside.mysql_session import Session
from slackwater.plan.journal import Journal

CONNECT_LIMIT_S = 3.0
# A server whose operator is gone frees our locks after this long, whatever happened to us.
SESSION_WAIT_TIMEOUT_S = 60

Item = TypeVar("Item")


class Server:
    """One database server with the sessions that an operation keeps open to it.

    Two are opened at the start, because undoing must not need a new connection (a full server
    has none to give).
    """

    def __init__(self, name: str, at: ServerAddress) -> None:
        self.name, self.at = name, at
        self.control: Session | None = None
        self.spare: Session | None = None
        self.lock: Session | None = None  # holds FLUSH TABLES WITH READ LOCK during a fence

    async def open(self) -> None:
        """Open what is not open, or no longer usable."""
        if self.control is None or self.control.broken:
            self.control = await self._new()
        if self.spare is None or self.spare.broken:
            self.spare = await self._new()

    async def session(self) -> Session:
        """A session that can be used now: the control one, the spare, or a new one."""
        for session in (self.control, self.spare):
            if session is not None and not session.broken:
                return session
        self.control = await self._new()
        return self.control

    async def fresh(self, limit_s: float = CONNECT_LIMIT_S) -> Session:
        """A session of its own for a look; the caller closes it."""
        return await Session.open(self.at, limit_s=limit_s)

    async def _new(self) -> Session:
        session = await Session.open(self.at, limit_s=CONNECT_LIMIT_S)
        await session.run(f"SET SESSION wait_timeout = {SESSION_WAIT_TIMEOUT_S}", limit_s=1)
        return session

    def own_ids(self) -> set[int]:
        """Connection ids of ours on this server."""
        return {
            s.connection_id for s in (self.control, self.spare, self.lock) if s is not None
        }

    async def close(self) -> None:
        for session in (self.lock, self.spare, self.control):
            if session is not None:
                await session.close()
        self.lock = self.spare = self.control = None


class PairWorld:
    """What steps act on. Made by `connect`; `close` it."""

    def __init__(self, config: Config, pair: str) -> None:
        self.config = config
        self.name, table = config.pair(pair)
        self.pair: tuple[str, str] = (table.servers[0], table.servers[1])
        self.replicas = table.replicas
        self.limits = config.limits
        password = config.password()
        self.servers = {
            name: Server(name, server_address(config, name, password))
            for name in (*self.pair, *self.replicas)
        }
        self.balancers = {
            name: HAProxy(balancer_address(config, name)) for name in table.balancers
        }
        self.hosts = {name: Host(self.config.balancers[name].ssh) for name in table.balancers}
        self.figures: dict[str, Any] = {}
        self.notes: dict[str, Any] = {}
        self.journal: Journal | None = None
        self.unreachable: dict[str, str] = {}
        self.held_since: float | None = None  # clock.mono() of the first hold
        self.held_until: float | None = None  # clock.mono() at which the balancers let go

    async def connect(self) -> None:
        """Reach every server; those that cannot be reached are noted, not raised."""

        async def reach(server: Server) -> None:
            try:
                await server.open()
                self.unreachable.pop(server.name, None)
            except SlackwaterError as error:
                self.unreachable[server.name] = str(error)

        await asyncio.gather(*(reach(s) for s in self.servers.values()))

    async def close(self) -> None:
        """Give everything back; never raises.

        What we still hold ends at its deadline, and our pins with it: sooner, and clients would
        come one by one to the server that was active, which may be read-only by now.
        """
        await asyncio.sleep(max((b.held_for_s() for b in self.balancers.values()), default=0.0))
        handles: list[Server | HAProxy | Host] = [
            *self.servers.values(), *self.balancers.values(), *self.hosts.values(),
        ]
        for handle in handles:
            try:
                async with asyncio.timeout(1):
                    await handle.close()
            except (SlackwaterError, OSError, TimeoutError):
                continue

    def note(self, key: str, value: Any) -> None:
        """Remember something for those who undo or finish, also after a crash."""
        self.notes[key] = value
        if self.journal is not None:
            self.journal.write("noted", key=key, value=value)

    def own_ids(self, server: str) -> set[int]:
        """Ids of the sessions on a server that are ours, the balancers' pins among them."""
        pins = {b.pin_session_id for b in self.balancers.values()}
        return self.servers[server].own_ids() | pins

    def hold_left_s(self) -> float:
        """Seconds until the balancers let clients in by themselves; 0 when nothing is held."""
        return max(0.0, self.held_until - clock.mono()) if self.held_until else 0.0

    async def session(self, server: str) -> Session:
        """A usable session to that server; raises OutsideError when it cannot be reached."""
        return await self.servers[server].session()

    async def end_session(self, server: str, session_id: int) -> None:
        """Kill one of our sessions and wait until the server no longer has it."""
        fresh = await self.servers[server].fresh()
        try:
            async with asyncio.timeout(3):
                while await mysql_server.end_session(fresh, session_id):
                    await asyncio.sleep(0.002)
        finally:
            await fresh.close()

    async def writable(self, server: str) -> bool | None:
        """Whether a server accepts writes; None when nobody can tell now.

        A server whose port or socket refuses is not running, and so does not accept any.
        """
        control = self.servers[server].control
        if control is not None and not control.broken:
            try:
                return await mysql_server.is_writable(control, limit_s=1)
            except OutsideError:
                pass  # that session is lost; a new one tells
        try:
            session = await self.servers[server].fresh(limit_s=1.5)
        except OutsideError as error:
            return False if error.refused else None
        try:
            return await mysql_server.is_writable(session, limit_s=1)
        except OutsideError:
            return None
        finally:
            await session.close()

    async def each_balancer(
        self, names: Iterable[str], act: Callable[[HAProxy], Awaitable[Item]]
    ) -> dict[str, Item]:
        """Act on all balancers at once; raises StepFailed naming each that failed."""
        chosen = list(names)
        results = await asyncio.gather(
            *(act(self.balancers[n]) for n in chosen), return_exceptions=True
        )
        failed = [f"{r}" for r in results if isinstance(r, BaseException)]
        if failed:
            raise StepFailed("; ".join(failed))
        return dict(zip(chosen, results, strict=True))  # type: ignore[arg-type]


def server_address(config: Config, name: str, password: str) -> ServerAddress:
    """Where and how to log in to a configured server."""
    table, account = config.servers[name], config.accounts.slackwater
    host, port = host_port(table.address)
    return ServerAddress(
        name=name, host=host, port=port,
        socket=str(table.socket) if table.socket else "",
        user=account.user, password=password,
        tls=account.tls, ca=str(account.ca) if account.ca else "",
    )


def balancer_address(config: Config, name: str) -> BalancerAddress:
    """Where a configured balancer's runtime API, frontends and files are."""
    table = config.balancers[name]
    return BalancerAddress(
        name=name, runtime=table.runtime, backend=table.backend, frontend=table.frontend,
        pin=table.pin, holds_map=str(table.holds_map), config_file=str(Path(table.config_file)),
    )
