"""What comparing two servers found: chunks, rows, tables. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# The values of a key, each as text that `outside.compare_sql.literal` takes.
KeyValues = tuple[str, ...]
# Rows behind a key, up to another one; None is an open end.
Bounds = tuple[KeyValues | None, KeyValues | None]


class Hash(enum.StrEnum):
    """The function for a row's digest: the cheaper one, where every server has it.

    131,072 rows of 90 bytes took (SHA1, SHA2 of 256 bits, MD5; CRC32 for comparison): MariaDB 10.11
    215, 199, 381 ms (109); MySQL 5.7 244, 728, 229 ms (146); MySQL 9.7 has SHA2 only: 293 (315).
    """

    SHA1 = "SHA1"
    SHA2 = "SHA2"  # MySQL took SHA1 and MD5 out in 9.6


@dataclass(frozen=True)
class Digest:
    """So many rows, and the XOR of 60 bits of the hash of each."""

    rows: int
    bits: int


class How(enum.StrEnum):
    """In what way a row is not the same."""

    DIFFERS = "differs"
    MISSING = "missing"  # the reference has it, the other does not
    EXTRA = "extra"  # only the other has it


class Proof(enum.StrEnum):
    """How sure a difference is."""

    LOCKED = "row locked"  # nobody could change the row while both sides were read
    STABLE = "stable"  # no lock to be had: read many times, always the same two values
    COUNTED = "counted"  # stayed different in all looks; not proven one by one, being too many


@dataclass(frozen=True)
class RowDifference:
    """A row that is not the same at one position. `columns` are those that differ."""

    key: str  # for people: "id=7"; "" in a table without a key
    how: How
    proof: Proof
    columns: tuple[str, ...] = ()
    count: int = 1  # in a table without a key, equal rows together

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {"key": self.key, "how": str(self.how), "proof": str(self.proof),
                "columns": list(self.columns), "count": self.count}

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> RowDifference:
        """From `as_json`."""
        return cls(said["key"], How(said["how"]), Proof(said["proof"]), tuple(said["columns"]),
                   said["count"])


@dataclass
class TableResult:
    """One table on one other server, while it is compared and afterwards."""

    table: str
    server: str
    rows: int = 0  # of the reference, compared so far
    chunks: int = 0
    differing: int = 0  # rows
    shown: list[RowDifference] = field(default_factory=list)
    structure: list[str] = field(default_factory=list)  # of the table: what is not the same
    undecided: list[str] = field(default_factory=list)  # keys of rows that would not hold still
    skipped: str = ""  # why it was not compared, or not to its end
    filtered: str = ""  # the replication filter that leaves it out; then it is not compared
    rechecked: int = 0  # rows that were not the same at a first look, and then were
    whole: bool = False  # without a key: compared in one piece
    done: bool = False

    def begin_anew(self) -> None:
        """Nothing is counted of its rows."""
        self.rows = self.chunks = self.differing = self.rechecked = 0
        self.shown, self.undecided = [], []

    @property
    def different(self) -> bool:
        """Whether anything is certainly not the same."""
        return bool(self.differing or self.structure)

    @property
    def equal(self) -> bool | None:
        """True, False, or None: cannot be told."""
        if self.different:
            return False
        left = self.undecided or self.skipped or self.filtered
        return None if left or not self.done else True

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "table": self.table, "server": self.server, "equal": self.equal, "rows": self.rows,
            "chunks": self.chunks, "differing": self.differing,
            "differences": [d.as_json() for d in self.shown], "structure": self.structure,
            "undecided": self.undecided, "skipped": self.skipped, "filtered": self.filtered,
            "rechecked": self.rechecked, "without_key": self.whole,
        }

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> TableResult:
        """From `as_json`, with `done` beside it."""
        return cls(
            said["table"], said["server"], said["rows"], said["chunks"], said["differing"],
            [RowDifference.read(d) for d in said["differences"]], list(said["structure"]),
            list(said["undecided"]), said["skipped"], said.get("filtered", ""),
            said["rechecked"], said["without_key"], said["done"],
        )
