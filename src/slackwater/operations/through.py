"""Come in like a client, by a balancer's frontend."""

from __future__ import annotations

import dataclasses

from slackwater.config import host_port
from slackwater.operations.pair_world import PairWorld
from slackwater.outside.mysql.session import Session


class through:  # noqa: N801 - reads as a word: async with through(world, "lb1")
    """A session of ours that comes in like a client, by a balancer's frontend."""

    def __init__(self, world: PairWorld, balancer: str, *, limit_s: float = 3.0) -> None:
        self._world, self._balancer, self._limit_s = world, balancer, limit_s

    async def __aenter__(self) -> Session:
        table = self._world.config.balancers[self._balancer]
        like = self._world.servers[self._world.pair[0]].at
        host, port = host_port(table.frontend)
        name = f"behind balancer {self._balancer}"
        at = dataclasses.replace(like, name=name, host=host, port=port, socket="")
        self._session = await Session.open(at, limit_s=self._limit_s)
        return self._session

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
