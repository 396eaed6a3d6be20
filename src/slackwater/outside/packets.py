"""TCP segments as they pass this host's interfaces (AF_PACKET): root only, for a limited time."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Collection

from slackwater.facts.doctor.wire import Segment

_ALL = 0x0003  # ETH_P_ALL
_OUTGOING = 4  # PACKET_OUTGOING
_IPV4, _IPV6 = 0x0800, 0x86DD
_SNAP = 65535
_POLL_S = 0.2


def capture(
    ports: Collection[int], limit_s: float, take: Callable[[Segment], bool],
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Give each TCP segment from or to these ports to `take`, for `limit_s` or until it says True.

    On the loopback interface each one passes twice; it is given once. `ready` is called when
    nothing more can be missed. Raises OSError (EPERM without CAP_NET_RAW).
    """
    ends = time.monotonic() + limit_s
    wanted = frozenset(ports)
    # Cooked: from the network header on, whatever the link is.
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL)) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        link.settimeout(_POLL_S)
        ready()
        while time.monotonic() < ends:
            with contextlib.suppress(TimeoutError):
                raw, (name, kind, direction, *_) = link.recvfrom(_SNAP)
                if name == "lo" and direction == _OUTGOING:
                    continue
                segment = _segment(raw, kind, wanted)
                if segment and take(segment):
                    return


def _segment(raw: bytes, kind: int, wanted: Collection[int]) -> Segment | None:
    if kind == _IPV4 and len(raw) > 20 and raw[9] == socket.IPPROTO_TCP:
        at, total = (raw[0] & 15) * 4, int.from_bytes(raw[2:4], "big")
        source, target = (socket.inet_ntop(socket.AF_INET, raw[n : n + 4]) for n in (12, 16))
    elif kind == _IPV6 and len(raw) > 40 and raw[6] == socket.IPPROTO_TCP:
        at, total = 40, 40 + int.from_bytes(raw[4:6], "big")
        source, target = (socket.inet_ntop(socket.AF_INET6, raw[n : n + 16]) for n in (8, 24))
    else:
        return None
    if len(raw) < at + 20:
        return None
    here, there, sequence = struct.unpack_from("!HHI", raw, at)
    if here not in wanted and there not in wanted:
        return None
    body = at + (raw[at + 12] >> 4) * 4
    flags = raw[at + 13]
    # A big packet that the network card will cut has no length of its own (0).
    payload = raw[body : total if total > body else len(raw)]
    return Segment(f"{source}:{here}", f"{target}:{there}", there in wanted and here not in wanted,
                   sequence, bool(flags & 2), bool(flags & 5), payload)
