"""Which processes of this host hold a database connection, and how: /proc and netlink, read only.

Nothing is sent to the processes, none is stopped or traced.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import pwd
import re
import socket
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from slackwater.facts.doctor.host import (
    CLOEXEC,
    CLOSE_WAIT,
    ESTABLISHED,
    LISTEN,
    SERVER_NAMES,
    TIMERS,
    Connection,
    Held,
    HostSeen,
    Process,
    Stranger,
    shown,
)
from slackwater.outside.net_sockets import Sockets, namespaces, sockets

PORTS = frozenset({3306, 33060})
# Ports on which something else is at home, which needs no knock to be told from a database.
OTHERS_PORTS = frozenset({
    22, 25, 53, 80, 88, 110, 111, 143, 389, 443, 445, 465, 514, 587, 636, 873, 993, 995, 1433, 1521,
    2049, 2379, 2380, 5432, 5671, 5672, 6379, 6443, 8080, 8443, 8500, 9042, 9092, 9200, 9300, 10250,
    11211, 27017,
})  # fmt: skip
_SOCKET_NAME = re.compile(r"(mysql|maria|percona)[^/]*\.sock(et)?$|/mysqlx?\.sock")
_PID_NAMESPACE = "pid:[4026531836]"  # that of the host itself, the same on every kernel
_COMMAND_MAX = 300
_PARENTS = 6
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Known:
    """By what a database connection is known, besides the servers that run on this host."""

    ports: frozenset[int] = PORTS
    sockets: frozenset[str] = frozenset()
    places: frozenset[tuple[str, int]] = frozenset()  # addresses that greeted as a server does
    # Connections of an earlier look. One that was reset is in no table any more, and a unix socket
    # whose server is gone does not tell whose it was; but a process may still hold it.
    earlier: Mapping[int, Connection] = field(default_factory=dict)


def scan(known: Known | None = None, pids: Collection[int] | None = None) -> HostSeen:
    """One look at all processes, or at these. Reads only; never raises for what it may not see."""
    known = known or Known()
    begun = time.monotonic()
    every = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    looked = sorted(every if pids is None else set(every) & set(pids))
    spaces = namespaces(looked)
    found = sockets(spaces)
    owned: list[tuple[int, int, int]] = []  # pid, descriptor, inode
    descriptors = hidden = 0
    candidates = _candidates(found)
    for pid in looked:
        numbers = _descriptors(pid, candidates)
        if numbers is None:
            hidden += 1
            continue
        descriptors += numbers[0]
        owned += [(pid, n, inode) for n, inode in numbers[1]]
    inodes = _connections(found, known, _listening(owned if pids is None else None, every, found))
    held = [Held(pid, n, inode, _cloexec(pid, n)) for pid, n, inode in owned if inode in inodes]
    if known.earlier:
        held += _of_earlier(looked, set(inodes) - candidates)
    holders = {h.pid for h in held}
    kept = {h.inode: inodes[h.inode] for h in held}
    ancestors: dict[int, tuple[int, str]] = {}
    return HostSeen(
        socket.gethostname(), kept, {pid: process(pid, ancestors) for pid in holders}, tuple(held),
        (*found.blind, *_blind(hidden)), len(looked), descriptors,
        (time.monotonic() - begun) * 1000, _strangers(owned, found, inodes),
    )


def _candidates(found: Sockets) -> set[int]:
    """Sockets that could be a database's at either end: the others are not looked at again."""
    return set(found.tcp) | {u.inode for u in found.unix.values() if u.peer or u.state == LISTEN}


def _of_earlier(pids: Iterable[int], inodes: set[int]) -> list[Held]:
    """Who holds connections of an earlier look that are in no table any more."""
    if not inodes:
        return []
    return [Held(pid, n, inode, _cloexec(pid, n)) for pid in pids
            for n, inode in (_descriptors(pid, inodes) or (0, []))[1]]


def children(pid: int) -> set[int]:
    """This process and all below it."""
    found, todo = set(), [pid]
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += _children(one)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):  # it ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, _read(pid, f"task/{thread}/children").split())
    return found


def _blind(hidden: int) -> list[str]:
    said = []
    if hidden:
        said.append(f"descriptors of {hidden} processes: they are not ours; run as root to see all")
    with contextlib.suppress(OSError):
        if os.readlink("/proc/self/ns/pid") != _PID_NAMESPACE:
            said.append("processes outside of this container (a PID namespace of its own)")
    return said


def is_server(pid: int) -> bool:
    """Whether this process is a database server."""
    name = _read(pid, "comm").strip()
    if not name.startswith("ld-"):
        return name in SERVER_NAMES
    # A loader with the server as its argument, as for versions beside the system's own.
    return any(word.rpartition("/")[2] in SERVER_NAMES
               for word in _read(pid, "cmdline").split("\0")[:6])


def _listening(
    owned: Iterable[tuple[int, int, int]] | None, every: Iterable[int], found: Sockets
) -> Known:
    """Where the servers of this host listen. `owned`: the descriptors of all processes; where
    only some were looked at, the servers are searched for."""
    listens = {s.inode for s in found.tcp.values() if s.state == LISTEN}
    listens |= {s.inode for s in found.unix.values() if s.state == LISTEN}
    if owned is None:
        theirs = {inode for pid in every if is_server(pid)
                  for _, inode in (_descriptors(pid, listens) or (0, []))[1]}
    else:
        by_pid: dict[int, set[int]] = {}
        for pid, _, inode in owned:
            if inode in listens:
                by_pid.setdefault(pid, set()).add(inode)
        theirs = {inode for pid, mine in by_pid.items() if is_server(pid) for inode in mine}
    return Known(frozenset(found.tcp[i].local[1] for i in theirs if i in found.tcp),
                 frozenset(found.unix[i].name for i in theirs if i in found.unix))


