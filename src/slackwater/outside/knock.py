"""Whether a MySQL server, or a proxy for one, listens at an address: seen by its greeting.

The server speaks first, so nothing is sent to what does not greet. A server that did is not left
in the middle of its handshake: that would count as a connect error, and max_connect_errors of them
block a host whose pool never logs in anew. It gets a whole login of an account that does not
exist, which it refuses (1045): that counts as a failed login, and blocks nobody (measured on
MariaDB 10.11, MySQL 5.7 and 9.7: docs/howto/gone-away.md).
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterable

from slackwater.facts.doctor.server import KNOCKER

LIMIT_S = 0.5
_MOST = 8192  # bytes: no greeting is longer
_PROTOCOL, _ERROR, _SWITCH, _MORE = 10, 0xFF, 0xFE, 0x01
_ERRORS = range(1000, 2000)  # the server's own; 1040, 1129 and 1130 come in place of a greeting
_CAPABILITIES = 0x1 | 0x200 | 0x8000 | 0x80000  # long password, 4.1, secure, plugin names
_ROUNDS = 3


def is_greeting(packet: bytes) -> bool:
    """Whether this is a MySQL server's first packet: a greeting of protocol 10, or an error."""
    length, number, body = int.from_bytes(packet[:3], "little"), packet[3:4], packet[4:]
    if number != b"\0" or not 4 <= length <= _MOST or len(body) < length:
        return False
    if body[0] == _ERROR:
        return int.from_bytes(body[1:3], "little") in _ERRORS
    version, end, rest = body[1:].partition(b"\0")
    return body[0] == _PROTOCOL and bool(end) and version.isascii() and len(rest) >= 12


def greeted(places: Iterable[tuple[str, int]], limit_s: float = LIMIT_S) -> set[tuple[str, int]]:
    """Those of these addresses that greet as a MySQL server does. One connection to each, all at
    once; who has not greeted by the limit does not count. Never raises."""
    found: set[tuple[str, int]] = set()
    ends = time.monotonic() + limit_s
    threads = [threading.Thread(target=_knock, args=(place, ends, found), daemon=True)
               for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends + 1 - time.monotonic()))
    return set(found)


def _knock(place: tuple[str, int], ends: float, found: set[tuple[str, int]]) -> None:
    try:
        with socket.create_connection(place, _left(ends)) as link:
            packet = _packet(link, ends)
            if not is_greeting(packet):
                return
            found.add(place)
            if packet[4] == _PROTOCOL:
                _be_refused(link, packet, ends + 1)
    except (OSError, ValueError):
        return  # nobody there, or not in time


def _be_refused(link: socket.socket, greeting: bytes, ends: float) -> None:
    """Log in as nobody, to the end. Raises OSError."""
    plugin = greeting.rstrip(b"\0").rpartition(b"\0")[2]
    body = struct.pack("<IIB23x", _CAPABILITIES, 1 << 24, 45)
    body += KNOCKER.encode() + b"\0\0" + plugin + b"\0"
    link.sendall(struct.pack("<I", len(body) | 1 << 24) + body)
    for _ in range(_ROUNDS):
        packet = _packet(link, ends)
        if packet[4:5] not in (bytes([_SWITCH]), bytes([_MORE])):
            return  # refused
        link.sendall(bytes([0, 0, 0, packet[3] + 1 & 0xFF]))  # no password


def _packet(link: socket.socket, ends: float) -> bytes:
    """A whole packet with its header, or what came of it; ValueError where it is too long."""
    raw = b""
    while len(raw) < 4 or len(raw) < 4 + int.from_bytes(raw[:3], "little"):
        if len(raw) >= 4 and int.from_bytes(raw[:3], "little") > _MOST:
            raise ValueError("no packet of a greeting")
        link.settimeout(_left(ends))
        block = link.recv(_MOST)
        if not block:
            return raw
        raw += block
    return raw


def _left(ends: float) -> float:
    return max(0.001, ends - time.monotonic())
