"""What the clients saw: each number's fate, each wait, each error. Arithmetic only, no I/O.

All samples are kept (12 bytes each), so that percentiles are exact and a stall can be asked for
between any two moments afterwards. Times inside are monotonic seconds; outside, unix ms.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from slackwater.lab.load_plan import KINDS

# A number's fate: unknown (so far, or for good), committed, or refused: answered with an error that
# says that it is not.
SENT, ACKED, REFUSED = 0, 1, 2
# Errors after which it may have been committed: the statement or its session was ended meanwhile.
IN_DOUBT_CODES = frozenset({1053, 1180, 1317, 1927, 1969, 4031})

# read_only / super_read_only, InnoDB read only mode, read only transaction
READ_ONLY_CODES = frozenset({1290, 1836, 1792})
NAMES = {
    1040: "ER_CON_COUNT_ERROR",
    1044: "ER_DBACCESS_DENIED_ERROR",
    1045: "ER_ACCESS_DENIED_ERROR",
    1053: "ER_SERVER_SHUTDOWN",
    1129: "ER_HOST_IS_BLOCKED",
    1146: "ER_NO_SUCH_TABLE",
    1158: "ER_NET_READ_ERROR",
    1159: "ER_NET_READ_INTERRUPTED",
    1205: "ER_LOCK_WAIT_TIMEOUT",
    1213: "ER_LOCK_DEADLOCK",
    1290: "ER_OPTION_PREVENTS_STATEMENT",
    1317: "ER_QUERY_INTERRUPTED",
    1792: "ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION",
    1836: "ER_READ_ONLY_MODE",
    1927: "ER_CONNECTION_KILLED",
    2003: "CR_CONN_HOST_ERROR",
    2006: "CR_SERVER_GONE_ERROR",
    2013: "CR_SERVER_LOST",
    2027: "CR_MALFORMED_PACKET",
    3032: "ER_SERVER_OFFLINE_MODE",
    4031: "ER_CLIENT_INTERACTION_TIMEOUT",
}
_TEXT_HEAD = 100


@dataclass(frozen=True)
class Fault:
    """One kind of error, and how often. `first_ms` and `last_ms` are unix ms."""

    kind: str
    phase: str  # connect, login, ping, write, commit
    code: int
    name: str
    text: str
    count: int
    first_ms: float
    last_ms: float
    longest_ms: float  # longest wait from a request's start to such an error


@dataclass(frozen=True)
class Bucket:
    """One line of the time line, for one kind of client. `at_ms` is the bucket's start."""

    at_ms: int
    kind: str
    started: int  # of those acknowledged in the end
    acked: int
    errors: int
    slowest_ms: float  # of the acknowledgements in this bucket


class Samples:
    """Acknowledgements of one kind, in the order of their arrival."""

    def __init__(self) -> None:
        self.ends = array("d")
        self.waits = array("f")
        self.longest = 0.0

    def add(self, end: float, wait: float) -> None:
        self.waits.append(wait)
        self.ends.append(end)  # last: another thread counts by it
        if wait > self.longest:
            self.longest = wait

    def ended_between(self, first: float, last: float) -> array[float]:
        """Waits (s) of those acknowledged between the two moments."""
        return self.waits[bisect_left(self.ends, first) : bisect_right(self.ends, last)]

    def stall_between(self, first: float, last: float) -> float:
        """Longest wait (s) of those under way at any time between the two moments."""
        begin = bisect_left(self.ends, first)
        # What ends later than the longest wait after `last` has begun after it.
        end = bisect_right(self.ends, last + self.longest)
        waits = (
            self.waits[i] for i in range(begin, end) if self.ends[i] - self.waits[i] <= last
        )
        return max(waits, default=0.0)


