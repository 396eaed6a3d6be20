"""Socket activation: does systemd hold the listening sockets of a server?"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

_CRED = struct.Struct("3i")  # pid, uid, gid: struct ucred


def activated(path: str) -> bool | None:
    """Whether the server behind this unix socket was handed its sockets by a service manager.

    The server's process has LISTEN_FDS and its own pid in LISTEN_PID (sd_listen_fds(3)). None
    when nobody listens there, or we may not look.
    """
    pid = listener(path)
    if pid is None:
        return None
    if pid == 1:
        return True  # who called listen(): systemd itself
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return f"LISTEN_PID={pid}".encode() in words


def listener(path: str) -> int | None:
    """The process that called listen() on a unix socket; None when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(path)
            raw = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CRED.size)
        except OSError:
            return None
    return int(_CRED.unpack(raw)[0]) or None
