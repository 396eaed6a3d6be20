"""Sockets of a network namespace, asked of the kernel by netlink (sock_diag(7)).

It tells what /proc/net does not: the other end of a unix socket, and how long a TCP connection
has been silent.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

_NETLINK_SOCK_DIAG, _BY_FAMILY = 4, 20
_REQUEST_DUMP = 0x301
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_INET_REQUEST = struct.Struct("=BBBxI48x")
_INET = struct.Struct("=BBBB HH 16s16s I8x IIIII")
_PORTS = struct.Struct("!HH")
_UNIX_REQUEST = struct.Struct("=BBHIII8x")
_UNIX = struct.Struct("=BBBxI8x")
_ATTRIBUTE = struct.Struct("=HH")
_SHOW_NAME, _SHOW_PEER, _SHOW_QUEUES = 1, 4, 16
_NAME, _PEER, _QUEUES = 0, 2, 4
_INFO = 2
_LAST_SENT, _LAST_RECEIVED = 44, 52  # in struct tcp_info, ms ago
_CLONE_NEWNET = 0x40000000
_LIMIT_S = 5.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tcp:
    """One TCP socket. Times in ms; `timer` is the kernel's number."""

    inode: int
    state: int
    local: tuple[str, int]
    remote: tuple[str, int]
    timer: int
    timer_ms: int
    retransmits: int
    unsent: int
    idle_ms: int | None


@dataclass(frozen=True, slots=True)
class Unix:
    """One unix stream socket; `name` is its own path, `peer` the other end's inode (0: none)."""

    inode: int
    state: int
    name: str
    peer: int
    unsent: int


def tcp(states: int, ports: frozenset[int] | None = None) -> Iterator[Tcp]:
    """TCP sockets of this thread's network namespace in these states (a bit each).

    With `ports` only those with such a remote port, or that listen. Raises OSError.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        request = _INET_REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (_INFO - 1), states)
        for message in _dump(request):
            there = int.from_bytes(message[6:8], "big")
            if ports is None or there in ports or not there:
                yield _tcp(message)


def _tcp(message: memoryview) -> Tcp:
    # Ports and addresses are in network order, all else in the machine's.
    family, state, timer, again, _, _, source, target, _, expires, _, queue, _, inode = (
        _INET.unpack_from(message)
    )
    here, there = _PORTS.unpack_from(message, 4)
    idle = None
    for kind, value in _attributes(message, _INET.size):
        if kind == _INFO and len(value) >= _LAST_RECEIVED + 4:
            idle = min(*struct.unpack_from("=I", value, _LAST_SENT),
                       *struct.unpack_from("=I", value, _LAST_RECEIVED))
    return Tcp(inode, state, (_address(family, source), here), (_address(family, target), there),
               timer, expires, again, queue, idle)


def unix() -> Iterator[Unix]:
    """Unix sockets of this thread's network namespace. Raises OSError."""
    show = _SHOW_NAME | _SHOW_PEER | _SHOW_QUEUES
    request = _UNIX_REQUEST.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, show)
    for message in _dump(request):
        _, kind, state, inode = _UNIX.unpack_from(message)
        if kind != socket.SOCK_STREAM:
            continue
        name, peer, unsent = "", 0, 0
        for attribute, value in _attributes(message, _UNIX.size):
            if attribute == _NAME:
                name = bytes(value).rstrip(b"\0").decode(errors="replace")
            elif attribute == _PEER:
                (peer,) = struct.unpack_from("=I", value)
            elif attribute == _QUEUES:
                (unsent,) = struct.unpack_from("=I", value, 4)
        yield Unix(inode, state, name, peer, unsent)


def _address(family: int, raw: bytes) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, raw[:4])
    if raw.startswith(b"\0" * 10 + b"\xff\xff"):
        return socket.inet_ntop(socket.AF_INET, raw[12:])
    return socket.inet_ntop(socket.AF_INET6, raw)


def _dump(request: bytes) -> Iterator[memoryview]:
    length = _HEADER.size + len(request)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as link:
        link.settimeout(_LIMIT_S)
        link.send(_HEADER.pack(length, _BY_FAMILY, _REQUEST_DUMP, 1, 0) + request)
        while True:
            block = memoryview(link.recv(1 << 18))
            at = 0
            while at + _HEADER.size <= len(block):
                size, kind, *_ = _HEADER.unpack_from(block, at)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    (code,) = struct.unpack_from("=i", block, at + _HEADER.size)
                    raise OSError(-code, os.strerror(-code))
                yield block[at + _HEADER.size : at + size]
                at += (size + 3) & ~3


def _attributes(message: memoryview, at: int) -> Iterator[tuple[int, memoryview]]:
    while at + 4 <= len(message):
        size, kind = _ATTRIBUTE.unpack_from(message, at)
        if size < 4:
            return
        yield kind, message[at + 4 : at + size]
        at += (size + 3) & ~3


def within(namespace: str, ask: Callable[[], T]) -> T:
    """Call `ask` in another network namespace (a path such as /proc/7/ns/net), in a thread of its
    own, so that this process stays where it is. Raises OSError (EPERM without the right)."""
    answers: list[T] = []
    faults: list[BaseException] = []

    def run() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if libc.setns(fd, _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            finally:
                os.close(fd)
            answers.append(ask())
        except BaseException as fault:  # belongs to the caller
            faults.append(fault)

    thread = threading.Thread(target=run, name="other-namespace", daemon=True)
    thread.start()
    thread.join(4 * _LIMIT_S)
    for fault in faults:
        raise fault
    if not answers:
        raise TimeoutError(f"no answer from {namespace}")
    return answers[0]

