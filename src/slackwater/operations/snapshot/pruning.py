"""Remove a snapshot, and only the very one that is meant: a path may be another's by now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slackwater.config import Config
from slackwater.operations.snapshot import records
from slackwater.operations.snapshot.freeze import COORDINATES_NAME
from slackwater.operations.snapshot.records import Record
from slackwater.outside import state_file
from slackwater.outside.copies import METHODS
from slackwater.rules import retention

# Methods whose target is a directory, which others can remove, move and use again.
_DIRECTORIES = frozenset({"btrfs", "reflink"})


def protected(every: Sequence[Record]) -> set[str]:
    """The last proven one of each server; one that is no longer there protects no other."""
    there = [r for r in every if r.method not in _DIRECTORIES or Path(r.target).exists()]
    return {r.id for some in (every, there) for r in retention.last_proven(some)}


def why_left(record: Record) -> str:
    """Why what is at the record's place stays when the record goes, or ""."""
    if record.method not in METHODS:
        return f"it was taken by others ({record.method})"
    if not Path(record.target).exists():
        return ""
    told = state_file.read(Path(record.path) / COORDINATES_NAME)
    if told is None:
        if record.method not in _DIRECTORIES:
            return ""  # of LVM, and not mounted
        return f"{record.target} has no {COORDINATES_NAME} that says which snapshot it is"
    return "" if told.get("id") == record.id else f"{record.target} is {told.get('id')} by now"


async def remove(config: Config, record: Record) -> None:
    """The snapshot, where slackwater made it, and what is known of it."""
    if record.target and not why_left(record):
        await METHODS[record.method].remove(Path(record.target))
    records.forget(config, record)


def forget_replaced(config: Config, new: Record) -> None:
    """A new snapshot is where others were: those were removed by somebody, their records go."""
    for old in records.every(config):
        if new.target and old.target == new.target and old.id != new.id:
            records.forget(config, old)
