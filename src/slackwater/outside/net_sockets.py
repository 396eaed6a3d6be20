"""All sockets of the host's network namespaces that could be database connections."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from slackwater.facts.doctor import tables
from slackwater.facts.doctor.host import CLOSE_WAIT, ESTABLISHED, LISTEN
from slackwater.outside import sock_diag

T = TypeVar("T")
_STATES = 1 << ESTABLISHED | 1 << CLOSE_WAIT | 1 << LISTEN


@dataclass
class Sockets:
    """By inode, of all namespaces that could be entered. `blind`: what could not be seen."""

    tcp: dict[int, sock_diag.Tcp] = field(default_factory=dict)
    unix: dict[int, sock_diag.Unix] = field(default_factory=dict)
    blind: list[str] = field(default_factory=list)


def namespaces(pids: Iterable[int]) -> dict[str, int]:
    """The network namespaces of these processes: its name, and one process in it."""
    found: dict[str, int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            found.setdefault(os.readlink(f"/proc/{pid}/ns/net"), pid)
    found.setdefault(os.readlink("/proc/self/ns/net"), os.getpid())
    return found


def network_of(pid: int) -> str:
    """The name of a process's network namespace; "" when it is gone or not ours to see."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def in_network(name: str, pid: int, ask: Callable[[], T]) -> T:
    """Call `ask` in that network namespace, which is that of `pid`. Raises OSError."""
    if name == os.readlink("/proc/self/ns/net"):
        return ask()
    return sock_diag.within(f"/proc/{pid}/ns/net", ask)


def sockets(spaces: dict[str, int]) -> Sockets:
    """Ask each namespace once."""
    found = Sockets()
    for name, pid in spaces.items():
        try:
            tcp, unix = in_network(name, pid, _ask)
        except OSError as error:
            tcp, unix = _from_tables(pid, found.blind, name, error)
        found.tcp.update((s.inode, s) for s in tcp)
        found.unix.update((s.inode, s) for s in unix)
    return found


def _ask() -> tuple[list[sock_diag.Tcp], list[sock_diag.Unix]]:
    return list(sock_diag.tcp(_STATES)), list(sock_diag.unix())


def _from_tables(
    pid: int, blind: list[str], name: str, why: OSError
) -> tuple[list[sock_diag.Tcp], list[sock_diag.Unix]]:
    """What /proc tells: no idle times, and unix sockets without their other ends."""
    tcp: list[sock_diag.Tcp] = []
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/net/{table}").read_text()
            tcp += [_row(r) for r in tables.tcp_rows(text) if 1 << r.state & _STATES]
    unix: list[sock_diag.Unix] = []
    with contextlib.suppress(OSError):
        rows = tables.unix_rows(Path(f"/proc/{pid}/net/unix").read_text(errors="replace"))
        unix = [sock_diag.Unix(r.inode, LISTEN if r.listens else ESTABLISHED, r.name, 0, 0)
                for r in rows]
    blind.append(
        f"network namespace {name}: no netlink there ({why.strerror or why}), so no idle times, and"
        " no connections by unix socket"
    )
    return tcp, unix


def _row(row: tables.TcpRow) -> sock_diag.Tcp:
    return sock_diag.Tcp(
        row.inode, row.state, _place(row.local), _place(row.remote), row.timer,
        row.timer_ticks * 10, row.retransmits, row.unsent, None,
    )


def _place(end: tuple[bytes, int]) -> tuple[str, int]:
    raw, port = end
    if len(raw) == 4:
        return socket.inet_ntop(socket.AF_INET, raw), port
    if raw.startswith(b"\0" * 10 + b"\xff\xff"):
        return socket.inet_ntop(socket.AF_INET, raw[12:]), port
    return socket.inet_ntop(socket.AF_INET6, raw), port
