"""`slackwater lab load`: offer writes to the lab, and afterwards look for every one of them."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from slackwater.errors import EXIT_DONE, EXIT_STUCK, UsageError
from slackwater.lab.load import Load
from slackwater.lab.load_plan import KINDS, LoadPlan
from slackwater.lab.load_report import LoadReport
from slackwater.lab.load_target import lab_target

_QUIET_EVERY_S = 10.0


def load(
    seconds: Annotated[
        float, typer.Option(help="How long; SIGINT and SIGTERM end it sooner.")
    ] = 10,
    rate: Annotated[
        float, typer.Option(help="Connection-per-request writes a second (open loop).")
    ] = 1000,
    pooled: Annotated[int, typer.Option(help="Pooled writers that trust their connection.")] = 8,
    pooled_tested: Annotated[
        int, typer.Option(help="Pooled writers that ping before each use.")
    ] = 0,
    pooled_rate: Annotated[float, typer.Option(help="Uses a second of each pooled writer.")] = 20,
    transactions: Annotated[
        float, typer.Option(help="Share (0 to 1) of pooled uses that are transactions.")
    ] = 0.0,
    think_ms: Annotated[
        float, typer.Option(help="Pause inside such a transaction, before COMMIT.")
    ] = 0.0,
    connect_timeout: Annotated[
        float, typer.Option(help="The clients' connect time-out, in seconds.")
    ] = 10.0,
    sources: Annotated[
        int, typer.Option(help="Spread clients over 127.0.0.1 … 127.0.0.N (more ports).")
    ] = 1,
    timeline: Annotated[
        Path | None, typer.Option(help="Write a CSV time line in 10 ms buckets.")
    ] = None,
    windows: Annotated[
        Path | None,
        typer.Option(help="JSON lines [from, to] in unix ms, read at the end: report each."),
    ] = None,
    until_file: Annotated[
        Path | None, typer.Option(help="End as soon as this file exists.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A lab's slackwater.toml; default: the running lab.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output.")
    ] = False,
) -> None:
    """Write through the balancer, then say what was lost, doubled, refused and late.

    Exit code 3: a write was lost or doubled, is there though it was refused, is missing on the
    passive; not one server is writable at the end; or some server could not be looked at.
    """
    plan = LoadPlan(
        seconds=seconds,
        rate=rate,
        pooled=pooled,
        pooled_tested=pooled_tested,
        pooled_rate=pooled_rate,
        transactions=transactions,
        think_s=think_ms / 1e3,
        connect_limit_s=connect_timeout,
        sources=sources,
        until_file=str(until_file or ""),
    )
    work = Load(lab_target(config), plan)
    with _stops(work):
        report = work.run(_Progress())
    if timeline is not None:
        report.write_timeline(timeline)
    asked = read_windows(windows) if windows is not None else None
    print(json.dumps(report.as_json(asked)) if as_json else text(report))
    raise typer.Exit(EXIT_DONE if report.outcome == "done" else EXIT_STUCK)


def read_windows(path: Path) -> list[tuple[float, float]]:
    """Lines of `[from, to]`, unix ms. Raises UsageError naming the line."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            t0, t1 = json.loads(line)
            found.append((float(t0), float(t1)))
        except (TypeError, ValueError) as error:
            raise UsageError(f"{path}, line {number}: not [from, to] in unix ms") from error
    return found


def text(report: LoadReport) -> str:
    """The report for people."""
    said, seen = report.as_json(), report.verification
    lines = [f"{report.acked:,} writes acknowledged in {said['seconds']:g} s"]
    if seen is None or seen.lost is None:
        lines.append("NOT VERIFIED: no server could be read")
    else:
        lines.append(
            f"on {seen.active}: {seen.lost} lost, {seen.duplicated} duplicated, "
            f"{seen.unacknowledged_present} there without acknowledgement, "
            f"{seen.refused_present} of them though refused"
        )
        if seen.missing_on_passive is not None:
            lines.append(
                f"on the passive: {seen.missing_on_passive} missing, {seen.extra_on_passive} "
                f"too many (looked at after {seen.catch_up_ms:g} ms)"
            )
    lines += [f"problem: {problem}" for problem in (seen.problems if seen else ())]
    lines.append("")
    lines.append(f"{'client':<9}{'begun':>10}{'errors':>8}" + _columns("p50 p99 p99.9 longest"))
    for kind in KINDS:
        waits = said["latency_ms"][kind]
        if said["begun"][kind]:
            numbers = "".join(f"{waits[k]:>10.1f}" for k in ("p50", "p99", "p999", "max"))
            lines.append(f"{kind:<9}{said['begun'][kind]:>10,}{report.errors_of(kind):>8}{numbers}")
    lines.append(f"{'':27}(ms from a request's start to its acknowledgement)")
    lines.append(
        f"longest gap between two acknowledgements {said['longest_gap_ms']:.1f} ms; "
        f"{report.read_only_errors} read-only errors; tested pools reconnected "
        f"{said['reconnects']} times"
    )
    late = said["late_ms"]
    lines.append(
        f"the load itself: {said['cpu_us_per_request']:.0f} us CPU a request, started late by "
        f"{late['p99']:.1f} ms (p99), {late['max']:.1f} ms at most, {said['skipped']} skipped"
    )
    for fault in report.faults:
        lines.append(
            f"{fault.count:>7} x {fault.kind} at {fault.phase}: {fault.code} {fault.name} "
            f"{fault.text}"
        )
    return "\n".join(lines)


def _columns(names: str) -> str:
    return "".join(f"{name:>10}" for name in names.split())


class _Progress:
    """A line that is rewritten on a terminal, or now and then a line in a file."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._told = time.monotonic()

    def __call__(self, line: str) -> None:
        if self._terminal:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._told >= _QUIET_EVERY_S:
            self._told = time.monotonic()
            print(line, file=sys.stderr, flush=True)


@contextmanager
def _stops(work: Load) -> Iterator[None]:
    """SIGINT and SIGTERM end the load with its full report; the second one ends the program."""
    names = (signal.SIGINT, signal.SIGTERM)
    old = {name: signal.getsignal(name) for name in names}

    def stop(*_: object) -> None:
        work.stop()
        for name in names:
            signal.signal(name, old[name])

    for name in names:
        signal.signal(name, stop)
    try:
        yield
    finally:
        for name in names:
            signal.signal(name, old[name])
        if sys.stderr.isatty():
            print(file=sys.stderr)
