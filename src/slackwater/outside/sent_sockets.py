"""Who keeps a database server's listening sockets open besides it, and who is connected.

A socket that systemd handed over (socket activation), or any other parent by LISTEN_FDS, stays
open there while the server restarts: who connects, by TCP or by unix socket, waits in its
backlog. Seen in /proc, from the sockets themselves: whether a unit file asks for it says nothing
about the server that runs now.

Sent to other hosts: standard library, `gate_` and `sent_` modules only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from slackwater.outside.gate.listeners import Listeners

_SERVERS = ("mariadbd", "mysqld")
_LISTEN, _OPEN = 10, (1, 3)  # ESTABLISHED, SYN_RECV (include/net/tcp_states.h)
_ACCEPTS = 0x10000  # __SO_ACCEPTCON
_SOCKET = re.compile(r"socket:\[(\d+)\]")


def peers(port: int) -> list[int]:
    """Ports of the clients whose connections to this local port are open, one a connection.

    Half-open ones count: their SYN has passed, so they will be served. [] where the kernel does
    not tell.
    """
    return [there for here, there, state, _ in _tcp() if here == port and state in _OPEN]


def keepers(port: int, path: str) -> dict[str, Any]:
    """The sockets on which the server behind `port` listens: its own port and the unix socket
    `path`.

    `server`: its pid, 0 when none is seen (it is not there, or another user's: needs root).
    `sockets`: name (`tcp 3306`, `unix /run/…`) -> names of the processes that have it open as
    well, such as `systemd (1)`; [] when it is the server's own. `backlog`: how many TCP clients
    may wait there.
    """
    names = {inode: f"tcp {here}" for here, _, state, inode in _tcp()
             if state == _LISTEN and here == port}  # fmt: skip
    ports = set(names)
    names.update(dict.fromkeys(_listening_unix(path), f"unix {path}"))
    owners = _owners(set(names))
    servers = [pid for pid, held in owners.items() if held & ports and _comm(pid) in _SERVERS]
    if len(servers) != 1:
        return {"server": 0, "sockets": {}, "backlog": 0}
    server = servers[0]
    found: dict[str, list[str]] = {}
    for inode in owners[server]:
        also = [f"{_comm(pid)} ({pid})" for pid, held in owners.items()
                if inode in held and pid != server and _parent(pid) != server]  # fmt: skip
        before = found.get(names[inode])
        # One of two sockets of this port (IPv4 and IPv6) that nobody keeps is refused.
        found[names[inode]] = sorted(also) if before is None else [o for o in also if o in before]
    listeners = Listeners()
    backlog = listeners.ports().get(port, (0, 0))[1]
    listeners.close()
    return {"server": server, "sockets": found, "backlog": backlog}


def _tcp() -> Iterator[tuple[int, int, int, int]]:
    """(local port, remote port, state, inode) of each TCP socket of this network namespace."""
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        for line in _lines(table)[1:]:
            words = line.split()
            here, there = words[1].rpartition(":")[2], words[2].rpartition(":")[2]
            yield int(here, 16), int(there, 16), int(words[3], 16), int(words[9])


def _listening_unix(path: str) -> list[int]:
    found = []
    for line in _lines("/proc/self/net/unix")[1:]:
        words = line.split(None, 7)
        if len(words) == 8 and int(words[3], 16) & _ACCEPTS and words[7] == path:
            found.append(int(words[6]))
    return found


def _owners(inodes: set[int]) -> dict[int, set[int]]:
    """pid -> which of these sockets it has open; processes that may not be looked at are left
    out."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        held = set()
        for link in _links(f"/proc/{pid}/fd"):
            match = _SOCKET.match(link)
            if match and int(match.group(1)) in inodes:
                held.add(int(match.group(1)))
        if held:
            found[int(pid)] = held
    return found


def _links(directory: str) -> Iterator[str]:
    """Where the descriptors lead that a process has; nothing of one that may not be looked at."""
    try:
        names = os.listdir(directory)  # noqa: PTH208
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(f"{directory}/{name}")  # noqa: PTH115
        except OSError:
            continue  # closed meanwhile


def _comm(pid: int) -> str:
    return "".join(_lines(f"/proc/{pid}/comm")[:1])


def _parent(pid: int) -> int:
    stat = "".join(_lines(f"/proc/{pid}/stat"))
    words = stat.rpartition(")")[2].split()
    return int(words[1]) if len(words) > 1 else 0


def _lines(path: str) -> list[str]:
    try:
        with open(path, errors="replace") as file:  # noqa: PTH123
            return file.read().splitlines()
    except OSError:
        return []
