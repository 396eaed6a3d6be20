"""Tell systemd how we are (sd_notify): ten lines instead of a library."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(*lines: str) -> None:
    """Send READY=1, STOPPING=1, STATUS=…; does nothing where no systemd asked for it."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where:
        return
    address = "\0" + where[1:] if where.startswith("@") else where
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    # Where systemd cannot be told, its own limits say what happens then.
    with socket.socket(socket.AF_UNIX, kind) as out, contextlib.suppress(OSError):
        out.sendto("\n".join(lines).encode(), address)
