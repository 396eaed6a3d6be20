"""What one look at a host's processes and sockets saw of database connections."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

ESTABLISHED, CLOSE_WAIT, LISTEN = 1, 8, 10
SERVER_NAMES = frozenset({"mariadbd", "mysqld", "mysqld-debug"})
# The kernel's timers of a TCP socket (/proc/net/tcp, inet_diag).
TIMERS = {0: "none", 1: "retransmit", 2: "keepalive", 3: "time-wait", 4: "zero-window probe"}
CLOEXEC = 0o2000000  # in the octal `flags:` of /proc/PID/fdinfo/FD

_SECRET = re.compile(
    r"(?i)((?:^|\s)-p|\bpass(?:word|wd)?(?:\d)?[=:\s]\s*|\bsecret[=:]|\btoken[=:]"
    r"|\bMYSQL_PWD=)(?!\s|$)\S+"
)
_IN_URL = re.compile(r"(://[^/\s:@]*:)[^@\s/]+@")


@dataclass(frozen=True)
class Connection:
    """One end of a connection with a database, as its kernel sees it. Times in ms."""

    inode: int
    kind: str  # "tcp" or "unix"
    local: str  # address:port; "" for unix
    remote: str  # address:port, or the path of the server's socket
    closed_by_peer: bool = False
    idle_ms: int | None = None  # since the last data came or went; None: not told
    unsent: int = 0  # bytes written and not acknowledged (tcp) or not read (unix)
    timer: str = "none"
    timer_ms: int = 0
    retransmits: int = 0
    session: str = ""  # "session 7 of server a (…)", where a server was asked and knew
    opened_by: int = 0  # the pid that logged in, where it is known
    # How long its session had waited for a statement at `HostSeen.waits_at`, by its server.
    asleep_s: float | None = None

    def __str__(self) -> str:
        which = f"socket {self.inode}" + (f", {self.session}" if self.session else "")
        if self.kind == "unix":
            return f"unix:{self.remote} ({which})"
        return f"{self.local} -> {self.remote} ({which})"


@dataclass(frozen=True)
class Process:
    """A process that holds one. `command` has no passwords; `parents` from the nearest on."""

    pid: int
    name: str
    command: str = ""
    program: str = ""  # the file that runs, where it may be read
    stack: int = 0  # where its stack began: the same in a parent and a child that only forked
    user: str = ""
    parent: int = 0
    parents: tuple[str, ...] = ()
    age_s: float | None = None  # since it was forked
    inner_pid: int = 0  # its own idea of its pid: another one inside of a container

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"

    def forked_with(self, other: Process) -> bool:
        """Whether both run from one exec: one was forked from the other, or both from a third."""
        return bool(self.stack) and (self.stack, self.program) == (other.stack, other.program)


@dataclass(frozen=True)
class Held:
    """A descriptor of a process that is a database connection."""

    pid: int
    number: int
    inode: int
    cloexec: bool | None  # None: it could not be read


@dataclass(frozen=True)
class Stranger:
    """An address that clients of this host are connected with, and that could be a database's.
    `pid` is one of them: it says which network the address is of."""

    address: str
    port: int
    pid: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else (
            f"{self.address}:{self.port}")


@dataclass(frozen=True)
class HostSeen:
    """One look. `blind` says in words what could not be seen."""

    host: str
    connections: Mapping[int, Connection]  # by inode
    processes: Mapping[int, Process]  # by pid; those that hold one
    held: tuple[Held, ...]
    blind: tuple[str, ...] = ()
    looked_at: int = 0  # processes
    descriptors: int = 0
    took_ms: float = 0.0
    strangers: tuple[Stranger, ...] = ()
    waits: frozenset[int] = frozenset()  # connections from which a client waits to read, by inode
    waits_at: float = 0.0  # when that was looked at (unix time); 0: it was not

    def holders(self, inode: int) -> list[Held]:
        """Who has this connection."""
        return [h for h in self.held if h.inode == inode]


def shown(words: Sequence[str]) -> str:
    """A command line that may be shown: no passwords, and no code given on it (-e, -c, -r), which
    may have some anywhere."""
    kept, code = [], False
    for word in words:
        kept.append("…" if code else word)
        code = word in ("-e", "-E", "-c", "-r")
    return without_secrets(" ".join(kept))


def without_secrets(command: str) -> str:
    """A text in which -pSECRET, --password=…, user:SECRET@ are masked."""
    return _IN_URL.sub(r"\1…@", _SECRET.sub(r"\1…", command))


def same(first: HostSeen, second: HostSeen) -> HostSeen:
    """The second look, without descriptors that the first did not have, and with nothing closed by
    its peer that was not in the first: what lasts, not what was caught between fork and exec."""
    before = {(h.pid, h.number, h.inode) for h in first.held}
    held = tuple(h for h in second.held if (h.pid, h.number, h.inode) in before)
    lasting = {}
    for inode in {h.inode for h in held}:
        now, then = second.connections[inode], first.connections[inode]
        closed = now.closed_by_peer and then.closed_by_peer
        lasting[inode] = replace(now, closed_by_peer=closed)
    return HostSeen(
        second.host, lasting, second.processes, held,
        tuple(dict.fromkeys(first.blind + second.blind)), first.looked_at, first.descriptors,
        first.took_ms + second.took_ms,
    )
