"""Netlink to netfilter: messages, attributes, transactions. For the gate; nothing but Python.

Part of the gate's holder, which is sent as source to a bare Python (3.8 or later), here or on
another host: it imports the standard library and other `gate_` modules only.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import Tuple  # noqa: UP035  (Python 3.8)

NETFILTER = 12  # the protocol NETLINK_NETFILTER
REQUEST, ACK, DUMP, CREATE, EXCLUSIVE = 1, 4, 0x300, 0x400, 0x200
_ERROR, _DONE = 2, 3
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NFTABLES = 10
_LIMIT_S = 5.0
Change = Tuple[int, int, bytes]  # noqa: UP006  type, flags, body with its nfgenmsg


class KernelRefused(OSError):
    """The kernel's answer to a message: `errno`, and `at`, which message of the batch it was."""

    def __init__(self, errno: int, at: int) -> None:
        super().__init__(errno, os.strerror(errno))
        self.at = at


def attr(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def nest(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attr(kind | 0x8000, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    """A string attribute."""
    return attr(kind, value.encode() + b"\0")


def u32(kind: int, value: int) -> bytes:
    """A number in network order, 32 bits."""
    return attr(kind, struct.pack(">I", value & 0xFFFFFFFF))


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, value) of each attribute in `data`."""
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


def message(kind: int, flags: int, seq: int, body: bytes) -> bytes:
    """A whole netlink message; `body` begins with its nfgenmsg."""
    return struct.pack("=IHHII", 16 + len(body), kind, flags, seq, 0) + body


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, sequence, body) of each message that the kernel sent."""
    at = 0
    while at + 16 <= len(data):
        length, kind, _, seq, _ = struct.unpack_from("=IHHII", data, at)
        if length < 16:
            return
        yield kind, seq, data[at + 16 : at + length]
        at += (length + 3) & ~3


def header(family: int, resource: int = 0) -> bytes:
    """An nfgenmsg."""
    return struct.pack(">BBH", family, 0, resource)


def open_socket(protocol: int = NETFILTER) -> socket.socket:
    """A netlink socket, with a limit for each wait. Raises OSError."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        sock.bind((0, 0))
        sock.settimeout(_LIMIT_S)
    except OSError:
        sock.close()
        raise
    return sock


class Netfilter:
    """A conversation with nf_tables in the network namespace of its making.

    Keep one for all that is urgent: the close of a socket that changed something waits, some
    5 to 25 ms, until the kernel has freed what was taken out.
    """

    def __init__(self) -> None:
        self._sock = open_socket()
        self._seq = 0

    def __enter__(self) -> Netfilter:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def transact(self, changes: list[Change], *, commit: bool = True) -> None:
        """All of `changes` in one transaction, or none of them.

        Without `commit` the kernel checks everything and then forgets it (that is how
        `nft --check` works). Raises KernelRefused with the first refusal.
        """
        batch = header(0, _NFTABLES)
        begin = self._seq + 1
        parts = [message(_BATCH_BEGIN, REQUEST, begin, batch)]
        for seq, (kind, flags, body) in enumerate(changes, begin + 1):
            parts.append(message(_NFTABLES << 8 | kind, REQUEST | ACK | flags, seq, body))
        waiting = set(range(begin + 1, begin + 1 + len(changes)))
        self._seq = begin + 1 + len(changes)
        if commit:
            parts.append(message(_BATCH_END, REQUEST, self._seq, batch))
        self._sock.send(b"".join(parts))
        errors: dict[int, int] = {}
        while waiting:
            for kind, seq, body in messages(self._sock.recv(1 << 18)):
                if kind != _ERROR or seq < begin:
                    continue
                error = -struct.unpack_from("=i", body)[0]
                if error:
                    errors[seq] = error
                if seq not in waiting:  # the batch itself was refused: no more will come
                    waiting.clear()
                waiting.discard(seq)
        if errors:
            raise KernelRefused(errors[min(errors)], min(errors) - begin)

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """The bodies (without nfgenmsg) of all that the kernel lists. Raises KernelRefused."""
        found: list[bytes] = []
        self._seq += 1
        self._sock.send(message(_NFTABLES << 8 | kind, REQUEST | DUMP, self._seq, body))
        while True:
            for answer, seq, data in messages(self._sock.recv(1 << 18)):
                if seq != self._seq:
                    continue
                if answer == _ERROR:
                    raise KernelRefused(-struct.unpack_from("=i", data)[0], 1)
                if answer == _DONE:
                    return found
                found.append(data[4:])
