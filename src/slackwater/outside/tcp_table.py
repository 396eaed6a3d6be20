"""What the kernel knows of TCP connections and addresses of this machine."""

from __future__ import annotations

import socket
from collections.abc import Collection
from pathlib import Path

from slackwater.facts.doctor.tables import tcp_rows

_TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
_OPEN = {1, 3}  # ESTABLISHED, SYN_RECV (include/net/tcp_states.h)


def peers(port: int, tables: Collection[Path] = _TABLES) -> list[int]:
    """Ports of the clients whose connections to this local port are open, one a connection.

    Half-open ones count: their SYN has passed, so they will be served. [] where the kernel does
    not tell.
    """
    found: list[int] = []
    for table in tables:
        try:
            rows = tcp_rows(table.read_text())
        except OSError:
            continue
        found += [r.remote[1] for r in rows if r.state in _OPEN and r.local[1] == port]
    return found


def is_local(host: str) -> bool:
    """Whether an address or name is one of this machine's own (a socket can be bound to it)."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(address)
                return True
        except OSError:
            continue
    return False
