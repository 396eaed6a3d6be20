"""Time, in one place: the rest of the code asks here, so that one reads in which clock."""

from __future__ import annotations

import datetime
import time


def unix() -> float:
    """Seconds since 1970, the clock that journals and people share. It may jump."""
    return time.time()


def mono() -> float:
    """Seconds on a clock that never jumps: for limits and durations."""
    return time.monotonic()


def text(at: float) -> str:
    """A unix time as ISO 8601 in UTC with milliseconds: 2026-11-21T03:00:00.123Z."""
    moment = datetime.datetime.fromtimestamp(at, tz=datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
