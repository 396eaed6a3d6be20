"""The picture: acknowledged writes and waits around the switchover, a column for each method."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

from bench.switchover.measure import PLOT_AFTER_S, PLOT_BEFORE_S, Round
from bench.switchover.methods import METHODS

BUCKET_S = 0.02
FAILED_AT = 5000  # height of the strip for failed writes, above all waits
BLUE, ORANGE, RED, GREY = "#2b6cb0", "#dd8a1b", "#c53030", "#718096"
_KINDS = {
    "request": (BLUE, 5, "connection per request"),
    "pooled": (ORANGE, 14, "pooled (tested or not)"),
    "tested": (ORANGE, 14, None),
}


def middle(rounds: list[Round]) -> Round:
    """The round whose longest wait is the median one."""
    return sorted(rounds, key=lambda r: r.stall_ms)[(len(rounds) - 1) // 2]


def draw(rounds: list[Round], rate: int, about: str, path: Path) -> None:
    """Write a PNG of the middle round of each method at this rate."""
    shown = []
    for method in METHODS:
        some = [r for r in rounds if r.method == method.key and r.rate == rate and r.ok]
        if some and method.key != "none":
            shown.append((method.name, middle(some), some))
    if not shown:
        return
    figure, axes = plt.subplots(
        2, len(shown), figsize=(4.2 * len(shown), 6.4), sharex=True, sharey="row", squeeze=False
    )
    top = max(max(_rates(round_)[1]) for _, round_, _ in shown)
    for column, (name, round_, every) in enumerate(shown):
        _writes(axes[0][column], round_, top)
        _waits(axes[1][column], round_)
        stall = statistics.median(r.stall_ms for r in every)
        errors = statistics.median(sum(r.errors.values()) for r in every)
        axes[0][column].set_title(
            f"{name}\nlongest wait {stall:,.0f} ms, {errors:g} failed writes", fontsize=11
        )
        axes[1][column].set_xlabel("seconds since the method began to stop writes", fontsize=9)
    axes[0][0].set_ylabel("acknowledged writes\nper second (20 ms buckets)", fontsize=9)
    axes[1][0].set_ylabel("wait of each write, by its\nbegin (ms, log scale)", fontsize=9)
    handles, labels = axes[1][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=3, frameon=False, fontsize=10,
                  markerscale=1.6)
    figure.suptitle(f"A switchover under {rate:,} writes a second: what the clients see", y=0.985,
                    fontsize=14, fontweight="bold")
    figure.text(0.5, 0.918, about, ha="center", fontsize=9, color=GREY)
    figure.tight_layout(rect=(0, 0.045, 1, 0.96))
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _rates(round_: Round) -> tuple[list[float], list[float]]:
    """Bucket starts (s) and acknowledged writes a second in each."""
    size = round((PLOT_BEFORE_S + PLOT_AFTER_S) / BUCKET_S)
    counts = [0] * size
    for _, start, wait in round_.samples:
        bucket = int((start + wait / 1e3 + PLOT_BEFORE_S) // BUCKET_S)
        if 0 <= bucket < size:
            counts[bucket] += 1
    return [i * BUCKET_S - PLOT_BEFORE_S for i in range(size)], [c / BUCKET_S for c in counts]


def _writes(axis: Any, round_: Round, top: float) -> None:
    times, rates = _rates(round_)
    axis.fill_between(times, rates, step="post", color=BLUE, alpha=0.25, linewidth=0)
    axis.step(times, rates, where="post", color=BLUE, linewidth=0.9)
    axis.set_ylim(0, top * 1.05)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _tidy(axis)


def _waits(axis: Any, round_: Round) -> None:
    for kind, (colour, size, label) in _KINDS.items():
        points = [(start, wait) for k, start, wait in round_.samples if k == kind]
        axis.scatter([p[0] for p in points], [p[1] for p in points], s=size, color=colour,
                     alpha=0.55, linewidths=0, label=label, rasterized=True)
    axis.set_yscale("log")
    axis.set_ylim(0.4, 9000)
    axis.set_yticks([1, 10, 100, 1000, FAILED_AT], ["1", "10", "100", "1,000", "failed"])
    axis.minorticks_off()
    moments = [moment for _, moment in round_.failures]
    axis.scatter(moments, [FAILED_AT] * len(moments), s=26, marker="x", color=RED, linewidths=1.1,
                 label="failed write, by the time of its error")
    _tidy(axis)


def _tidy(axis: Any) -> None:
    axis.set_xlim(-PLOT_BEFORE_S, PLOT_AFTER_S)
    axis.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    axis.grid(axis="y", color="#e2e8f0", linewidth=0.7)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
