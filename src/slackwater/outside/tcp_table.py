"""Addresses of this machine."""

from __future__ import annotations

import socket


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
