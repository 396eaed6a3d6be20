"""The picture: how long each write waited, around and during the change, a row for each method."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from bench.alter.__main__ import Round


def draw(rounds: list[Round], about: str, path: Path) -> None:
    """Write a PNG of the first round of each method."""
    shown = list({r.method: r for r in reversed(rounds)}.values())[::-1]
    figure, axes = plt.subplots(len(shown), 1, figsize=(9, 2.2 * len(shown) + 0.8), sharex=True,
                                sharey=True, squeeze=False)
    for axis, one in zip(axes[:, 0], shown, strict=True):
        axis.axvspan(0, one.wall_s, color="#edf2f7", label="the method runs")
        axis.scatter([at for at, _ in one.samples], [w for _, w in one.samples], s=4,
                     color="#2b6cb0")
        axis.set_yscale("log")
        axis.set_title(f"{one.method}: longest wait {one.longest_ms:,.0f} ms, {one.errors} "
                       f"errors, {one.binlog_bytes / 2**20:+.1f} MiB of binary log",
                       fontsize=10, loc="left")
        axis.set_ylabel("wait (ms)", fontsize=9)
    axes[-1, 0].set_xlabel("seconds since the method began", fontsize=9)
    figure.suptitle(f"A copying ALTER of the table that clients write: {about}", fontsize=12)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
