"""The rule set of one hold: a table of its own in nftables, made, refreshed and removed.

As nft would write it (`nft list table inet slackwater-PID-START` shows it):

    table inet slackwater-4711-123456 {
      set hold { type inet_service; flags timeout; elements = { 3306 timeout 3s } }
      chain wait { queue flags bypass to 40321 }   # or the NFQUEUE target of iptables; or empty
      chain gate { type filter hook input priority -10;
        tcp dport @hold tcp flags & (fin | syn | rst | ack) == syn jump wait }
      chain late { type filter hook input priority 10;
        tcp dport @hold tcp flags & (fin | syn | rst | ack) == syn drop }
    }

Nobody listens to the queue any more: `bypass` goes on to the next hook (not to the next rule),
where `late` drops: clients try again instead of being refused. The elements end by the kernel's
clock. A hold has its own table, queue and set, so that several share nothing. No packet mark is
used: to open is to empty the set first, so that what is let through passes `late`; while a crowd
is let in and newcomers still wait, the rule of `late` is gone (`let_pass`).

Sent to other hosts: standard library and `gate_` modules only.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

from slackwater.outside.gate.netlink import (
    CREATE,
    EXCLUSIVE,
    Change,
    KernelRefused,
    Netfilter,
    attr,
    attributes,
    header,
    nest,
    text,
    u32,
)

PREFIX = "slackwater-"
_INET = 1
_NEW_TABLE, _GET_TABLE, _DEL_TABLE, _NEW_CHAIN, _NEW_RULE = 0, 1, 2, 3, 6
_DEL_RULE = 8
_NEW_SET, _NEW_ELEMENT, _GET_ELEMENT, _DEL_ELEMENT = 9, 12, 13, 14
_DROP, _JUMP = 0, -3
_SET, _WAIT, _GATE, _LATE = "hold", "wait", "gate", "late"
_EARLY_PRIORITY, _LATE_PRIORITY = -10, 10
_INET_SERVICE = 13  # nft's number for the type, so that `nft list` reads the set
_WITH_TIMEOUT = 0x10


def _expression(name: str, *data: bytes) -> bytes:
    return nest(1, text(1, name), nest(2, *data))


def _verdict(code: int, chain: str = "") -> bytes:
    inner = u32(1, code) + (text(2, chain) if chain else b"")
    return _expression("immediate", u32(1, 0), nest(2, nest(2, inner)))


def _equals(value: bytes) -> bytes:
    return _expression("cmp", u32(1, 1), u32(2, 0), nest(3, attr(1, value)))


def _load(offset: int, length: int) -> bytes:
    """Bytes of the TCP header into register 1."""
    return _expression("payload", u32(1, 1), u32(2, 2), u32(3, offset), u32(4, length))


_IS_TCP = _expression("meta", u32(1, 1), u32(2, 16)) + _equals(b"\x06")
_TO_HELD_PORT = _load(2, 2) + _expression("lookup", text(1, _SET), u32(2, 1))
_FLAGS = nest(4, attr(1, b"\x17")), nest(5, attr(1, b"\0"))  # fin syn rst ack
_IS_SYN = _load(13, 1) + _expression("bitwise", u32(1, 1), u32(2, 1), u32(3, 1), *_FLAGS)
_IS_SYN += _equals(b"\x02")


def _queue(way: str, number: int) -> bytes:
    """The expression that sends a packet to the queue; b"" where packets are dropped."""
    if way == "nfqueue":
        one, bypass = struct.pack(">H", 1), struct.pack(">H", 1)
        to = attr(1, struct.pack(">H", number))
        return _expression("queue", to, attr(2, one), attr(3, bypass))
    if way == "iptables-nfqueue":  # struct xt_NFQ_info_v3: number, how many, flags: bypass
        data = struct.pack("=HHHH", number, 1, 1, 0)
        return _expression("target", text(1, "NFQUEUE"), u32(2, 3), attr(3, data))
    return b""


def _rule(table: str, chain: str, expressions: bytes) -> Change:
    body = header(_INET) + text(1, table) + text(2, chain) + nest(4, expressions)
    return _NEW_RULE, CREATE | 0x800, body


def _chain(table: str, name: str, priority: int = 0) -> Change:
    body = header(_INET) + text(1, table) + text(3, name)
    if priority:
        body += nest(4, u32(1, 1), u32(2, priority)) + u32(5, 1) + text(7, "filter")
    return _NEW_CHAIN, CREATE, body


def _elements(kind: int, table: str, ports: Sequence[int], ttl_s: float = 0) -> Change:
    limit = attr(4, struct.pack(">Q", int(ttl_s * 1000))) if ttl_s else b""
    each = [nest(1, nest(1, attr(1, struct.pack(">H", p))), limit) for p in ports]
    body = header(_INET) + text(1, table) + text(2, _SET) + nest(3, *each)
    return kind, CREATE if kind == _NEW_ELEMENT else 0, body


def _whole(table: str, way: str, queue: int, ports: Sequence[int], ttl_s: float) -> list[Change]:
    a_set = (
        header(_INET) + text(1, table) + text(2, _SET) + u32(3, _WITH_TIMEOUT)
        + u32(4, _INET_SERVICE) + u32(5, 2) + u32(10, 1)
    )  # fmt: skip
    matching = _IS_TCP + _TO_HELD_PORT + _IS_SYN
    changes = [
        (_NEW_TABLE, CREATE | EXCLUSIVE, header(_INET) + text(1, table)),
        (_NEW_SET, CREATE, a_set),
        _chain(table, _WAIT),
        _chain(table, _GATE, _EARLY_PRIORITY),
        _chain(table, _LATE, _LATE_PRIORITY),
        _rule(table, _GATE, matching + _verdict(_JUMP, _WAIT)),
        _rule(table, _LATE, matching + _verdict(_DROP)),
    ]
    if send := _queue(way, queue):
        changes.append(_rule(table, _WAIT, send))
    changes.append(_elements(_NEW_ELEMENT, table, ports, ttl_s))
    return changes


def check(net: Netfilter, way: str, queue: int) -> None:
    """Would the kernel take the rule set of `way`? Changes nothing. Raises OSError."""
    net.transact(_whole(PREFIX + "probe", way, queue, [1], 1), commit=False)


def shut(
    net: Netfilter, table: str, way: str, queue: int, ports: Sequence[int], ttl_s: float
) -> None:
    """Hold `ports` for `ttl_s` seconds. Raises KernelRefused."""
    net.transact(_whole(table, way, queue, ports, ttl_s))


def refresh(net: Netfilter, table: str, ports: Sequence[int], ttl_s: float) -> None:
    """Hold for `ttl_s` from now. Adding alone leaves an element's old timeout as it is (up to
    Linux 6.11); taken out and added in one transaction it is never absent. ENOENT: no table."""
    fresh = _elements(_NEW_ELEMENT, table, ports, ttl_s)
    net.transact([fresh, _elements(_DEL_ELEMENT, table, ports), fresh])


def release(net: Netfilter, table: str) -> None:
    """Hold no port any more: the set is emptied, the rest stays. Quiet when there is no table."""
    body = header(_INET) + text(1, table) + text(2, _SET)
    _unless_gone(net, [(_DEL_ELEMENT, 0, body)])


def let_pass(net: Netfilter, table: str) -> None:
    """Go on holding, but have `late` drop nothing: what leaves the queue gets through. Quiet when
    there is no table."""
    body = header(_INET) + text(1, table) + text(2, _LATE)
    _unless_gone(net, [(_DEL_RULE, 0, body)])


def remove(net: Netfilter, table: str) -> None:
    """Take the table away. Mind that to remove a hook makes the kernel drop all packets that
    wait in any queue of this network namespace. Quiet when there is no table."""
    _unless_gone(net, [(_DEL_TABLE, 0, header(_INET) + text(1, table))])


def _unless_gone(net: Netfilter, changes: list[Change]) -> None:
    try:
        net.transact(changes)
    except KernelRefused as error:
        if error.errno != errno.ENOENT:
            raise


def tables(net: Netfilter) -> list[str]:
    """The names of all tables of holds, also those of other processes."""
    found = []
    for body in net.dump(_GET_TABLE, header(_INET)):
        name = dict(attributes(body)).get(1, b"").rstrip(b"\0").decode(errors="replace")
        if name.startswith(PREFIX):
            found.append(name)
    return found


def held_ports(net: Netfilter, table: str) -> dict[int, float]:
    """The ports that the table holds now -> seconds until the kernel lets go by itself."""
    ask = header(_INET) + text(1, table) + text(2, _SET)
    try:
        bodies = net.dump(_GET_ELEMENT, ask)
    except KernelRefused as error:
        if error.errno == errno.ENOENT:
            return {}
        raise
    ports = {}
    for body in bodies:
        for _, element in attributes(dict(attributes(body)).get(3, b"")):
            parts = dict(attributes(element))
            value = dict(attributes(parts[1]))[1]
            left = struct.unpack(">Q", parts.get(5, b"\0" * 8))[0] / 1000
            ports[struct.unpack(">H", value)[0]] = left
    return ports
