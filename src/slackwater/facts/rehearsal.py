"""What a rehearsal saw: the application's statements on a throwaway pair, and what came of them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Way(enum.StrEnum):
    """Which of both servers has the change while the statements run on the source."""

    NEITHER = "unchanged"  # what happens without any change, to compare with
    REPLICA = "old to new"
    SOURCE = "new to old"


@dataclass(frozen=True)
class Setting:
    """A variable that a session had SET: by the `number`th statement of all."""

    number: int
    name: str
    text: str


@dataclass(frozen=True)
class Spoken:
    """A statement of the application, with its default database; numbers begin with 1. `under`:
    what its session had SET before; `ordered`: its result has an order; `session`: who said it, ""
    where nobody knows."""

    number: int
    database: str
    text: str
    reads: bool
    under: tuple[Setting, ...] = ()
    ordered: bool = False
    session: str = ""


@dataclass(frozen=True)
class Error:
    """An error of a server: its number, 0 for one without, and its words."""

    code: int
    text: str

    def __str__(self) -> str:
        return f"error {self.code}: {self.text}" if self.code else self.text


@dataclass(frozen=True)
class Ran:
    """What came of one statement in one way. `rows`: written, or returned by a read; `stopped`:
    the replica's error on what it wrote; `result`: another one for other values of a result;
    `order`: another one for another order of them, "" where none was asked for."""

    number: int
    rows: int = 0
    columns: tuple[str, ...] = ()  # of the result, where it has rows
    result: str = ""
    error: Error | None = None
    stopped: Error | None = None
    order: str = ""


@dataclass(frozen=True)
class Difference:
    """A row that is not the same on both servers once both have the change. A side is None where
    it has no such row, else the values (as SQL) of the columns that differ. `numbers`: the
    statements that wrote this row, or else this table."""

    table: str  # database.table
    key: str
    source: Mapping[str, str] | None
    replica: Mapping[str, str] | None
    numbers: tuple[int, ...]


@dataclass
class Seen:
    """One way, from the empty schema to the comparison. `late`: why the other server could not
    take the change afterwards; `columns`: of each table while the statements ran; `left`: all rows
    of the source in the end, by table and key; `wrote`: the statements that wrote each."""

    way: Way
    ran: list[Ran] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    more: int = 0  # differences that are not listed
    late: Error | None = None
    seconds: float = 0.0
    columns: dict[str, frozenset[str]] = field(default_factory=dict)
    left: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    wrote: dict[str, dict[str, list[int]]] = field(default_factory=dict)