class Record:
    """Everything that happened in one run. Numbers are `base + index`."""

    def __init__(self, base: int, *, clock: float | None = None) -> None:
        self.base = base
        now = time.monotonic() if clock is None else clock
        self.unix_offset = time.time() - now
        self.fates = bytearray()
        self.samples = {kind: Samples() for kind in KINDS}
        self.errors: dict[tuple[str, str, int, str], Fault] = {}
        self.error_times: dict[str, array[float]] = {kind: array("d") for kind in KINDS}
        self.late = array("f")
        self.begun = dict.fromkeys(KINDS, 0)
        self.skipped = 0
        self.unfinished = 0
        self.reconnects = 0
        self.transactions = 0

    def take(self) -> int:
        """The next number. It is sent at once, and never again."""
        self.fates.append(SENT)
        return self.base + len(self.fates) - 1

    def fate(self, n: int, fate: int) -> None:
        self.fates[n - self.base] = fate

    def refused(self, n: int, code: int) -> None:
        """The answer was this error: a client that trusts it writes again."""
        if code not in IN_DOUBT_CODES:
            self.fate(n, REFUSED)

    def fail(
        self, kind: str, phase: str, code: int, text: str, *, start: float, now: float
    ) -> None:
        """Count an error; texts are cut and numbers in them do not make a new kind of error."""
        key = (kind, phase, code, _plain(text))
        at, waited = self.unix_ms(now), (now - start) * 1e3
        old = self.errors.get(key)
        if old is None:
            name = NAMES.get(code, f"error {code}")
            head = text[:_TEXT_HEAD]
            self.errors[key] = Fault(kind, phase, code, name, head, 1, at, at, waited)
        else:
            longest = max(old.longest_ms, waited)
            self.errors[key] = dataclasses.replace(
                old, count=old.count + 1, last_ms=at, longest_ms=longest
            )
        self.error_times[kind].append(now)

    def unix_ms(self, moment: float) -> float:
        return round((moment + self.unix_offset) * 1e3, 3)

    def moment(self, unix_ms: float) -> float:
        return unix_ms / 1e3 - self.unix_offset

    @property
    def acked(self) -> int:
        return self.fates.count(ACKED)

    def faults(self) -> list[Fault]:
        """Errors by kind, phase, code and text, the most frequent first."""
        return sorted(self.errors.values(), key=lambda fault: -fault.count)

    def longest_gap(self) -> float:
        """Longest time (s) between two neighbouring acknowledgements of any kind."""
        return longest_gap([samples.ends for samples in self.samples.values()])

    def timeline(self, bucket_ms: int = 10) -> Iterator[Bucket]:
        """The run in buckets, in order of time; empty buckets are left out."""
        found: dict[tuple[int, str], list[float]] = {}

        def cell(moment: float, kind: str) -> list[float]:
            at = int(self.unix_ms(moment) // bucket_ms) * bucket_ms
            return found.setdefault((at, kind), [0, 0, 0, 0.0])

        for kind, samples in self.samples.items():
            for end, wait in zip(samples.ends, samples.waits, strict=True):
                cell(end - wait, kind)[0] += 1
                here = cell(end, kind)
                here[1] += 1
                here[3] = max(here[3], wait)
            for moment in self.error_times[kind]:
                cell(moment, kind)[2] += 1
        for (at, kind), (started, acked, errors, slowest) in sorted(found.items()):
            yield Bucket(at, kind, int(started), int(acked), int(errors), round(slowest * 1e3, 3))


def longest_gap(series: Sequence[Sequence[float]]) -> float:
    """Longest distance between neighbours in the union of sorted series; 0 for fewer than 2."""
    merged = sorted(value for values in series for value in values)
    return max((b - a for a, b in itertools.pairwise(merged)), default=0.0)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank: the smallest value with at least `share` (0 to 1) of all at or below it."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread_ms(waits: Sequence[float]) -> dict[str, float]:
    """Count, p50, p99, p99.9 and max of waits in seconds, told in ms."""
    ordered = sorted(waits)
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    told = {name: round(percentile(ordered, share) * 1e3, 3) for name, share in shares.items()}
    return {"count": len(ordered), **told}


def _plain(text: str) -> str:
    return re.sub(r"\d+", "#", text[:_TEXT_HEAD])
