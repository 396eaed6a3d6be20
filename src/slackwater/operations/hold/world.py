"""The handles of held maintenance: servers, the machine, the gate on its ports, the command."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from slackwater import clock
from slackwater.config import Config
from slackwater.errors import ConfigError, OutsideError
from slackwater.operations.servers_world import ServersWorld
from slackwater.outside import sent
from slackwater.outside.command import Command
from slackwater.outside.far_command import FarCommand
from slackwater.outside.gate.gate import Gate
from slackwater.outside.host import Host


@dataclass(frozen=True)
class Scope:
    """What is worked on. `name` is what is locked meanwhile: the pair's name, or the server's.

    `servers` have to be quiet before and healthy afterwards; `others` replicate with them.
    """

    name: str
    servers: tuple[str, ...]
    others: tuple[str, ...] = ()


def scope_of(config: Config, pair: str | None, server: str | None) -> Scope:
    """The scope that was asked for. Raises ConfigError when it is not there or not clear."""
    if server is None and pair is None and len(config.servers) == 1:
        server = next(iter(config.servers))
    if server is None:
        name, table = config.pair(pair)
        return Scope(name, table.servers, table.replicas)
    if server not in config.servers:
        raise ConfigError(
            f"{config.path}: there is no server {server!r}",
            hint=f"servers in the file: {', '.join(config.servers)}",
        )
    for name, table in config.pairs.items():
        members = (*table.servers, *table.replicas)
        if server in members and pair in (None, name):
            return Scope(name, (server,), tuple(m for m in members if m != server))
    if pair is not None:
        raise ConfigError(f"{config.path}: {server} is not a server of pair {pair}")
    return Scope(f"server.{server}", (server,))


def machine_of(config: Config, scope: Scope) -> str:
    """Where one server is worked on: `servers.NAME.ssh`, "" for this machine. Several servers
    have no machine in common: what is held for them is here."""
    if len(scope.servers) != 1:
        return ""
    return config.servers[scope.servers[0]].ssh or ""


class HoldWorld(ServersWorld):
    """What the steps of held maintenance act on.

    `on`: the machine whose ports are held and where the command runs (`[user@]host[:port]` for
    SSH, "" for this one); None: where the server is.
    """

    def __init__(
        self, config: Config, scope: Scope, *, as_passive: bool = False, on: str | None = None
    ) -> None:
        super().__init__(config, scope.name, (*scope.servers, *scope.others))
        self.scope = scope
        self.on = machine_of(config, scope) if on is None else on
        self.host = Host(self.on or None)
        self.as_passive = as_passive  # it will be the passive one when its turn comes
        self.gate: Gate | None = None
        self.shut_at: float | None = None  # clock.mono() when the gate was shut
        self.command: Command | FarCommand | None = None

    async def connect(self, *, to_look: bool = False) -> None:
        """Reach every server: those on the machine that is worked on by their unix sockets, over
        SSH where it is another one, since their ports are to be held."""
        for name in self.scope.servers:
            table, server = self.config.servers[name], self.servers[name]
            if self.host.here or table.ssh != self.on or table.socket is None:
                continue
            way_in = await self.host.way_in(table.socket)
            server.at = dataclasses.replace(server.at, socket=str(way_in))
        await super().connect(to_look=to_look)
        if self.host.here or not self.unreachable:
            return
        try:
            await self.host.run(["true"])
        except OutsideError as error:  # which tells more than a lost connection
            self.unreachable.update(dict.fromkeys(self.scope.servers, _with_hint(error)))

    async def ask(self, question: str, **more: Any) -> Any:
        """Have the machine that is worked on answer; see outside/sent_answers.py."""
        return await sent.ask(self.host, question, **more)

    def show(self, text: str) -> None:
        """Pass on what the command prints."""
        self.tell({"at": clock.unix(), "event": "output", "text": text})

    def left_s(self) -> float:
        """Seconds until the gate lets clients go by itself; infinite when none is held."""
        return self.gate.left_s() if self.gate is not None else float("inf")

    def port(self, server: str) -> int:
        """The TCP port of a server."""
        return self.servers[server].at.port

    async def close(self) -> None:
        """Give everything back. A gate that was left shut is opened: nobody waits for us."""
        gate, self.gate = self.gate, None
        try:
            if gate is not None:
                await gate.open()
        finally:
            await super().close()
            await self.host.close()


def _with_hint(error: OutsideError) -> str:
    return f"{error} (try: {error.hint})" if error.hint else str(error)
