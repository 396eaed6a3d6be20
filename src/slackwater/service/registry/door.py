"""Connections: how many, how slow they may be, and who has to wait after too many refusals."""

from __future__ import annotations

import asyncio
import collections
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from slackwater import clock

REQUEST_LIMIT_S = 6.0  # a connection must have made a request by then, and again
CONNECTIONS_OF_ONE = 64
CONNECTIONS = 4000
STRIKES = 20  # refusals that an address has to spare …
STRIKES_PER_S = 2.0  # … and gets back each second
_ADDRESSES = 10_000


class Bouncer:
    """Counts refusals by address: who has used up its own is not let in for a while."""

    def __init__(self) -> None:
        self._strikes: collections.OrderedDict[str, tuple[float, float]] = (
            collections.OrderedDict())
        self._inside: collections.Counter[str] = collections.Counter()

    def strike(self, address: str) -> None:
        """A request from there was refused."""
        self._strikes[address] = (self._left(address) - 1.0, clock.mono())
        self._strikes.move_to_end(address)
        while len(self._strikes) > _ADDRESSES:
            self._strikes.popitem(last=False)

    def lets_in(self, address: str) -> bool:
        """Whether one more connection from there is taken."""
        if self._inside[address] >= CONNECTIONS_OF_ONE or self._inside.total() >= CONNECTIONS:
            return False
        return self._left(address) > 0.0

    def came(self, address: str) -> None:
        """A connection from there was taken."""
        self._inside[address] += 1

    def went(self, address: str) -> None:
        """It has ended."""
        self._inside[address] -= 1
        if self._inside[address] <= 0:
            del self._inside[address]

    def _left(self, address: str) -> float:
        left, at = self._strikes.get(address, (float(STRIKES), 0.0))
        return min(STRIKES, left + (clock.mono() - at) * STRIKES_PER_S)


def door(bouncer: Bouncer) -> type[H11Protocol]:
    """The protocol of connections, watched by that bouncer."""

    class Door(H11Protocol):
        """HTTP/1.1 with a limit of time for each request, from an address that behaves."""

        _deadline: asyncio.TimerHandle | None = None
        _address = ""

        def connection_made(self, transport: Any) -> None:
            peer = transport.get_extra_info("peername")
            address = peer[0] if isinstance(peer, tuple) else ""
            if not bouncer.lets_in(address):
                transport.abort()
                return
            self._address = address
            bouncer.came(address)
            super().connection_made(transport)
            self._deadline = self.loop.call_later(REQUEST_LIMIT_S, self._late)

        def data_received(self, data: bytes) -> None:
            if self.transport is None:
                return  # it was not let in
            super().data_received(data)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
            if self.transport is None:
                return
            bouncer.went(self._address)
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            bouncer.strike(self._address)
            super().send_400_response(msg)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = self.loop.call_later(REQUEST_LIMIT_S, self._late)

        def _late(self) -> None:
            """No whole request came in time. One that is being answered is not cut."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._deadline = self.loop.call_later(REQUEST_LIMIT_S, self._late)
            else:
                self.transport.abort()

    return Door
