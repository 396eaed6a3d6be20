"""GTID sets of both vendors: parse, contain, subtract. Pure.

MariaDB: a position is one `domain-server-sequence` per domain (the last one), and stands for
everything up to it in that domain. `gtid_binlog_state` has one for each server of a domain; the
highest sequence counts. MySQL: `uuid[:tag]:from-to[:from-to…]`, tags since 8.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from slackwater.facts.flavour import Flavour

Interval = tuple[int, int]  # both ends belong to it
Source = tuple[str, str]  # uuid (lower case), tag ("" for none)

_MARIADB = re.compile(r"(\d+)-(\d+)-(\d+)")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_INTERVAL = re.compile(r"(\d+)(?:-(\d+))?")


class GtidSet(Protocol):
    """What both kinds can do. `str()` is text that a server of the same kind takes."""

    @staticmethod
    def parse(text: str | None, flavour: Flavour) -> MariadbGtids | MysqlGtids:
        """Read a server's text in any spacing or line breaks. Raises ValueError."""
        return parse(text, flavour)

    def contains(self, other: Self) -> bool:
        """True when everything in `other` is in this set. The empty set is in every set."""

    def subtract(self, other: Self) -> Self:
        """What is here and not in `other`."""

    def __bool__(self) -> bool: ...


@dataclass(frozen=True)
class MariadbGtids:
    """Last position per domain: ``{domain: (server_id, sequence)}``, as sorted triples."""

    positions: tuple[tuple[int, int, int], ...] = ()

    @classmethod
    def of(cls, positions: Iterable[tuple[int, int, int]]) -> MariadbGtids:
        """From (domain, server, sequence) triples; the highest sequence of a domain counts."""
        last: dict[int, tuple[int, int]] = {}
        for domain, server, sequence in positions:
            if domain not in last or sequence > last[domain][1]:
                last[domain] = (server, sequence)
        return cls(tuple((d, s, n) for d, (s, n) in sorted(last.items())))

    @classmethod
    def read(cls, text: str) -> MariadbGtids:
        """From `0-1-5,1-2-7` in any spacing. Raises ValueError."""
        found = []
        for part in _parts(text):
            match = _MARIADB.fullmatch(part)
            if match is None:
                raise ValueError(f"not a MariaDB GTID: {part!r}")
            found.append((int(match[1]), int(match[2]), int(match[3])))
        return cls.of(found)

    def contains(self, other: MariadbGtids) -> bool:
        """By sequence number in each domain: a domain has one order of events."""
        mine = {domain: sequence for domain, _, sequence in self.positions}
        return all(mine.get(d, 0) >= sequence for d, _, sequence in other.positions)

    def subtract(self, other: MariadbGtids) -> MariadbGtids:
        """The positions that `other` has not reached."""
        theirs = {domain: sequence for domain, _, sequence in other.positions}
        return MariadbGtids(tuple(p for p in self.positions if theirs.get(p[0], 0) < p[2]))

    def union(self, other: MariadbGtids) -> MariadbGtids:
        """The further of both in each domain."""
        return MariadbGtids.of((*self.positions, *other.positions))

    def __bool__(self) -> bool:
        return bool(self.positions)

    def __str__(self) -> str:
        return ",".join(f"{d}-{s}-{n}" for d, s, n in self.positions)


@dataclass(frozen=True)
class MysqlGtids:
    """Intervals per source and tag, sorted and merged."""

    sources: tuple[tuple[Source, tuple[Interval, ...]], ...] = ()

    @classmethod
    def of(cls, sources: Mapping[Source, Iterable[Interval]]) -> MysqlGtids:
        """From intervals in any order; they are sorted, merged, and empty sources dropped."""
        merged = ((source, _merge(intervals)) for source, intervals in sorted(sources.items()))
        return cls(tuple((source, intervals) for source, intervals in merged if intervals))

    @classmethod
    def read(cls, text: str) -> MysqlGtids:
        """From `uuid:1-3:5,uuid:tag:1-2` in any spacing. Raises ValueError."""
        found: dict[Source, list[Interval]] = {}
        for part in _parts(text.lower()):
            uuid, *rest = part.split(":")
            if not _UUID.fullmatch(uuid) or not rest:
                raise ValueError(f"not a MySQL GTID set: {part!r}")
            tag = ""  # a tag holds for the intervals behind it, up to the next tag
            for piece in rest:
                if match := _INTERVAL.fullmatch(piece):
                    first = int(match[1])
                    found.setdefault((uuid, tag), []).append((first, int(match[2] or first)))
                elif _TAG.fullmatch(piece):
                    tag = piece
                else:
                    raise ValueError(f"not a MySQL GTID set: {part!r}")
        return cls.of(found)

    def contains(self, other: MysqlGtids) -> bool:
        return not other.subtract(self)

    def subtract(self, other: MysqlGtids) -> MysqlGtids:
        theirs = dict(other.sources)
        return MysqlGtids.of({s: _subtract(i, theirs.get(s, ())) for s, i in self.sources})

    def union(self, other: MysqlGtids) -> MysqlGtids:
        both: dict[Source, list[Interval]] = {}
        for source, intervals in (*self.sources, *other.sources):
            both.setdefault(source, []).extend(intervals)
        return MysqlGtids.of(both)

    def __bool__(self) -> bool:
        return bool(self.sources)

    def __str__(self) -> str:
        # A server prints tags of one uuid joined; taking them apart is as valid for it.
        return ",".join(
            ":".join([uuid, *([tag] if tag else []), *map(_interval, intervals)])
            for (uuid, tag), intervals in self.sources
        )


def parse(text: str | None, flavour: Flavour) -> MariadbGtids | MysqlGtids:
    """Read a GTID set in the vendor's own form; None and "" are the empty set."""
    return MariadbGtids.read(text or "") if flavour.mariadb else MysqlGtids.read(text or "")


def _parts(text: str) -> list[str]:
    # Servers wrap long sets with newlines, and some tools hand them on as a literal \n.
    bare = re.sub(r"\s+|\\n", "", text)
    return [part for part in bare.split(",") if part]


def _merge(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    out: list[Interval] = []
    for first, last in sorted(i for i in intervals if i[0] <= i[1]):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(last, out[-1][1]))
        else:
            out.append((first, last))
    return tuple(out)


def _subtract(mine: tuple[Interval, ...], theirs: tuple[Interval, ...]) -> list[Interval]:
    left: list[Interval] = []
    for first, last in mine:
        for cut_first, cut_last in theirs:
            if cut_last < first or cut_first > last:
                continue
            if cut_first > first:
                left.append((first, cut_first - 1))
            first = cut_last + 1
        if first <= last:
            left.append((first, last))
    return left


def _interval(interval: Interval) -> str:
    first, last = interval
    return str(first) if first == last else f"{first}-{last}"
