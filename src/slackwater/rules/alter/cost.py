"""How long a change takes on the passive, whether replication stands still meanwhile, and disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from slackwater.facts.alter_diff import Change, Kind
from slackwater.facts.alter_link import Traits
from slackwater.facts.alter_table import Key, TableSize

# Microseconds a row, least and most: measured on 1.5 million rows of some 60 bytes on two cores
# (copy 2.5 to 6.5, rebuild 1.7 to 2.9, index 1.0 to 1.6), and room for wider rows and slow disks.
_US_A_ROW = {"copy": (2.5, 20.0), "rebuild": (1.7, 10.0), "index": (1.0, 5.0)}
_INDEX_OVERHEAD = 16  # bytes of an entry beside its columns
_FOR_NOTHING = {Kind.COLUMN_ADDED, Kind.OPTION, Kind.KEY_RENAMED, Kind.TABLE_CREATED}
_REBUILDS = {Kind.PARTITIONS, Kind.ENGINE, Kind.NOTHING}


@dataclass(frozen=True)
class Cost:
    """`algorithm` and `lock` as the server will use them ("" where it was not asked)."""

    algorithm: str
    lock: str
    stalls: bool  # replication on the passive waits for it
    rows: int  # of the table, as the server estimates them
    seconds: tuple[float, float]
    disk: int  # bytes needed on each server while it runs

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def cost(
    algorithm: str, lock: str, changes: Sequence[Change], size: TableSize, traits: Traits
) -> Cost:
    """For one statement on one table."""
    kind = _work(algorithm, changes)
    if kind == "" or not size.rows:
        return Cost(algorithm, lock, False, size.rows, (0.0, 0.0), 0)
    low, high = (us * size.rows / 1e6 for us in _US_A_ROW[kind])
    indexes = sum(_index_bytes(c.new, c, size) for c in changes if c.kind is Kind.KEY_ADDED)
    whole = size.data + size.indexes
    disk = indexes * 2 if kind == "index" else whole + indexes  # sorting takes as much again
    stalls = lock in ("SHARED", "EXCLUSIVE") or (
        kind == "copy" and not (lock == "NONE" and traits.copies_without_lock))
    return Cost(algorithm, lock, stalls, size.rows, (round(low, 1), round(high, 1)), disk)


def _work(algorithm: str, changes: Sequence[Change]) -> str:
    kinds = {c.kind for c in changes}
    if algorithm == "COPY" or not algorithm:
        return "" if kinds <= {Kind.TABLE_CREATED, Kind.TABLE_DROPPED, Kind.TRIGGER_ADDED,
                               Kind.TRIGGER_DROPPED} else "copy"
    if algorithm == "INSTANT":
        return ""
    if Kind.KEY_ADDED in kinds and any(c.kind is Kind.KEY_ADDED and c.new.primary
                                       for c in changes):
        return "rebuild"
    if Kind.KEY_ADDED in kinds:
        return "index"
    if algorithm == "NOCOPY":
        return ""
    if kinds & _REBUILDS or any(_rebuilds(c) for c in changes):
        return "rebuild"
    return ""


def _rebuilds(change: Change) -> bool:
    if change.kind in (Kind.COLUMN_MOVED, Kind.COLUMN_DROPPED, Kind.COLUMN_ADDED):
        return True
    return change.kind is Kind.COLUMN_CHANGED and change.old.nullable != change.new.nullable


def _index_bytes(key: Key, change: Change, size: TableSize) -> int:
    width = _INDEX_OVERHEAD
    for name, prefix, _ in key.parts:
        column = change.after.column(name) if change.after else None
        octets = column.type.octets if column else 8
        width += min(prefix or octets or 8, 64)  # strings are seldom as long as they may be
    return width * size.rows


def pages(count: int) -> str:
    """Bytes for people."""
    for unit, one in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= one:
            return f"{count / one:.1f} {unit}"
    return f"{count} bytes"
