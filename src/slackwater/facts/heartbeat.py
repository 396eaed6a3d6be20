"""The heartbeat: the row that a writable server writes of itself a few times a second. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Beat:
    """One server's row, as it is on some server. `at` is the writer's clock, unix seconds."""

    server_id: int
    at: float
    number: int  # counted up by the writer, without gaps while it runs


class By(enum.StrEnum):
    """How a lag was measured."""

    POSITION = "position"  # how long the replica took to reach a position: to a round trip
    HEARTBEAT = "heartbeat"  # how old the newest beat is that has arrived: to one interval


@dataclass(frozen=True)
class Lag:
    """How far one server is behind another. `ms` None: it cannot be told now."""

    ms: float | None
    by: By | None = None
    beat_age_s: float | None = None  # of the source's newest beat that has arrived; None: none has

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "lag_ms": None if self.ms is None else round(self.ms, 1),
            "lag_by": str(self.by) if self.by else None,
            "beat_age_s": None if self.beat_age_s is None else round(self.beat_age_s, 3),
        }


@dataclass(frozen=True)
class Gap:
    """What a surviving server can say of a dead one's last moments.

    Everything that the dead one committed before its beat of `last` is here (transactions arrive
    in their order); of what it committed later, some or all may be missing.
    """

    last: Beat | None  # the dead one's newest beat that arrived; None: no heartbeat was written
    age_s: float | None  # between that beat and now, by the two servers' clocks
    missing_beats: int | None = None  # where the dead one's own table could still be read

    def describe(self) -> str:
        """For people."""
        if self.last is None or self.age_s is None:
            return "no heartbeat of it is here: what may be missing cannot be told by time"
        more = f"; {self.missing_beats} beats are missing" if self.missing_beats else ""
        return (f"it has everything up to {self.age_s:.1f} s ago (heartbeat {self.last.number})"
                f"{more}")
