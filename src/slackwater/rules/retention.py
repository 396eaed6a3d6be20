"""Which snapshots may go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Kept(Protocol):
    """What a rule has to know of a snapshot."""

    @property
    def server(self) -> str: ...
    @property
    def taken(self) -> float: ...
    @property
    def proven(self) -> bool: ...


Each = TypeVar("Each", bound=Kept)


def last_proven(snapshots: Sequence[Each]) -> list[Each]:
    """The newest one of each server that was booted and found good: never to be removed."""
    newest: dict[str, Each] = {}
    for one in sorted(snapshots, key=lambda s: s.taken):
        if one.proven:
            newest[one.server] = one
    return list(newest.values())


def to_go(snapshots: Sequence[Each], *, keep: int) -> list[Each]:
    """All but the `keep` newest of each server, and never the last proven one."""
    stay = {id(s) for s in last_proven(snapshots)}
    found = []
    for server in sorted({s.server for s in snapshots}):
        ours = sorted((s for s in snapshots if s.server == server), key=lambda s: s.taken)
        found += [s for s in ours[: max(0, len(ours) - keep)] if id(s) not in stay]
    return found
