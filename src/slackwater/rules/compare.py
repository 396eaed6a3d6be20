"""What a comparison decides: how large a chunk is, when to rest, what can be compared. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slackwater.facts.server import ServerFacts
from slackwater.facts.tables import Table
from slackwater.rules.filters import Filter

FIRST_CHUNK = 1000
SMALLEST_CHUNK = 50
LARGEST_CHUNK = 50_000  # its rows' digests are fetched when it is not the same
PARTS, PART_ROWS = 8, 500  # a chunk is read in so many parts, or in fewer of so many rows


@dataclass(frozen=True)
class Pace:
    """How gentle to be. Times in seconds."""

    chunk_s: float = 0.1  # what one statement should take on the slower of both servers
    rest: float = 0.5  # part of the time in which nothing is read, of a chunk and its rest
    max_lag_s: float = 1.0
    max_running: int = 25  # statements that run at once on the reference


@dataclass(frozen=True)
class Load:
    """One look at both ends. `lag_s`: None when it cannot be told."""

    running: int
    lag_s: Mapping[str, float | None]


def next_rows(rows: int, took_s: float, aim_s: float) -> int:
    """Rows for the next chunk, from how long the last one took.

    At most doubled: one quick answer from memory says little of the next from disk. Cut at once
    by as much as it was too slow.
    """
    wanted = rows * aim_s / max(took_s, 1e-4)
    return int(min(max(wanted, SMALLEST_CHUNK), rows * 2, LARGEST_CHUNK))


def part_sizes(rows: int) -> list[int]:
    """Rows of each part of a chunk. More parts: less to read again when a chunk is not the same,
    and more round trips."""
    count = max(1, min(PARTS, rows // PART_ROWS))
    return [rows * (n + 1) // count - rows * n // count for n in range(count)]


def rest_s(took_s: float, pace: Pace) -> float:
    """How long to rest after statements that took so long."""
    return took_s * pace.rest / (1 - pace.rest) if 0 < pace.rest < 1 else 0.0


def must_wait(load: Load, pace: Pace) -> str | None:
    """Why nothing may be read now; None when it may."""
    for server, lag in load.lag_s.items():
        if lag is not None and lag > pace.max_lag_s:
            return f"{server} lags {lag:.1f} s (limit {pace.max_lag_s:g} s)"
    if load.running > pace.max_running:
        return f"{load.running} statements run (limit {pace.max_running})"
    return None


def reference(
    facts: Mapping[str, ServerFacts], places: Mapping[str, tuple[str, int]], named: Sequence[str]
) -> str | list[str]:
    """The server that the others are copies of: the writable one, else the one that all others
    follow. Reasons where there is none. `facts` may have more servers, which are between them."""
    follows = {n: _upstream(n, facts, places) for n in facts}
    fit = [n for n in named if all(n in follows[o] for o in named if o != n)]
    writable = [n for n in named if not facts[n].read_only]
    open_fit = [n for n in fit if n in writable]
    if len(open_fit) == 1:
        return open_fit[0]
    if len(open_fit) > 1:
        return [f"{' and '.join(open_fit)} both accept writes and follow each other: there is no "
                "position at which they must be equal"]
    if fit:
        return fit[0]
    best = writable[0] if writable else named[0]
    return [f"{n} does not follow {best}, neither directly nor by way of another server"
            for n in named if n != best and best not in follows[n]]


def _upstream(
    name: str, facts: Mapping[str, ServerFacts], places: Mapping[str, tuple[str, int]],
    stop: str = "",
) -> set[str]:
    """All servers whose transactions arrive at this one, over any number of others (what arrives
    at `stop` is not asked for)."""
    found: set[str] = set()
    ask = [name]
    while ask:
        for channel in facts[ask.pop()].replication:
            for other in facts:
                by_id = channel.source_server_id == facts[other].server_id
                by_place = places[other] == (channel.source_host, channel.source_port)
                if (by_id or by_place) and other not in found:
                    found.add(other)
                    if other != stop:
                        ask.append(other)
    return found


def filters_between(
    reference: str, copy: str, facts: Mapping[str, ServerFacts],
    places: Mapping[str, tuple[str, int]], logged: Mapping[str, Sequence[Filter]],
) -> list[Filter]:
    """What keeps changes of the reference from a copy: the filters of its own replication, and of
    the servers in between; `logged`: those of each server's binary log.

    Where there are several ways, a change may come by another one: taken as if all had the filter.
    """
    between = [n for n in _upstream(copy, facts, places, stop=reference)
               if n not in (reference, copy) and reference in _upstream(n, facts, places)]
    found = [f for n in (reference, *between) for f in logged.get(n, ())]
    found += [f for n in (copy, *between) for c in facts[n].replication for f in c.filters]
    return list(dict.fromkeys(found))


def structure_differences(ours: Table, other: Table, server: str) -> list[str]:
    """What is not the same in the definition of a table, one line each."""
    mine = {c.name: c for c in ours.columns}
    theirs = {c.name: c for c in other.columns}
    found = [f"column {n} is missing on {server}" for n in mine if n not in theirs]
    found += [f"column {n} is on {server} only" for n in theirs if n not in mine]
    found += [
        f"column {n} is {mine[n].describe()}, on {server} {theirs[n].describe()}"
        for n in mine
        if n in theirs and mine[n].describe().lower() != theirs[n].describe().lower()
    ]
    if [n for n in mine if n in theirs] != [n for n in theirs if n in mine]:
        found.append(f"the columns stand in another order on {server}: changes arrive by place, so "
                     "values would go into the wrong ones")
    return found


def incomparable(ours: Table, other: Table) -> str | None:
    """Why the rows of a table cannot be walked on both sides alike; None when they can."""
    theirs = {c.name: c for c in other.columns}
    if not ours.key:
        return None
    if other.key != ours.key:
        return f"its key is ({', '.join(ours.key)}) here and ({', '.join(other.key)}) there"
    for name in ours.key:
        if not ours.column(name).same_order(theirs[name]):
            return f"its key column {name} is of another type or collation there"
    return None
