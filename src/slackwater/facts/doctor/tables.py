"""The kernel's own tables of sockets: net/{tcp,tcp6,unix} in /proc/PID, where netlink is closed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TCP = re.compile(
    r"^ *\d+: ([0-9A-F]{8,32}):([0-9A-F]{4}) ([0-9A-F]{8,32}):([0-9A-F]{4}) ([0-9A-F]{2})"
    r" ([0-9A-F]+):[0-9A-F]+ ([0-9A-F]{2}):([0-9A-F]+) ([0-9A-F]+) +\d+ +\d+ (\d+)", re.M,
)
_UNIX = re.compile(
    r"^[0-9a-f]+: [0-9A-F]+ [0-9A-F]+ ([0-9A-F]+) 0001 [0-9A-F]{2} +(\d+)(?: (.*))?$", re.M
)
_ACCEPTS = 0x10000  # __SO_ACCEPTCON


@dataclass(frozen=True)
class TcpRow:
    """A line of net/tcp or net/tcp6. Addresses are raw (4 or 16 bytes, network order)."""

    inode: int
    state: int
    local: tuple[bytes, int]
    remote: tuple[bytes, int]
    timer: int
    timer_ticks: int  # 1/100 s
    retransmits: int
    unsent: int


def tcp_rows(text: str) -> Iterator[TcpRow]:
    """The sockets of one table; its head and damaged lines are skipped."""
    for line in _TCP.finditer(text):
        here, port, there, other, state, unsent, timer, when, again, inode = line.groups()
        yield TcpRow(
            int(inode), int(state, 16), (_raw(here), int(port, 16)), (_raw(there), int(other, 16)),
            int(timer, 16), int(when, 16), int(again, 16), int(unsent, 16),
        )


def _raw(address: str) -> bytes:
    """Each 32-bit word is printed in the machine's order: that of x86 and ARM."""
    words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
    return b"".join(words)


@dataclass(frozen=True)
class UnixRow:
    """A line of net/unix, which does not tell the other end."""

    inode: int
    listens: bool
    name: str


def unix_rows(text: str) -> Iterator[UnixRow]:
    """The stream sockets of net/unix."""
    for flags, inode, name in _UNIX.findall(text):
        yield UnixRow(int(inode), bool(int(flags, 16) & _ACCEPTS), name)