def _strangers(
    owned: Iterable[tuple[int, int, int]], found: Sockets, inodes: Collection[int]
) -> tuple[Stranger, ...]:
    """Where clients are connected that nobody is known to listen: one for each address."""
    listens = {s.local[1] for s in found.tcp.values() if s.state == LISTEN}
    by_place: dict[tuple[str, int], Stranger] = {}
    for pid, _, inode in owned:
        s = found.tcp.get(inode)
        if (s is None or s.state != ESTABLISHED or inode in inodes or s.remote in by_place
                or s.local[1] in listens or s.remote[1] in OTHERS_PORTS or not _near(s.remote[0])):
            continue
        by_place[s.remote] = Stranger(*s.remote, pid)
    return tuple(by_place.values())


def _near(address: str) -> bool:
    """A host of our own network: nobody else's is ever connected to."""
    return ipaddress.ip_address(address).is_private


def _connections(found: Sockets, known: Known, here: Known) -> dict[int, Connection]:
    """The client ends of database connections, by inode."""
    kept = {}
    for s in found.tcp.values():
        address, port = s.remote
        near = address == s.local[0] or address.startswith("127.") or address == "::1"
        if s.state in (ESTABLISHED, CLOSE_WAIT) and (
            port in known.ports or s.remote in known.places or (near and port in here.ports)
        ):
            kept[s.inode] = Connection(
                s.inode, "tcp", _text(s.local), _text(s.remote), s.state == CLOSE_WAIT, s.idle_ms,
                s.unsent, TIMERS.get(s.timer, "none"), s.timer_ms, s.retransmits,
            )
    for u in found.unix.values():
        other = found.unix.get(u.peer)
        if other is None or not other.name or u.name == other.name:
            continue
        name = other.name
        if name in known.sockets or name in here.sockets or _SOCKET_NAME.search(name):
            kept[u.inode] = Connection(u.inode, "unix", "", name, unsent=u.unsent)
    for inode, before in known.earlier.items():
        if inode not in kept:
            kept[inode] = replace(before, closed_by_peer=True)
    return kept


def _text(end: tuple[str, int]) -> str:
    return f"[{end[0]}]:{end[1]}" if ":" in end[0] else f"{end[0]}:{end[1]}"


def _descriptors(
    pid: int, wanted: Collection[int]
) -> tuple[int, list[tuple[int, int]]] | None:
    """How many a process has, and those that are one of the wanted sockets; None: not ours."""
    mine = []
    try:
        at = os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0, []  # it ended meanwhile
    except OSError:
        return None
    try:
        names = os.listdir(at)
        for name in names:
            try:
                target = os.readlink(name, dir_fd=at)
            except OSError:
                continue  # closed meanwhile
            if target.startswith("socket:[") and (inode := int(target[8:-1])) in wanted:
                mine.append((int(name), inode))
    except OSError:
        return None if not mine else (len(mine), mine)
    finally:
        os.close(at)
    return len(names), mine


def _cloexec(pid: int, number: int) -> bool | None:
    for line in _read(pid, f"fdinfo/{number}").splitlines():
        if line.startswith("flags:"):
            return bool(int(line.split()[1], 8) & CLOEXEC)
    return None


def process(pid: int, ancestors: dict[int, tuple[int, str]] | None = None) -> Process:
    """Who this is; with empty fields for what may not be read, or is gone. `ancestors`: parents
    and names that were read before."""
    parent, stack, age_s = _stat(pid)
    words = _read(pid, "cmdline").rstrip("\0").split("\0")
    command = shown(words)[:_COMMAND_MAX]
    program = user = ""
    with contextlib.suppress(OSError):
        program = os.readlink(f"/proc/{pid}/exe")
    with contextlib.suppress(OSError, KeyError):
        user = pwd.getpwuid(os.stat(f"/proc/{pid}").st_uid).pw_name
    return Process(pid, _read(pid, "comm").strip(), command, program, stack, user, parent,
                   tuple(_parents(parent, {} if ancestors is None else ancestors)), age_s,
                   _inner(pid))


def _parents(pid: int, seen: dict[int, tuple[int, str]]) -> Iterable[str]:
    for _ in range(_PARENTS):
        if pid <= 0:
            return
        if pid not in seen:
            seen[pid] = (_stat(pid)[0], _read(pid, "comm").strip())
        parent, name = seen[pid]
        if not name:
            return
        yield f"{name} (pid {pid})"
        pid = parent


def _stat(pid: int) -> tuple[int, int, float | None]:
    """(parent, where its stack began: 0 where that may not be known, seconds since its fork)."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    if len(fields) <= 25:
        return 0, 0, None
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / _TICKS
    return int(fields[1]), int(fields[25]), age


def _inner(pid: int) -> int:
    try:
        if os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid"):
            return pid
    except OSError:
        return 0
    found = re.search(r"^NSpid:.*\s(\d+)$", _read(pid, "status"), re.MULTILINE)
    return int(found[1]) if found else 0


def _read(pid: int, name: str) -> str:
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 65536).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(fd)
