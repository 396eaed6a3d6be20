"""The handles that every operation on servers works with: sessions, notes, figures."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable
from typing import Protocol

from slackwater.config import Config, host_port
from slackwater.errors import OutsideError, SlackwaterError
from slackwater.facts.server import ServerAddress
from slackwater.operations.world import World
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import MysqlError, Session

CONNECT_LIMIT_S = 3.0
# A server whose operator is gone frees our locks after this long, whatever happened to us.
SESSION_WAIT_TIMEOUT_S = 60
END_LIMIT_S = 3.0
FULL = 1040  # too many connections


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

    async def open(self, *, to_look: bool = False) -> None:
        """Open what is not open, or no longer usable. `to_look`: one is enough where the server
        is full, which has one place left, for administrators."""
        if self.control is None or self.control.broken:
            self.control = await self._new()
        if self.spare is None or self.spare.broken:
            try:
                self.spare = await self._new()
            except MysqlError as error:
                if not (to_look and error.code == FULL):
                    raise

    async def session(self) -> Session:
        """A session that can be used now: the control one, the spare, or a new one."""
        for session in (self.control, self.spare):
            if session is not None and not session.broken:
                return session
        self.control = await self._new()
        return self.control

    async def renew(self) -> None:
        """Open new sessions in place of those that a restart, or a long wait, may have cut."""
        for session in (self.control, self.spare):
            if session is not None:
                session.drop("replaced by a new one")
        await self.open()

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


class ServersWorld(World):
    """What steps act on: some servers. `name` is what is locked: a pair, or one server."""

    def __init__(
        self, config: Config, name: str, servers: Iterable[str], *, as_admin: bool = False
    ) -> None:
        super().__init__(config, name)
        self.limits = config.limits
        password = "" if as_admin else config.password()
        self.servers = {
            s: Server(s, admin_address(config, s) if as_admin
                      else server_address(config, s, password))
            for s in servers
        }
        self.unreachable: dict[str, str] = {}
        self.kept_alive = 0.0  # clock.mono() of the last keep_alive

    async def connect(self, *, to_look: bool = False) -> None:
        """Reach every server; those that cannot be reached are noted, not raised. `to_look`: as
        of Server.open."""

        async def reach(server: Server) -> None:
            try:
                await server.open(to_look=to_look)
                self.unreachable.pop(server.name, None)
            except SlackwaterError as error:
                self.unreachable[server.name] = str(error)

        await asyncio.gather(*(reach(s) for s in self.servers.values()))

    async def close(self) -> None:
        """Give everything back; never raises, never takes long."""
        await close_all(self.servers.values())

    def own_ids(self, server: str) -> set[int]:
        """Ids of the sessions on a server that are ours."""
        return self.servers[server].own_ids()

    async def session(self, server: str) -> Session:
        """A usable session to that server; raises OutsideError when it cannot be reached."""
        return await self.servers[server].session()

    async def end_session(self, server: str, session_id: int) -> None:
        """Kill one of our sessions and wait until the server no longer has it. Raises OutsideError,
        also when the server keeps it: it then may go on with what it does."""
        fresh = await self.servers[server].fresh()
        try:
            async with asyncio.timeout(END_LIMIT_S):
                while await mysql_server.end_session(fresh, session_id):
                    await asyncio.sleep(0.002)
        except TimeoutError as error:
            raise OutsideError(
                fresh.at.where, f"our session {session_id} was told to end {END_LIMIT_S:g} s ago"
                " and is still there", sent=True,
                hint=f"look at it in SHOW FULL PROCESSLIST on {server}: while it has all tables "
                     "locked, every write there waits; a server that keeps it has to be restarted",
            ) from error
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


class Closing(Protocol):
    """What can be closed."""

    async def close(self) -> None:
        """Close it."""


async def close_all(handles: Iterable[Closing]) -> None:
    """Close them; never raises, never takes long."""
    for handle in handles:
        try:
            async with asyncio.timeout(1):
                await handle.close()
        except (SlackwaterError, OSError, TimeoutError):
            continue


def admin_address(config: Config, name: str) -> ServerAddress:
    """Where and how the administrator logs in to a configured server: [accounts.admin], and
    without it slackwater's own account. Raises ConfigError."""
    at = server_address(config, name, config.admin_password())
    admin = config.accounts.admin
    return dataclasses.replace(at, user=admin.user) if admin else at


def server_address(config: Config, name: str, password: str) -> ServerAddress:
    """Where and how to log in to a configured server."""
    table, account = config.servers[name], config.accounts.slackwater
    host, port = host_port(table.address)
    return ServerAddress(
        name=name, host=host, port=port,
        # One on another machine: held maintenance finds a way to it by SSH.
        socket=str(table.socket) if table.socket and not table.ssh else "",
        user=account.user, password=password,
        tls=account.tls, ca=str(account.ca) if account.ca else "",
    )
