"""The queue where held connection requests wait (nfnetlink_queue).

Sent to other hosts: standard library and `gate_` modules only.
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path

from slackwater.outside.gate.netlink import (
    ACK,
    REQUEST,
    attr,
    attributes,
    header,
    message,
    messages,
    open_socket,
    u32,
)

_SUBSYSTEM = 3 << 8
_VERDICT, _CONFIG, _VERDICTS = 1, 2, 3
_ACCEPT, _DROP = 1, 0
_RECEIVE_BUFFER = 8 << 20
_COPY = 80  # bytes of each packet: addresses, ports and sequence number
QUEUES = Path("/proc/net/netfilter/nfnetlink_queue")


class Queue:
    """A queue of its own with up to `length` packets; more are dropped, so those clients repeat.

    A repeated request of a client that waits already is dropped: it would only fill the queue.
    `waiting`: each client that waits -> (packet id, when it came, monotonic seconds).
    Never NFQA_CFG_F_FAIL_OPEN: it would let what is too much pass to a server that is not there.
    """

    def __init__(self, length: int = 8192) -> None:
        self.waiting: dict[bytes, tuple[int, float]] = {}
        self.packets = self.clients = 0
        self.longest_s = 0.0
        self._sock = open_socket()
        try:
            self._sock.setsockopt(270, 5, 1)  # SOL_NETLINK, NETLINK_NO_ENOBUFS
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, 33, _RECEIVE_BUFFER)  # SO_RCVBUFFORCE
            self.number = self._take_a_number()
            self._ask(self.number, attr(2, struct.pack(">IB", _COPY, 2)) + u32(3, length))
            self._sock.setblocking(False)
        except BaseException:
            self._sock.close()
            raise

    def _take_a_number(self) -> int:
        """One that nobody uses. The kernel refuses a number that another socket has."""
        for _ in range(64):
            number = random.randrange(20000, 60000)
            try:
                self._ask(number, attr(1, struct.pack(">BBH", 1, 0, 0)))  # bind
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.EPERM) or not _taken(number):
                    raise
            else:
                return number
        raise OSError(errno.EBUSY, "no free queue number found")

    def _ask(self, number: int, body: bytes) -> None:
        """One configuration message, with its answer. Raises OSError."""
        ask = header(0, number) + body
        self._sock.send(message(_SUBSYSTEM | _CONFIG, REQUEST | ACK, 1, ask))
        for kind, _, data in messages(self._sock.recv(1 << 16)):
            if kind == 2 and (code := -struct.unpack_from("=i", data)[0]):
                raise OSError(code, "the kernel refused a queue")

    def fileno(self) -> int:
        """For select()."""
        return self._sock.fileno()

    def close(self) -> None:
        """Give the queue up; what still waits in it is dropped by the kernel."""
        self._sock.close()

    def take(self) -> None:
        """Read what has come and let it wait."""
        while True:
            try:
                data = self._sock.recv(1 << 18)
            except BlockingIOError:
                return
            now = time.monotonic()
            for kind, _, body in messages(data):
                if kind == _SUBSYSTEM:
                    self._arrived(dict(attributes(body[4:])), now)

    def _arrived(self, parts: dict[int, bytes], now: float) -> None:
        number = struct.unpack_from(">I", parts[1])[0]
        self.packets += 1
        client = _client(parts.get(10, b"")) or parts[1]
        if client in self.waiting:
            self._answer(_VERDICT, _DROP, number)
        else:
            self.waiting[client] = number, now
            self.clients += 1

    def accept(self, most: int) -> list[bytes]:
        """Let up to `most` clients go on, the first that came first; returns them."""
        batch = []
        for client in self.waiting:
            batch.append(client)
            if len(batch) == most:
                break
        if batch:
            # Everything up to the last one's packet: ids grow in the order of arrival.
            self._answer(_VERDICTS, _ACCEPT, self.waiting[batch[-1]][0])
            now = time.monotonic()
            self.longest_s = max(self.longest_s, now - self.waiting[batch[0]][1])
            for client in batch:
                del self.waiting[client]
        return batch

    def let(self, clients: Iterable[bytes]) -> None:
        """Let just these go on."""
        now = time.monotonic()
        for client in clients:
            packet, came = self.waiting.pop(client)
            self._answer(_VERDICT, _ACCEPT, packet)
            self.longest_s = max(self.longest_s, now - came)

    def _answer(self, kind: int, verdict: int, packet: int) -> None:
        body = header(0, self.number) + attr(2, struct.pack(">II", verdict, packet))
        self._sock.send(message(_SUBSYSTEM | kind, REQUEST, 0, body))


def _client(packet: bytes) -> bytes:
    """Source, destination, their ports and the sequence number of a TCP packet: the same again
    when it is repeated. 16 bytes by IPv4, 40 by IPv6."""
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        start = (packet[0] & 15) * 4
        return packet[12:20] + packet[start : start + 8]
    return packet[8:48] if version == 6 else b""


def _taken(number: int) -> bool:
    return any(int(line.split()[0]) == number for line in _lines(QUEUES))


def waiting_anywhere() -> bool:
    """Do packets wait in any queue of this network namespace, also one of another program?"""
    return any(int(line.split()[2]) for line in _lines(QUEUES))


def _lines(path: Path) -> Iterable[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return ()
