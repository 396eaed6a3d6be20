"""Who listens here, how full its backlog is, and which handshakes are under way (sock_diag).

So that a release does not overrun a backlog: the kernel drops what is too much for it, and that
client is served a second later. Sent to other hosts: standard library and `gate_` modules only.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from slackwater.outside.gate.netlink import DUMP, REQUEST, message, messages, open_socket

_SOCK_DIAG = 4
_BY_FAMILY = 20
_SYN_RECEIVED, _LISTEN = 3, 10
_SMALL_BACKLOG = 64
_ERROR, _DONE = 2, 3
_AT_ONCE = 64


class Listeners:
    """What sock_diag says; some 50 us. /proc/net/tcp would cost 15 to 40 ms (the kernel walks its
    whole table of connections); it is read only where the kernel has no sock_diag."""

    def __init__(self) -> None:
        self._sock: socket.socket | None = None
        self._seq = 0
        with contextlib.suppress(OSError):
            self._sock = open_socket(_SOCK_DIAG)

    def close(self) -> None:
        """Give its socket back."""
        if self._sock is not None:
            self._sock.close()

    def ports(self) -> dict[int, tuple[int, int]]:
        """Port -> (connections not accepted yet, how many may be), for each with a listener."""
        found: dict[int, tuple[int, int]] = {}
        for family in (socket.AF_INET, socket.AF_INET6):
            ask = _request(family, 1 << _LISTEN, bytes(48))
            try:
                for _, body in self._answers([ask], DUMP):
                    port = struct.unpack_from(">H", body, 4)[0]
                    behind, limit = struct.unpack_from("=II", body, 56)
                    before = found.get(port, (0, 0))
                    found[port] = before[0] + behind, before[1] + limit
            except OSError:
                return _listeners_of_proc()
        return found

    def unfinished(self, clients: Sequence[bytes]) -> list[bytes]:
        """Those of `clients` (as the queue tells them apart) whose handshake is under way."""
        return [c for c, state in self.states(clients).items() if state == _SYN_RECEIVED]

    def states(self, clients: Sequence[bytes]) -> dict[bytes, int]:
        """Client -> the state of the server's end of his connection (include/net/tcp_states.h).
        One whose connection is gone has none, or that of the listener."""
        found: dict[bytes, int] = {}
        for at in range(0, len(clients), _AT_ONCE):
            some = clients[at : at + _AT_ONCE]
            asks = [_request(_family(each), 0xFFFFFFFF, _socket_id(each)) for each in some]
            try:
                answers = self._answers(asks)
            except OSError:
                return {}
            found.update({some[n]: body[1] for n, body in answers})
        return found

    def _answers(self, asks: list[bytes], flags: int = 0) -> list[tuple[int, bytes]]:
        """(number of the question, answer); what is not found has none. Raises OSError."""
        if self._sock is None:
            raise OSError("no sock_diag")
        first = self._seq + 1
        self._seq += len(asks)
        waiting = set(range(first, self._seq + 1))
        parts = [message(_BY_FAMILY, REQUEST | flags, seq, ask)
                 for seq, ask in zip(sorted(waiting), asks)]  # noqa: B905  (Python 3.8)
        self._sock.send(b"".join(parts))
        found = []
        while waiting:
            for kind, seq, body in messages(self._sock.recv(1 << 18)):
                if seq not in waiting:
                    continue
                if kind == _BY_FAMILY:
                    found.append((seq - first, body))
                if kind == _ERROR and flags:
                    raise OSError(-struct.unpack_from("=i", body)[0], "sock_diag refused")
                if kind in (_ERROR, _DONE) or not flags:
                    waiting.discard(seq)
        return found


def _request(family: int, states: int, socket_id: bytes) -> bytes:
    """struct inet_diag_req_v2."""
    return struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, states) + socket_id


def _family(client: bytes) -> int:
    return socket.AF_INET if len(client) == 16 else socket.AF_INET6


def _socket_id(client: bytes) -> bytes:
    """struct inet_diag_sockid of the server's end of a client's connection."""
    size = 4 if len(client) == 16 else 16
    theirs, ours = client[:size], client[size : 2 * size]
    their_port, our_port = client[2 * size : 2 * size + 2], client[2 * size + 2 : 2 * size + 4]
    addresses = ours.ljust(16, b"\0") + theirs.ljust(16, b"\0")
    return our_port + their_port + addresses + bytes(4) + b"\xff" * 8  # any device, no cookie


def _listeners_of_proc() -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(path).read_text().splitlines()[1:]:
                words = line.split()
                if int(words[3], 16) == _LISTEN:
                    port = int(words[1].rpartition(":")[2], 16)
                    behind = found.get(port, (0, 0))[0] + int(words[4].partition(":")[2], 16)
                    found[port] = behind, _SMALL_BACKLOG  # it is not told
    return found
