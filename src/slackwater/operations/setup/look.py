"""Look at every server that shall belong together: what is there, before anything is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from slackwater.config import Config, Group
from slackwater.errors import ConfigError, OutsideError, SlackwaterError
from slackwater.facts.setup import OWN_FILE, OwnFile, ServerSetup
from slackwater.operations.servers_world import ServersWorld, server_address
from slackwater.operations.setup import file_taken
from slackwater.outside.host import Host
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.outside.mysql.clients import client_sessions
from slackwater.outside.mysql.session import Session


class SetupWorld(ServersWorld):
    """What the steps of setting up act on: all servers of a pair or source, as administrator."""

    def __init__(self, config: Config, group: Group) -> None:
        super().__init__(config, group.name, group.servers, as_admin=True)
        self.group = group
        self.hosts = {s: Host(config.servers[s].ssh) for s in group.servers}

    def has_host(self, server: str) -> bool:
        """Whether the server's machine can be asked: it is this one, or there is an ssh."""
        table = self.config.servers[server]
        return bool(table.ssh or table.socket or table.config_dir)

    async def close(self) -> None:
        await super().close()
        for host in self.hosts.values():
            await host.close()


async def look(world: SetupWorld) -> tuple[dict[str, ServerSetup], list[str]]:
    """All servers, and why some cannot be seen."""
    await world.connect()
    reasons = [f"{name}: {why}" for name, why in world.unreachable.items()]
    names = [n for n in world.servers if n not in world.unreachable]
    found = await asyncio.gather(*(one(world, n) for n in names), return_exceptions=True)
    seen: dict[str, ServerSetup] = {}
    for name, result in zip(names, found, strict=True):
        if isinstance(result, SlackwaterError):
            hint = f" (try: {result.hint})" if result.hint else ""
            reasons.append(f"{name}: {result}{hint}")
        elif isinstance(result, BaseException):
            raise result
        else:
            seen[name] = result
    return seen, reasons


async def one(world: SetupWorld, name: str) -> ServerSetup:
    """One server. Raises SlackwaterError."""
    session = await world.session(name)
    facts = await mysql_server.look(session, name)
    variables = await mysql_setup.variables(session)
    untransactional, versioned = await mysql_setup.odd_tables(session)
    login, lacks = await _own_account(world.config, name, session)
    ours = {world.config.accounts.slackwater.user, world.servers[name].at.user}
    if replication := world.config.accounts.replication:
        ours.add(replication.user)
    clients = [s.who() for s in await client_sessions(session, world.own_ids(name))
               if s.user not in ours and s.command not in ("Connect", "Killed")]
    return ServerSetup(
        name=name, facts=facts, variables=variables,
        clock_s=await mysql_setup.clock_ahead_s(session),
        schemas=await mysql_setup.schemas(session),
        untransactional=untransactional, versioned=versioned,
        accounts=await mysql_setup.accounts(session),
        filters=await mysql_setup.filters(session, variables),
        purged=await mysql_setup.purged(session, variables),
        logged=variables.get("gtid_binlog_state", ""),
        marker=await mysql_setup.marker(session),
        clients=tuple(clients), tls=await mysql_setup.has_tls(session, variables),
        login=login, lacks=tuple(lacks),
        own_file=await _own_file(world, name, variables),
        disk_free=await _disk_free(world, name, variables.get("datadir", "")),
        persisted=await mysql_setup.persisted(session),
    )


async def _own_account(config: Config, name: str, session: Session) -> tuple[str, list[str]]:
    """Why slackwater's own account cannot be used there, or what it lacks."""
    try:
        at = server_address(config, name, config.password())
    except ConfigError as error:
        return str(error), []
    if (at.user, at.password) == (session.at.user, session.at.password):
        return "", await mysql_server.missing_rights(session)
    try:
        async with await Session.open(at, limit_s=3.0) as own:
            return "", await mysql_server.missing_rights(own)
    except OutsideError as error:
        return str(error), []


async def _own_file(
    world: SetupWorld, name: str, variables: Mapping[str, str]
) -> OwnFile | None:
    directory = world.config.servers[name].config_dir
    if directory is None:
        return None
    host, path = world.hosts[name], Path(directory) / OWN_FILE
    text = await host.read(path) if await host.exists(path) else None
    not_taken = await file_taken.not_taken(host, path, text, variables) if text else []
    return OwnFile(str(path), text, await host.may_write(Path(directory)), tuple(not_taken))


async def _disk_free(world: SetupWorld, name: str, datadir: str) -> int | None:
    if not datadir or not world.has_host(name):
        return None
    try:
        code, said = await world.hosts[name].run(["df", "-B1", "--output=avail", "--", datadir])
    except OutsideError:
        return None
    words = said.split()
    return int(words[-1]) if code == 0 and words[-1].isdigit() else None
