"""One round: a fresh pair, the load, one method, and what the clients saw around it."""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.switchover.methods import Done, Method
from slackwater.lab.down import down
from slackwater.lab.facts import LabFacts
from slackwater.lab.load import Load, LoadPlan, LoadReport, Target
from slackwater.lab.load_plan import KINDS
from slackwater.lab.load_record import READ_ONLY_CODES
from slackwater.lab.up import up

WARM_UP_S = 2.0
BEFORE_S = 1.5  # before the method is started: what the machine does by itself
STILL_LIMIT_S = 30.0
AFTER_S = 2.5  # a dropped SYN is sent again after 1 s
PLOT_BEFORE_S, PLOT_AFTER_S = 0.6, 2.4


@dataclass
class Round:
    """What one round showed. Times in ms; kinds of client: request, pooled, tested."""

    method: str
    rate: int
    number: int
    ok: bool
    before_ms: float  # longest wait in the second and a half before the method was started
    took_ms: float  # of the whole method, as its user waits
    stalls_ms: dict[str, float]  # longest wait for an answer, good or bad, by kind
    acked_ms: float  # longest wait that ended in an acknowledgement
    gap_ms: float  # longest time without any acknowledged write
    errors: dict[str, int]
    error_names: dict[str, int]
    read_only_errors: int
    acked: int
    lost: int | None
    duplicated: int | None
    late_on_old: int | None  # rows on the old server that the new one never got
    skipped: int
    problems: list[str]
    marks: dict[str, float]  # seconds from the moment that the method began to stop clients
    hold_ms: float | None = None
    # for the plot, seconds from that moment: (kind, start, wait in ms), (kind, moment)
    samples: list[tuple[str, float, float]] = field(default_factory=list)
    failures: list[tuple[str, float]] = field(default_factory=list)

    @property
    def stall_ms(self) -> float:
        return max(self.stalls_ms.values())

    def as_json(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("samples", "failures")} | {
            "stall_ms": self.stall_ms
        }


def measure(method: Method, rate: int, number: int, server: Path | None, still_ms: float) -> Round:
    """Run one round; leaves nothing behind.

    The method begins in a still moment: when no write has waited longer than `still_ms` for a
    second and a half. What the method itself does plays no part in that, so it favours none.
    """
    with tempfile.TemporaryDirectory(prefix="slackwater-switchover-bench-") as parent:
        Path(parent).chmod(0o711)  # the servers' own account passes through
        directory = Path(parent) / "lab"
        try:
            facts = up(server=server, directory=directory)
            done, report = _under_load(method, facts, rate, still_ms)
        finally:
            down(directory)
    return _round(method, rate, number, done, report)


def _under_load(
    method: Method, facts: LabFacts, rate: int, still_ms: float
) -> tuple[Done, LoadReport]:
    plan = LoadPlan(seconds=120, rate=rate, pooled=4, pooled_tested=4)
    load = Load(_target(facts), plan)
    reports: list[LoadReport] = []
    thread = threading.Thread(target=lambda: reports.append(load.run()))
    thread.start()
    try:
        time.sleep(WARM_UP_S)
        _wait_for_stillness(load, still_ms)
        done = method.run(facts)
        time.sleep(AFTER_S)
    finally:
        load.stop()
        thread.join()
    return done, reports[0]


def _wait_for_stillness(load: Load, still_ms: float) -> None:
    """On a machine that others use, too. Gives up after a while: `before_ms` will tell."""
    record, end = load.record, time.monotonic() + STILL_LIMIT_S
    while time.monotonic() < end:
        now = time.monotonic()
        longest = max(s.stall_between(now - BEFORE_S, now) for s in record.samples.values())
        if longest * 1e3 <= still_ms:
            return
        time.sleep(0.1)


def _target(facts: LabFacts) -> Target:
    fronts = (b["frontend"].rpartition(":") for b in facts.balancers.values())
    return Target(
        frontends=tuple((host, int(port)) for host, _, port in fronts),
        user=facts.app["user"],
        password=Path(facts.app["password_file"]).read_text().strip(),
        database=facts.app["database"],
        servers=tuple((name, s["socket"]) for name, s in facts.servers.items()),
    )


def _round(method: Method, rate: int, number: int, done: Done, report: LoadReport) -> Round:
    record, seen = report.record, report.verification
    first, last = done.started * 1e3, (done.ended + AFTER_S) * 1e3
    names: dict[str, int] = {}
    for fault in report.faults:
        name = f"{fault.kind} {fault.phase}: {fault.code} {fault.name}"
        names[name] = names.get(name, 0) + fault.count
    result = Round(
        method=method.key,
        rate=rate,
        number=number,
        ok=done.ok,
        before_ms=report.stall_between(first - BEFORE_S * 1e3, first - 50),
        took_ms=round((done.ended - done.started) * 1e3, 1),
        stalls_ms={kind: _stall_ms(report, kind, first, last) for kind in KINDS},
        acked_ms=report.stall_between(first, last),
        gap_ms=_gap_ms(report, first, last),
        errors={kind: report.errors_of(kind) for kind in KINDS},
        error_names=names,
        read_only_errors=sum(f.count for f in report.faults if f.code in READ_ONLY_CODES),
        acked=report.acked,
        lost=report.lost,
        duplicated=report.duplicated,
        late_on_old=seen.extra_on_passive if seen else None,
        skipped=record.skipped,
        problems=[*(seen.problems if seen else ()), *([] if done.ok else [done.output[-1500:]])],
        marks={k: round(v - done.began, 4) for k, v in done.marks.items()},
        hold_ms=done.told.get("hold_ms"),
    )
    _keep_samples(result, report, done.began)
    return result


def _stall_ms(report: LoadReport, kind: str, first: float, last: float) -> float:
    """A write that waited and then failed has waited, too."""
    failed = (f.longest_ms for f in report.faults if f.kind == kind)
    return max(report.stall_between(first, last, kind), max(failed, default=0.0))


def _gap_ms(report: LoadReport, first: float, last: float) -> float:
    """Longest time between two neighbouring acknowledgements of any kind, in the window."""
    record = report.record
    begin, end = record.moment(first), record.moment(last)
    ends = sorted(t for s in record.samples.values() for t in s.ends if begin <= t <= end)
    moments = [begin, *ends, min(end, record.moment(report.ended_ms))]
    return round(max(b - a for a, b in itertools.pairwise(moments)) * 1e3, 1)


def _keep_samples(result: Round, report: LoadReport, zero: float) -> None:
    record = report.record
    begin = record.moment(zero * 1e3) - PLOT_BEFORE_S
    end = begin + PLOT_BEFORE_S + PLOT_AFTER_S
    for kind, samples in record.samples.items():
        for at, wait in zip(samples.ends, samples.waits, strict=True):
            if at >= begin and at - wait <= end:
                start = at - wait - begin - PLOT_BEFORE_S
                result.samples.append((kind, round(start, 4), round(wait * 1e3, 2)))
        for moment in record.error_times[kind]:
            if begin <= moment <= end:
                result.failures.append((kind, round(moment - begin - PLOT_BEFORE_S, 4)))
