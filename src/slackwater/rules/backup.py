"""Which lock a snapshot needs, and for whom it would have to wait."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from slackwater.facts.backup import LockKind

_READS = re.compile(r"\s*\(*\s*(SELECT|SHOW|WITH|EXPLAIN|DESC|CHECKSUM)\b", re.IGNORECASE)


class Runs(Protocol):
    """A statement that runs: its text, and since when."""

    @property
    def text(self) -> str: ...
    @property
    def running_s(self) -> float: ...


Each = TypeVar("Each", bound=Runs)


def in_the_way(
    kind: LockKind, running: Sequence[Each], *, waits_for_reads: bool, older_than_s: float
) -> list[Each]:
    """Statements that a lock would have to wait for, while others wait behind it.

    Only FLUSH TABLES WITH READ LOCK waits for every statement; backup locks wait for DDL, and for
    writes to tables without transactions, which no server tells apart. An idle transaction is in
    nobody's way. A short statement will be over: only those that have run for a while count.
    """
    if kind is not LockKind.TABLES:
        return []
    return [
        s for s in running
        if s.running_s > older_than_s and (waits_for_reads or not _READS.match(s.text))
    ]


@dataclass(frozen=True)
class Data:
    """Where a server's data is and in what.

    `engines`: tables of users by engine, those without crash recovery only; `engines_known`: we saw
    all tables; `volumes`: the file systems of data, logs and binary logs.
    """

    offered: tuple[LockKind, ...]  # the locks that this server has
    engines: Mapping[str, int]
    volumes: tuple[str, ...]
    engines_known: bool = True


@dataclass(frozen=True)
class Choice:
    """A lock, and why it."""

    kind: LockKind
    why: tuple[str, ...]


def strongest(offered: Sequence[LockKind]) -> LockKind:
    """The mildest lock under which nothing is committed."""
    return LockKind.COMMITS if LockKind.COMMITS in offered else LockKind.TABLES


def for_freeze(data: Data) -> Choice:
    """Somebody else takes the snapshot, and the position is to be exact."""
    kind = strongest(data.offered)
    return Choice(kind, ("the position is recorded exactly, so nothing may be committed",))


def for_snapshot(
    data: Data, *, atomic: bool, exact: bool, no_binlog: bool = False
) -> Choice:
    """The mildest lock for a snapshot. `atomic`: it shows one moment of all of a volume;
    `no_binlog`: the server has a binary log, and the snapshot has not."""
    why: list[str] = []
    if data.engines:
        named = ", ".join(f"{n} {e}" for e, n in sorted(data.engines.items()))
        why.append(f"there are tables that no crash recovery repairs ({named})")
    if not data.engines_known:
        why.append("this account may not see every table (GRANT SELECT ON *.*), so some may be of"
                   " an engine that no crash recovery repairs")
    if len(data.volumes) > 1:
        why.append(f"the data is on {len(data.volumes)} volumes ({', '.join(data.volumes)}), which"
                   " are not snapshot at one moment")
    if no_binlog:
        why.append("the binary log is not in what is copied, and without it recovery cannot tell"
                   " what became of a commit that was half done")
    if not atomic:
        why.append("this way of taking it does not show one moment")
    if exact:
        why.append("an exact position was asked for before the copy is booted")
    if why:
        return Choice(strongest(data.offered), tuple(why))
    return Choice(LockKind.NONE, (
        "all tables recover from a crash, and one atomic snapshot has all of them: nobody has to"
        " wait; the exact position comes from booting the copy (`slackwater snapshot verify`)",
    ))  # fmt: skip


def refused(choice: LockKind, needed: Choice, offered: Sequence[LockKind]) -> list[str]:
    """Why a lock that was asked for by name is not possible, or not enough."""
    if choice is not LockKind.NONE and choice not in offered:
        words = ", ".join(k.value for k in offered)
        return [f"this server has no lock of the kind {choice.value!r}; it has: {words}"]
    if needed.kind.exact and not choice.exact:
        return [f"--lock {choice.value} is not enough: {why}" for why in needed.why]
    return []


def refused_freeze(choice: LockKind, data: Data) -> list[str]:
    """The same for a freeze: somebody else takes the snapshot, and we trust that it is of one
    moment; a position that is a lower bound may be asked for, half written tables may not."""
    if choice is LockKind.NONE:
        return ["a freeze without a lock freezes nothing"]
    return refused(choice, for_snapshot(data, atomic=True, exact=False), data.offered)
