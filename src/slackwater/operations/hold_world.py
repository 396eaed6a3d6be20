"""The handles of held maintenance: servers, the gate on this machine's ports, the command."""

from __future__ import annotations

from dataclasses import dataclass

from slackwater import clock
from slackwater.config import Config
from slackwater.errors import ConfigError
from slackwater.operations.servers_world import ServersWorld
from slackwater.outside.command import Command
from slackwater.outside.gate import Gate


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


class HoldWorld(ServersWorld):
    """What the steps of held maintenance act on."""

    def __init__(self, config: Config, scope: Scope) -> None:
        super().__init__(config, scope.name, (*scope.servers, *scope.others))
        self.scope = scope
        self.gate: Gate | None = None
        self.shut_at: float | None = None  # clock.mono() when the gate was shut
        self.command: Command | None = None

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
