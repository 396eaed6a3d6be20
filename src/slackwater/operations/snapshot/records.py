"""What is known of each snapshot: a small file each, in the state directory."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from slackwater import clock
from slackwater.config import Config
from slackwater.outside import state_file

OPEN, GOOD, BAD = "open", "consistent", "not consistent"


@dataclass
class Record:
    """One snapshot. `taken` and `ended` are unix times; `verdict` is one of OPEN (the lock is, or
    was, held, and nobody has said how it ended), GOOD and BAD, with `why`."""

    id: str
    server: str
    version: str  # of the server, such as "MariaDB 10.11.19"
    lock: str  # a LockKind
    method: str  # freeze, command, btrfs, …
    taken: float
    coordinates: dict[str, Any] | None = None  # facts.backup.Coordinates.as_json
    basedir: str = ""  # of the server's program
    path: str = ""  # of the data directory in the copy, where slackwater knows it
    target: str = ""  # what slackwater made, and may remove
    verdict: str = OPEN
    why: str = ""
    ended: float | None = None
    verified: dict[str, Any] = field(default_factory=dict)  # what booting it said

    @property
    def proven(self) -> bool:
        """Whether it was booted and found good."""
        return bool(self.verified) and not self.verified.get("faults")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def new_id(server: str) -> str:
    """A name for a snapshot, in the order of time."""
    stamp = clock.text(clock.unix())[:19].replace(":", "").replace("-", "")
    return f"{stamp}-{server}-{secrets.token_hex(2)}"


def directory(config: Config) -> Path:
    """Where the records are; made."""
    path = config.state_directory / "snapshots"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def save(config: Config, record: Record) -> None:
    """Write it down, whole or not at all."""
    state_file.write(directory(config) / f"{record.id}.json", record.as_json())


def load(config: Config, snapshot: str) -> Record | None:
    """The record of that name."""
    if "/" in snapshot or not snapshot:
        return None
    said = state_file.read(directory(config) / f"{snapshot}.json")
    return None if said is None else _record(said)


def every(config: Config) -> list[Record]:
    """All of them, the oldest first."""
    found = [state_file.read(p) for p in sorted(directory(config).glob("*.json"))]
    return sorted((_record(s) for s in found if s and "id" in s), key=lambda r: r.taken)


def forget(config: Config, record: Record) -> None:
    """Remove the record (not the snapshot)."""
    (directory(config) / f"{record.id}.json").unlink(missing_ok=True)


def judge(config: Config, snapshot: str, verdict: str, why: str = "") -> None:
    """Say how a snapshot's lock ended; nothing happens for one that is not known."""
    if (record := load(config, snapshot)) is not None:
        record.verdict, record.why, record.ended = verdict, why, clock.unix()
        save(config, record)


def _record(said: dict[str, Any]) -> Record:
    known = {f.name for f in fields(Record)}
    return Record(**{k: v for k, v in said.items() if k in known})
