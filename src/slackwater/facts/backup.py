"""Locks for a snapshot, and what is known of the moment it shows. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from slackwater.facts.replication import ReplicaStatus
from slackwater.facts.server import BinlogPosition


class LockKind(enum.StrEnum):
    """What a snapshot's lock keeps out, from the mildest on."""

    NONE = "none"  # nothing: the snapshot is what a crash would leave
    INSTANCE = "instance"  # changes of tables' definitions; writes and commits go on
    COMMITS = "commits"  # also commits, and writes to tables without transactions (MariaDB)
    TABLES = "tables"  # FLUSH TABLES WITH READ LOCK: all writes

    @property
    def exact(self) -> bool:
        """Whether nothing is committed while it is held: what was read then is the position."""
        return self in (LockKind.COMMITS, LockKind.TABLES)


LOCK_SAYS = {
    LockKind.NONE: "no lock",
    LockKind.INSTANCE: "an instance lock (no DDL; writes go on)",
    LockKind.COMMITS: "a lock on commits (no write ends; reads go on)",
    LockKind.TABLES: "FLUSH TABLES WITH READ LOCK (no writes; reads go on)",
}


@dataclass(frozen=True)
class SourcePosition:
    """How far a replica had applied what its source wrote, by the source's own coordinates."""

    channel: str
    host: str
    port: int
    file: str
    position: int


@dataclass(frozen=True)
class Coordinates:
    """The binary-log position of a snapshot.

    `exact`: nothing was committed between reading this and the end of the lock. Else it is a
    lower bound: the snapshot has this and perhaps more, which booting it tells.
    """

    file: str  # "" when the server writes no binary log
    position: int
    gtids: str  # all that the server had, its own and replicated; the vendor's own form
    exact: bool
    sources: tuple[SourcePosition, ...] = ()  # on a replica, one a channel

    def moved_to(self, later: Coordinates) -> str:
        """What was committed between two readings, for people; "" when nothing was.

        A binary log that was only rotated is no change.
        """
        if self.gtids != later.gtids:
            return f"from {self.gtids or '(none)'} to {later.gtids or '(none)'}"
        if self.file == later.file and self.position != later.position:
            return f"from {self.file}:{self.position} to {later.file}:{later.position}"
        return ""

    def as_json(self) -> dict[str, Any]:
        return {
            "binlog_file": self.file, "binlog_position": self.position, "gtids": self.gtids,
            "exact": self.exact, "sources": [asdict(s) for s in self.sources],
        }  # fmt: skip

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Coordinates:
        """The inverse of `as_json`. Raises KeyError or TypeError for something else."""
        return cls(
            said["binlog_file"], int(said["binlog_position"]), said["gtids"], bool(said["exact"]),
            tuple(SourcePosition(**s) for s in said["sources"]),
        )

    def __str__(self) -> str:
        place = f"{self.file}:{self.position}" if self.file else "no binary log"
        kind = "" if self.exact else "at least "
        return f"{kind}{place}, GTIDs {self.gtids or '(none)'}"


def coordinates(
    binlog: BinlogPosition | None,
    gtids: str,
    channels: tuple[ReplicaStatus, ...],
    *,
    exact: bool,
) -> Coordinates:
    """Put one reading together."""
    sources = tuple(
        SourcePosition(c.channel, c.source_host, c.source_port, c.applied_file, c.applied_position)
        for c in channels
    )
    if binlog is None:
        return Coordinates("", 0, gtids, exact, sources)
    return Coordinates(binlog.file, binlog.position, gtids, exact, sources)
