"""The sweep prints itself."""

from __future__ import annotations

from collections.abc import Sequence

from tests.sweep.run import Result

COLUMNS = ("case", "outcome", "after recover", "acked", "lost", "dup", "two writable",
           "longest held", "s", "verdict")
WIDTHS = (58, 10, 13, 6, 4, 4, 12, 12, 5, 7)


def head() -> str:
    """The two lines above the table."""
    names = " | ".join(c.ljust(w) for c, w in zip(COLUMNS, WIDTHS, strict=True))
    return f"{names}\n{'-|-'.join('-' * w for w in WIDTHS)}"


def line(result: Result) -> str:
    """One case."""
    if result.skipped:
        return f"{result.case.title.ljust(WIDTHS[0])} | skipped: {result.skipped}"
    cells = (
        result.case.title, result.outcome, result.recovered, result.acked,
        "?" if result.lost is None else result.lost,
        "?" if result.duplicated is None else result.duplicated,
        result.two_writable, f"{result.longest_ms:.0f} ms", f"{result.seconds:.1f}",
        "FAILED" if result.faults else "ok",
    )
    return " | ".join(str(c).ljust(w) for c, w in zip(cells, WIDTHS, strict=True))


def details(result: Result) -> str:
    """What was wrong, below the line."""
    return "\n".join(f"    ! {fault}" for fault in result.faults)


def summary(results: Sequence[Result], seconds: float, labs: int) -> str:
    """The last line."""
    ran = [r for r in results if not r.skipped]
    failed = [r for r in ran if r.faults]
    longest = max((r.longest_ms for r in ran), default=0)
    return (
        f"{len(ran)} cases in {seconds:.0f} s on {labs} lab(s): {len(failed)} failed, "
        f"{len(results) - len(ran)} skipped; {sum(r.acked for r in ran):,} writes acknowledged, "
        f"{sum(r.lost or 0 for r in ran)} lost, {sum(r.duplicated or 0 for r in ran)} duplicated, "
        f"two writable {sum(r.two_writable for r in ran)} times, longest wait {longest:.0f} ms"
    )
