"""What the kernel knows of TCP connections and addresses of this machine."""

from __future__ import annotations

import socket
from collections.abc import Collection
from pathlib import Path

_TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
_OPEN = {"01", "03"}  # ESTABLISHED, SYN_RECV (include/net/tcp_states.h)


def peers(port: int, tables: Collection[Path] = _TABLES) -> list[int]:
    """Ports of the clients whose connections to this local port are open, one a connection.

    Half-open ones count: their SYN has passed, so they will be served. [] where the kernel does
    not tell.
    """
    found = []
    for table in tables:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            local, remote, state = line.split()[1:4]
            if state in _OPEN and int(local.rpartition(":")[2], 16) == port:
                found.append(int(remote.rpartition(":")[2], 16))
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
