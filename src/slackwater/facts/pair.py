"""Everything that was seen of a pair in one look: servers, balancers, sessions, canaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slackwater.facts.alter_state import Change
from slackwater.facts.balancer import BalancerState
from slackwater.facts.server import ClientSession, ServerFacts

LOCKED, EXPIRED = "locked", "expired"  # of accounts
CANARY = "slackwater.canary"  # the table whose rows prove the way from a server to another


@dataclass(frozen=True)
class AtAddress:
    """What answers at a server's `address`, where slackwater itself comes in by its socket."""

    address: str
    error: str = ""  # why nobody does
    server_id: int | None = None  # None: somebody, who did not let us in


@dataclass(frozen=True)
class ServerSeen:
    """One server and what goes on in it. `transactions`: session id to age in seconds."""

    facts: ServerFacts
    sessions: tuple[ClientSession, ...] = ()
    transactions: Mapping[int, float] = field(default_factory=dict)
    privileged: tuple[str, ...] = ()  # accounts that may write despite read_only
    # (user, host, whether it may replicate); None: not shown to us
    accounts: tuple[tuple[str, str, bool], ...] | None = None
    # (user, host): why nobody comes in or works with it; none: also where that is not shown
    shut: Mapping[tuple[str, str], str] = field(default_factory=dict)
    prepared_xa: int | None = 0  # None: the account may not ask
    enabled_events: int = 0
    missing_privileges: tuple[str, ...] = ()
    read_only_unset: bool | None = None  # neither a file nor anybody set it; None: not told
    persisted_writable: bool = False  # SET PERSIST read_only = OFF; False: also where not told
    # ("Binlog_Ignore_DB", "log"): what it leaves out of its binary log
    binlog_filters: tuple[tuple[str, str], ...] = ()
    at_address: AtAddress | None = None  # None: slackwater comes in there, or did not try


@dataclass(frozen=True)
class Road:
    """How one balancer leads to one server: addresses are `host:port`."""

    meant: str  # in slackwater.toml
    now: str | None  # as the balancer has it; None: it has no such server
    in_file: str | None  # as its file has it; None: no such server, or the file was not read
    far: bool = False  # the balancer is on another machine, where loopback is another thing
    # A host name: all that it stands for, here and on the balancer's machine; without it: not told.
    names: Mapping[str, frozenset[str]] = field(default_factory=dict)
    proven: frozenset[str] = frozenset()  # other addresses at which this very server answered


@dataclass(frozen=True)
class BalancerSeen:
    """One balancer, why it cannot serve (if so), and which server answers behind it."""

    state: BalancerState
    lacks: tuple[str, ...] = ()
    answers: str | None = None  # name of the server that a client reaches through it
    file_active: str | None = None  # the server that its configuration file makes active
    roads: Mapping[str, Road] = field(default_factory=dict)  # to the pair's servers
    waiting: int = 0  # clients that waited in each of several looks, while nothing was held


@dataclass(frozen=True)
class Passing:
    """Connections that come past the balancers and do not stay: so many a second, and user@address
    of those that may be among them."""

    per_s: float
    who: tuple[str, ...] = ()


@dataclass(frozen=True)
class PairSeen:
    """One look at a pair. What could not be reached is in `unreachable` with the reason."""

    name: str
    pair: tuple[str, ...]  # one: a source, whose replicas are in `replicas`
    servers: Mapping[str, ServerSeen]
    balancers: Mapping[str, BalancerSeen]
    replicas: tuple[str, ...] = ()
    unreachable: Mapping[str, str] = field(default_factory=dict)
    bypassing: tuple[ClientSession, ...] = ()  # on the active, not through any balancer
    passing: Passing | None = None  # to the active, past the balancers, too short to be named
    change: Change | None = None  # a schema change that has not ended
    worked_on: tuple[str, ...] = ()  # servers on which another slackwater has the pair's lock
    no_record: str = ""  # why nothing can be recorded where operations are

    @property
    def ring(self) -> bool:
        """Whether it is a pair, of which each replicates from the other; else it is a source."""
        return len(self.pair) == 2

    def writable(self) -> tuple[str, ...]:
        """Names of the pair's servers that accept writes."""
        return tuple(
            n for n in self.pair if n in self.servers and not self.servers[n].facts.read_only
        )

    def active(self) -> str | None:
        """The one writable server of the pair; None when there is none or more than one."""
        found = self.writable()
        return found[0] if len(found) == 1 else None

    def other(self, name: str) -> str:
        """The other server of the pair."""
        return self.pair[1] if name == self.pair[0] else self.pair[0]
