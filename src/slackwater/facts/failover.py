"""What was seen of a pair whose active server may be dead: from here, and through each balancer."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from slackwater.facts.balancer import BalancerState
from slackwater.facts.flavour import Flavour
from slackwater.facts.replication import ReplicaStatus
from slackwater.facts.server import ServerFacts

PARKED_PORT = 1  # where a promoted server's replication points: nobody listens there


class Sight(enum.StrEnum):
    """How one server looks from one place, in the words that people see."""

    SERVES = "it answers and accepts writes"
    READ_ONLY = "it answers and is read-only"
    ANSWERS = "it answers"
    NOT_RUNNING = "nothing listens there"
    HANGS = "it takes connections but says nothing: it hangs"
    UNREACHABLE = "no answer"

    @property
    def alive(self) -> bool:
        """Somebody spoke."""
        return self in (Sight.SERVES, Sight.READ_ONLY, Sight.ANSWERS)


@dataclass(frozen=True)
class Seen:
    """A sight, and the words of whoever failed to see more."""

    sight: Sight
    why: str = ""
    flavour: Flavour | None = field(default=None, compare=False)  # of one that let us in

    def __str__(self) -> str:
        return f"{self.sight}{f' ({self.why})' if self.why else ''}"


REFUSES_US = 0  # no server has this id


@dataclass(frozen=True)
class BalancerView:
    """One balancer. `behind`: the server id that a client reaches through it; REFUSES_US: a server
    answers that does not let us in; None: nobody answers.

    `lacks`: why it could not be told to use another server, or its file not be written.
    """

    state: BalancerState | None
    behind: int | None = None
    file_active: str | None = None
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class SemiSync:
    """Semi-synchronous replication of one server; None where it has no such thing.

    `receiving`: as a replica it acknowledges what it gets. `after_sync`: as a source it waits
    before the commit is visible. `clients`: replicas that acknowledge to it now.
    """

    source: bool
    replica: bool
    receiving: bool
    after_sync: bool
    timeout_ms: int
    clients: int


def stands_still(channel: ReplicaStatus) -> bool:
    """Whether its applier was told to stop."""
    return not channel.sql_running and not channel.sql_error


@dataclass(frozen=True)
class Passive:
    """The server to be promoted. `before` and `status`: two looks at its replication;
    `idle_events`: how many scheduled events do not run there, since it is a replica; `changing`:
    its applier stands still without an error, and a schema change is open, which stops it."""

    facts: ServerFacts
    before: tuple[ReplicaStatus, ...]
    missing_privileges: tuple[str, ...] = ()
    semi_sync: SemiSync | None = None
    idle_events: int = 0
    changing: bool = False

    def channel(self) -> ReplicaStatus | None:
        """The channel by which it follows the other server; None when it has none, or several."""
        return self.facts.replication[0] if len(self.facts.replication) == 1 else None

    def receives(self) -> bool:
        """Whether it got something from its source between the two looks."""
        def at(channels: tuple[ReplicaStatus, ...]) -> list[tuple[str, int, str]]:
            return [(c.source_file, c.read_position, c.retrieved_gtids) for c in channels]

        return bool(self.before) and at(self.before) != at(self.facts.replication)


@dataclass(frozen=True)
class FailoverSeen:
    """Everything that a failover decides by. `sights`: of both servers of the pair, from here."""

    pair: tuple[str, ...]
    sights: Mapping[str, Seen]
    balancers: Mapping[str, BalancerView]
    passive: Passive | None = None  # of the server to be promoted
    unseen: str = ""  # why there is none

    def other(self, name: str) -> str:
        """The other server of the pair."""
        return self.pair[1] if name == self.pair[0] else self.pair[0]
