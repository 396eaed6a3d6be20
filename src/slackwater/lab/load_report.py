"""What the load says at the end: for people, for programs, and for plots."""

from __future__ import annotations

import csv
import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from slackwater.lab.load_plan import KINDS, LoadPlan
from slackwater.lab.load_record import READ_ONLY_CODES, Bucket, Fault, Record, spread_ms
from slackwater.lab.load_verify import Verification


@dataclass(frozen=True)
class LoadReport:
    """The result of one run. Times are unix ms, waits are ms.

    `record` has every sample; `verification` is None when no server was given to look at.
    """

    plan: LoadPlan
    record: Record
    verification: Verification | None
    started_ms: float
    ended_ms: float
    cpu_s: float  # user and system time of the load itself, without verification

    @property
    def outcome(self) -> str:
        """In a word: stuck, unless everything was looked at and is right."""
        if self.verification is None or self.verification.lost is None:
            return "unknown"
        return "done" if self.verification.clean else "stuck"

    @property
    def acked(self) -> int:
        """Numbers acknowledged: two in each transaction."""
        return self.record.acked

    @property
    def lost(self) -> int | None:
        """Acknowledged, and absent on the active server. None: not looked at."""
        return self.verification.lost if self.verification else None

    @property
    def duplicated(self) -> int | None:
        return self.verification.duplicated if self.verification else None

    @property
    def faults(self) -> list[Fault]:
        return self.record.faults()

    @property
    def read_only_errors(self) -> int:
        return sum(fault.count for fault in self.faults if fault.code in READ_ONLY_CODES)

    @property
    def longest_stall_ms(self) -> float:
        """Longest time from a request's start to its acknowledgement, of any kind."""
        return max(self.longest_stalls_ms.values())

    @property
    def longest_stalls_ms(self) -> dict[str, float]:
        return {k: round(s.longest * 1e3, 3) for k, s in self.record.samples.items()}

    def errors_of(self, kind: str) -> int:
        """How many errors clients of this kind saw."""
        return sum(fault.count for fault in self.faults if fault.kind == kind)

    def stall_between(self, t0: float, t1: float, kind: str | None = None) -> float:
        """Longest wait (ms) of an acknowledged request under way between two moments (unix ms)."""
        first, last = self.record.moment(t0), self.record.moment(t1)
        kinds = KINDS if kind is None else (kind,)
        found = (self.record.samples[k].stall_between(first, last) for k in kinds)
        return round(max(found) * 1e3, 3)

    def window(self, t0: float, t1: float) -> dict[str, Any]:
        """What the clients saw between two moments (unix ms): a bench's look at a switchover."""
        first, last = self.record.moment(t0), self.record.moment(t1)
        times = self.record.error_times
        ended = [s.ended_between(first, last) for s in self.record.samples.values()]
        return {
            "from": t0,
            "to": t1,
            "latency_ms": spread_ms(list(chain.from_iterable(ended))),
            "stall_ms": self.stall_between(t0, t1),
            "stalls_ms": {kind: self.stall_between(t0, t1, kind) for kind in KINDS},
            "errors": {k: sum(1 for t in times[k] if first <= t <= last) for k in KINDS},
        }

    def as_json(self, windows: list[tuple[float, float]] | None = None) -> dict[str, Any]:
        """Everything but the samples, as plain JSON values."""
        record = self.record
        late = spread_ms(record.late)
        waits = {kind: samples.waits for kind, samples in record.samples.items()}
        begun = sum(record.begun.values())
        found: dict[str, Any] = {
            "operation": "lab load",
            "outcome": self.outcome,
            "steps": [],
            "started": _iso(self.started_ms),
            "ended": _iso(self.ended_ms),
            "started_ms": self.started_ms,
            "ended_ms": self.ended_ms,
            "seconds": round((self.ended_ms - self.started_ms) / 1e3, 3),
            "plan": dataclasses.asdict(self.plan),
            "begun": record.begun,
            "numbers": len(record.fates),
            "acked": record.acked,
            **self._verified(),
            "errors": [dataclasses.asdict(fault) for fault in self.faults],
            "errors_by_kind": {kind: self.errors_of(kind) for kind in KINDS},
            "read_only_errors": self.read_only_errors,
            "reconnects": record.reconnects,
            "transactions": record.transactions,
            "unfinished": record.unfinished,
            "skipped": record.skipped,
            "late_ms": late,
            "latency_ms": {
                "all": spread_ms(list(chain.from_iterable(waits.values()))),
                **{kind: spread_ms(values) for kind, values in waits.items()},
            },
            "longest_stall_ms": self.longest_stall_ms,
            "longest_stalls_ms": self.longest_stalls_ms,
            "longest_gap_ms": round(record.longest_gap() * 1e3, 3),
            "cpu_s": round(self.cpu_s, 3),
            "cpu_us_per_request": round(self.cpu_s * 1e6 / begun, 1) if begun else 0.0,
        }
        if windows is not None:
            found["windows"] = [self.window(t0, t1) for t0, t1 in windows]
        return found

    def write_timeline(self, path: Path, bucket_ms: int = 10) -> None:
        """One CSV line for each bucket and kind in which anything happened."""
        with path.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow([field.name for field in dataclasses.fields(Bucket)])
            for bucket in self.record.timeline(bucket_ms):
                lines.writerow(dataclasses.astuple(bucket))

    def _verified(self) -> dict[str, Any]:
        if self.verification is None:
            return {"verified": False, "clean": False, "lost": None, "duplicated": None}
        looked = self.verification.lost is not None
        told = dataclasses.asdict(self.verification)
        return {"verified": looked, "clean": self.verification.clean, **told}


def _iso(unix_ms: float) -> str:
    return datetime.fromtimestamp(unix_ms / 1e3, UTC).isoformat(timespec="milliseconds")
