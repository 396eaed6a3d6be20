"""A release that a server can take: no more clients at once than it has connections for.

A database server answers those beyond its max_connections with an error (1040) at once, and after
a long hold more may wait than it takes. Who was let in is looked for by the addresses of his
connection (sock_diag), so that the next can follow when he has left.

Sent to other hosts: standard library and `gate_` modules only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from slackwater.outside.gate.listeners import Listeners

_INSIDE = (1, 3, 8)  # ESTABLISHED, SYN_RECV, CLOSE_WAIT (include/net/tcp_states.h)
_SYN_RECEIVED = 3
# A server counts a client until a little after it has closed his socket.
_GONE_S = 0.02


class Pace:
    """`room`: port -> how many clients may be let in there at once; ports without one take all."""

    def __init__(self, room: Mapping[int, int], listeners: Listeners) -> None:
        self._room, self._listeners = room, listeners
        self._inside: dict[bytes, float] = {}  # client -> when he was last seen there
        self._unfinished = 0

    def look(self) -> None:
        """See who has left."""
        now = time.monotonic()
        states = self._listeners.states(list(self._inside))
        self._inside.update({c: now for c, state in states.items() if state in _INSIDE})
        self._inside = {c: at for c, at in self._inside.items() if now - at < _GONE_S}
        self._unfinished = sum(state == _SYN_RECEIVED for state in states.values())

    def too_many(self, waiting: Iterable[bytes]) -> bool:
        """Would somebody be refused if all of these were let in now?"""
        left = self._left()
        for client in waiting:
            port = port_of(client)
            left[port] = left.get(port, 1) - (port in self._room)
        return min(left.values(), default=0) < 0

    def next(self, waiting: Iterable[bytes], backlog: int, most: int) -> list[bytes]:
        """Up to `most` of these who fit in now, the first first; `backlog`: how many may knock."""
        left = self._left()
        found: list[bytes] = []
        most = min(most, backlog - self._unfinished)
        for client in waiting:
            if len(found) >= most or not any(left.values()):
                break
            port = port_of(client)
            if port not in self._room or left[port] > 0:
                left[port] = left.get(port, 0) - (port in self._room)
                found.append(client)
        return found

    def entered(self, clients: Sequence[bytes]) -> None:
        """These have been let in."""
        self._inside.update(dict.fromkeys(clients, time.monotonic()))

    def _left(self) -> dict[int, int]:
        left = dict(self._room)
        for client in self._inside:
            port = port_of(client)
            if port in left:
                left[port] -= 1
        return left


def port_of(client: bytes) -> int:
    """The port he wants to reach; 0 where his packet was not to be read."""
    at = {16: 10, 40: 34}.get(len(client))
    return int.from_bytes(client[at : at + 2], "big") if at else 0
