"""TCP ports for servers that will be stopped and started again."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_LOWEST = 15000


def free_port() -> int:
    """A port of 127.0.0.1 that is free now and stays so while its server restarts.

    Taken from below the range from which the kernel gives ports to outgoing connections: a
    load of a thousand connections a second would sooner or later sit on any port in that range
    just when a server comes back to it. (Somebody may still be quicker: try again then.)
    """
    range_file = Path("/proc/sys/net/ipv4/ip_local_port_range")
    try:
        first = int(range_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first = 32768
    if first - _LOWEST > 1000:
        for _ in range(100):
            port = random.randrange(_LOWEST, first)
            if _is_free(port):
                return port
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    assert isinstance(port, int)
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
