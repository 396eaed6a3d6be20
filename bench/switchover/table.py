"""The rounds as a table: medians, and the worst beside them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from bench.switchover.measure import Round
from bench.switchover.methods import METHODS
from slackwater.lab.load_plan import KINDS

HEAD = (
    "method", "rounds", "longest wait: request", "pooled", "tested", "no write acked for",
    "errors: request", "pooled", "tested", "read-only", "lost", "twice", "takes in all",
)


@dataclass(frozen=True)
class Line:
    """One method at one rate."""

    rate: int
    cells: tuple[str, ...]


def lines(rounds: Iterable[Round]) -> list[Line]:
    """One line for each rate and method, in the order of `METHODS`."""
    every = list(rounds)
    found = []
    for rate in sorted({r.rate for r in every}):
        for method in METHODS:
            some = [r for r in every if r.rate == rate and r.method == method.key]
            if some:
                found.append(Line(rate, _cells(method.name, some)))
    return found


def _cells(name: str, rounds: list[Round]) -> tuple[str, ...]:
    good = sum(r.ok for r in rounds)
    return (
        name,
        str(len(rounds)) if good == len(rounds) else f"{good} of {len(rounds)} ended well",
        *(_ms([r.stalls_ms[kind] for r in rounds]) for kind in KINDS),
        _ms([r.gap_ms for r in rounds]),
        *(_count([r.errors[kind] for r in rounds]) for kind in KINDS),
        _count([r.read_only_errors for r in rounds]),
        _total([r.lost for r in rounds]),
        _total([r.duplicated for r in rounds]),
        _ms([r.took_ms for r in rounds], worst=False),
    )


def _ms(values: list[float], *, worst: bool = True) -> str:
    text = f"{statistics.median(values):,.0f} ms"
    return f"{text} ({max(values):,.0f})" if worst else text


def _count(values: list[int]) -> str:
    return f"{statistics.median(values):g} ({max(values)})" if max(values) else "0"


def _total(values: list[int | None]) -> str:
    return "unknown" if None in values else str(sum(v or 0 for v in values))


def markdown(found: list[Line]) -> str:
    """A table for each rate."""
    parts = []
    for rate in dict.fromkeys(line.rate for line in found):
        rows = [line.cells for line in found if line.rate == rate]
        parts.append(f"### {rate:,} connection-per-request writes a second\n")
        parts.append("| " + " | ".join(HEAD) + " |")
        parts.append("|" + "---|" + "---:|" * (len(HEAD) - 1))
        parts += ["| " + " | ".join(row) + " |" for row in rows]
        parts.append("")
    return "\n".join(parts)


def text(found: list[Line]) -> str:
    """The same turned on its side, for a terminal: one column for each method."""
    parts = []
    for rate in dict.fromkeys(line.rate for line in found):
        rows = [line.cells for line in found if line.rate == rate]
        parts.append(f"{rate:,} connection-per-request writes a second, 4 pooled, 4 tested pooled")
        parts.append("(median of the rounds, the worst in brackets)")
        heads = [_full_name(i) for i in range(len(HEAD))]
        width = max(map(len, heads)) + 2
        for i, head in enumerate(heads):
            parts.append(f"  {head:<{width}}" + "".join(f"{row[i]:>22}" for row in rows))
        parts.append("")
    return "\n".join(parts)


def _full_name(i: int) -> str:
    """A heading that continues the one before it gets that one's first word."""
    if HEAD[i] in ("pooled", "tested", "read-only"):
        before = next(h for h in reversed(HEAD[:i]) if ":" in h)
        return f"{before.partition(':')[0]}: {HEAD[i]}"
    return HEAD[i]
