"""The handles that a pair's operations work with: those of its servers, and its balancers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from slackwater import clock
from slackwater.config import Config
from slackwater.errors import StepFailed
from slackwater.facts.balancer import BalancerAddress
from slackwater.facts.server import ClientSession
from slackwater.operations.servers_world import ServersWorld, close_all
from slackwater.outside.haproxy.haproxy import HAProxy
from slackwater.outside.host import Host

Item = TypeVar("Item")


@dataclass(frozen=True)
class Looked:
    """One look at the clients' sessions of a server. `asked`: clock.mono(); `transactions`: the
    age in seconds of those that were open, by session id."""

    asked: float
    sessions: list[ClientSession]
    transactions: dict[int, float]


@dataclass(frozen=True)
class Way:
    """A session's way through a balancer: `own` is that one's end (host:port) of the connection to
    the server, `pointer` the session's name there."""

    own: str
    balancer: str
    pointer: str


class PairWorld(ServersWorld):
    """What a pair's steps act on. `connect` it; `close` it. Raises ConfigError where there is no
    such pair.

    `to_look`: a source with its replicas can be looked at likewise, `pair` is that one server then.
    Nothing that acts expects one.
    """

    def __init__(self, config: Config, pair: str, *, to_look: bool = False) -> None:
        group = config.group(pair if to_look else config.pair(pair)[0])
        self.pair = group.heads
        self.replicas = group.replicas
        super().__init__(config, group.name, group.servers)
        self.balancers = {
            name: HAProxy(balancer_address(config, name)) for name in group.balancers
        }
        self.hosts = {name: Host(config.balancers[name].ssh) for name in group.balancers}
        self.held_since: float | None = None  # clock.mono() of the first hold
        self.held_until: float | None = None  # clock.mono() at which the balancers let go
        self.looked: Looked | None = None  # who was on the old server right before the hold
        self.ways: dict[str, Way] = {}  # by `own`: of the sessions that were there then

    async def close(self) -> None:
        """Give everything back; never raises.

        What we still hold ends at its deadline, and our pins with it: sooner, and clients would
        come one by one to the server that was active, which may be read-only by now.
        """
        await asyncio.sleep(max((b.held_for_s() for b in self.balancers.values()), default=0.0))
        await close_all(
            [*self.servers.values(), *self.balancers.values(), *self.hosts.values()]
        )

    def own_ids(self, server: str) -> set[int]:
        """Ids of the sessions on a server that are ours, the balancers' pins among them."""
        pins = {b.pin_session_id for b in self.balancers.values()}
        return super().own_ids(server) | pins

    def hold_left_s(self) -> float:
        """Seconds until the balancers let clients in by themselves; 0 when nothing is held."""
        return max(0.0, self.held_until - clock.mono()) if self.held_until else 0.0

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


def balancer_address(config: Config, name: str) -> BalancerAddress:
    """Where a configured balancer's runtime API, frontends and files are."""
    table = config.balancers[name]
    return BalancerAddress(
        name=name, runtime=table.runtime, backend=table.backend, frontend=table.frontend,
        pin=table.pin, holds_map=str(table.holds_map), config_file=str(Path(table.config_file)),
    )
