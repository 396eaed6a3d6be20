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

SYSTEMD = 1
_CRED = struct.Struct("3i")  # pid, uid, gid: struct ucred
_TCP_LISTEN, _UNIX_LISTEN = "0A", 0x10000  # states in /proc/net/tcp; flags in /proc/net/unix


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


def _sockets(pid: int) -> set[str]:
    """Inodes of all sockets that a process has open."""
    found = set()
    try:
        for each in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(each.readlink())
            except FileNotFoundError:
                continue  # closed meanwhile
            if match := re.fullmatch(r"socket:\[(\d+)\]", target):
                found.add(match[1])
    except OSError as error:
        hint = "run as root" if isinstance(error, PermissionError) else ""
        raise OutsideError(f"process {pid}", str(error), sent=False, hint=hint) from error
    return found


def _listening(pid: int) -> dict[str, str]:
    """inode -> name of each listening socket in the process's network namespace."""
    found = {}
    for table in ("tcp", "tcp6", "unix"):
        for words in _rows(Path(f"/proc/{pid}/net/{table}")):
            if table == "unix" and len(words) > 7 and int(words[3], 16) & _UNIX_LISTEN:
                found[words[6]] = f"unix {words[7]}"
            elif table != "unix" and words[3] == _TCP_LISTEN:
                found[words[9]] = f"tcp {int(words[1].rpartition(':')[2], 16)}"
    return found


def _rows(path: Path) -> list[list[str]]:
    try:
        return [line.split() for line in path.read_text(errors="replace").splitlines()[1:]]
    except OSError:  # no IPv6, for one
        return []
