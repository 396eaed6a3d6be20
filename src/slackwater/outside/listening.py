"""Listening sockets that a server was given by systemd (socket activation).

Such a socket stays open in systemd while the server restarts: clients, by TCP and by unix socket,
wait in its backlog. Seen in /proc, from the sockets themselves: whether a unit file asks for it
says nothing about the server that runs now.
"""

from __future__ import annotations

import re
import socket
import struct
from pathlib import Path

from slackwater.errors import OutsideError
from slackwater.facts.doctor import tables
from slackwater.facts.doctor.host import LISTEN

SYSTEMD = 1
_CRED = struct.Struct("3i")  # pid, uid, gid: struct ucred


def handed_over(pid: int, *, keeper: int = SYSTEMD) -> list[str]:
    """The listening sockets of process `pid` that `keeper` has open too: `tcp 3306`,
    `unix /run/mysqld/mysqld.sock`, sorted; [] when it opened its own. Raises OutsideError when
    one of the processes is not there or may not be looked at (another user's: needs root).
    """
    both = _sockets(pid) & _sockets(keeper)
    return sorted({name for inode, name in _listening(pid).items() if inode in both})


def activated(path: str) -> bool | None:
    """Whether the server behind this unix socket was given its sockets by systemd; None when
    nobody listens there, or we may not look."""
    pid = _listener(path)
    if pid is None:
        return None
    try:
        return pid == SYSTEMD or bool(handed_over(pid))
    except OutsideError:
        return None


def _listener(path: str) -> int | None:
    """The process that called listen() on a unix socket; None when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(path)
            raw = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CRED.size)
        except OSError:
            return None
    return int(_CRED.unpack(raw)[0]) or None


def _sockets(pid: int) -> set[int]:
    """Inodes of all sockets that a process has open."""
    found = set()
    try:
        for each in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(each.readlink())
            except FileNotFoundError:
                continue  # closed meanwhile
            if match := re.fullmatch(r"socket:\[(\d+)\]", target):
                found.add(int(match[1]))
    except OSError as error:
        hint = "run as root" if isinstance(error, PermissionError) else ""
        raise OutsideError(f"process {pid}", str(error), sent=False, hint=hint) from error
    return found


def _listening(pid: int) -> dict[int, str]:
    """inode -> name of each listening socket in the process's network namespace."""
    found = {}
    for table in ("tcp", "tcp6"):
        for row in tables.tcp_rows(_text(Path(f"/proc/{pid}/net/{table}"))):
            if row.state == LISTEN:
                found[row.inode] = f"tcp {row.local[1]}"
    for each in tables.unix_rows(_text(Path(f"/proc/{pid}/net/unix"))):
        if each.listens and each.name:
            found[each.inode] = f"unix {each.name}"
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # no IPv6, for one
        return ""
