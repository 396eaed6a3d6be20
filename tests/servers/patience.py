"""Limits of tests. A slow machine sets SLACKWATER_TEST_PATIENCE to a factor for all of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = float(os.environ.get("SLACKWATER_TEST_PATIENCE", "1"))
T = TypeVar("T")


def eventually(
    look: Callable[[], T], what: str, *, limit_s: float = 20.0, every_s: float = 0.005
) -> T:
    """Look until it is true and return what was seen; fails at the limit, naming `what`."""
    end = time.monotonic() + limit_s * PATIENCE
    while True:
        if seen := look():
            return seen
        assert time.monotonic() < end, f"not within {limit_s * PATIENCE:g} s: {what}"
        time.sleep(every_s)
