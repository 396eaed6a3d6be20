"""What a place for members can do. One contract test runs on all of them.

tests/registry/test_stores.py is the contract in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from slackwater.errors import SlackwaterError
from slackwater.facts.members import Record, Shares


class Stale(SlackwaterError):
    """What was said is older than what is known."""


@dataclass(frozen=True)
class Image:
    """All that a store has. `ages`: seconds since each was renewed, where the store knows it."""

    records: tuple[Record, ...] = ()
    shares: Mapping[str, Shares] = field(default_factory=dict)
    ages: Mapping[tuple[str, str], float] = field(default_factory=dict)
    faults: tuple[str, ...] = ()  # what was found and cannot be used


class Store(Protocol):
    """Every call may raise OutsideError: then the caller goes on with what it knows."""

    name: str

    async def load(self) -> Image:
        """Everything that is there now."""

    async def put(self, record: Record) -> None:
        """Keep it; it is safe when this returns. Raises Stale (see facts.members.why_stale)."""

    async def renew(self, record: Record) -> None:
        """It was heard again, unchanged. Cheap; may do nothing where ages are not kept."""

    async def remove(self, pool: str, member: str, *, silent_s: float = 0.0) -> None:
        """Forget it, unless another registry heard it less than `silent_s` ago (0: whatever).

        One that is not there is no error.
        """

    async def put_shares(self, pool: str, shares: Shares) -> bool:
        """Keep them if the pool's revision is one below theirs; whether they were kept."""

    async def wait(self, limit_s: float) -> bool:
        """Until others may have changed something (True), or the limit has passed (False)."""

    async def close(self) -> None:
        """Give everything back; never raises."""
