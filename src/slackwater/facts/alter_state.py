"""How far a schema change has come: the row that every server of the pair has of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

# The words of `state`, in the order of a change that goes well; two ways out at the end.
ALTERING = "altering"  # the first server (passive) is being changed
HALF_DONE = "half done"  # the first server has the new schema and is active; the other has not
FINISHING = "finishing"  # the other server (passive now) is being changed
REVERTED = "reverted"  # switched back; the first server still has the new schema, as passive
FINISHED = "finished"
UNDONE = "undone"
ENDED = (FINISHED, UNDONE)


@dataclass(frozen=True)
class Change:
    """One schema change. Servers are named as in slackwater.toml.

    `before` and `after` hold SHOW CREATE TABLE (and triggers) of each table, "" for one that was
    not there. `begun` has, for a server at work, the tables' text before the statement that was
    begun last: whether it took effect can be told from that, also after a crash.
    """

    id: str
    state: str
    since: float  # unix seconds; when `state` began
    database: str
    statements: tuple[str, ...]
    first: str  # altered first, as the passive
    other: str
    replicas: tuple[str, ...] = ()
    modes_first: tuple[str, ...] = ()  # what replication into the new schema's servers needs
    modes_other: tuple[str, ...] = ()  # what replication into the old schema's server needs
    conversions: Mapping[str, str] = field(default_factory=dict)  # server: the setting before
    done: Mapping[str, int] = field(default_factory=dict)  # server: statements that took effect
    begun: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    began: float = 0.0
    data: tuple[str, ...] = ()  # statements on rows, run once when both have the new schema
    filled: int = 0  # how many of them are done
    drained: tuple[str, ...] = ()  # replicas that are out of their balancer's rotation for this
    # Server: which of a person's statements for the way back was begun last, a fingerprint of the
    # tables before it, and one of those statements.
    back: Mapping[str, tuple[int, str, str]] = field(default_factory=dict)
    lifted: tuple[str, ...] = ()  # servers whose super_read_only was on, and is lifted for this

    @property
    def file(self) -> tuple[str, ...]:
        """All statements, in the order of the file."""
        return (*self.statements, *self.data)

    @property
    def open(self) -> bool:
        return self.state not in ENDED

    @property
    def tables(self) -> tuple[str, ...]:
        return tuple(self.before)

    def with_active(self, active: str | None) -> Change:
        """As it really is when this server is the active one: who ran the switchover may have been
        lost right behind it, before it was written down."""
        new = (self.first, *self.replicas)
        if self.state == ALTERING and active == self.first and all(map(self.complete, new)):
            return dataclasses.replace(self, state=HALF_DONE)
        if self.state == HALF_DONE and active == self.other:
            return dataclasses.replace(self, state=REVERTED)
        if self.state == FINISHING and active == self.other and not self.complete(self.other):
            return dataclasses.replace(self, state=REVERTED)  # a failover, in its middle
        return self

    def modes(self, server: str) -> tuple[str, ...]:
        """What the conversion setting of this server must have while schemas differ."""
        return self.modes_other if server == self.other else self.modes_first

    def lacks(self, server: str, conversions: str) -> tuple[str, ...]:
        """What the value of its conversion setting does not have of `modes`."""
        has = conversions.upper().split(",")
        return tuple(m for m in self.modes(server) if m not in has)

    def touched(self, server: str) -> bool:
        """Whether a statement took effect there, or may have."""
        return bool(self.done.get(server)) or server in self.begun

    @property
    def apart(self) -> tuple[str, ...]:
        """The servers that keep the schemas apart: those without all of it, where any has some."""
        servers = (self.first, self.other, *self.replicas)
        if not self.statements or not any(map(self.touched, servers)):
            return ()
        return tuple(s for s in servers if not self.complete(s) or s in self.begun)

    def complete(self, server: str) -> bool:
        return self.done.get(server, 0) >= len(self.statements)


@dataclass(frozen=True)
class Filling:
    """How far a data statement is: written in the transaction of each chunk, so that a chunk and
    its mark stand or fall together. `last`: the key that the last chunk ended at."""

    at: float  # unix seconds: what NOW() is for all of its chunks
    last: tuple[str, ...] | None = None
    rows: int = 0  # changed
    seen: int = 0  # gone through
    chunks: int = 0
    done: bool = False


@dataclass(frozen=True)
class Progress:
    """What a server says of a running ALTER: `part` from 0 to 1, None where it tells nothing."""

    stage: str
    part: float | None
