"""wait_until: looks at once, keeps its limit, and tells what it saw last."""

from __future__ import annotations

import asyncio
import time

import pytest

from slackwater.errors import OutsideError, StepFailed
from slackwater.plan.wait import wait_until


def looks(*values):
    """A look that gives these, one after the other; the last one again and again."""
    left = list(values)

    async def look():
        return left.pop(0) if len(left) > 1 else left[0]

    return look


def test_ready_at_once_does_not_sleep():
    begun = time.monotonic()
    assert asyncio.run(wait_until(looks(5), lambda v: v == 5, what="x", limit_s=9, every_s=9)) == 5
    assert time.monotonic() - begun < 1


def test_looks_until_ready():
    found = asyncio.run(
        wait_until(looks(1, 2, 3), lambda v: v == 3, what="x", limit_s=5, every_s=0.001)
    )
    assert found == 3


def test_the_limit_holds_and_the_last_look_is_told():
    begun = time.monotonic()
    with pytest.raises(StepFailed, match=r"b catches up: not within 0\.02 s; last seen: 7 s"):
        asyncio.run(wait_until(looks("7 s"), lambda v: False, what="b catches up", limit_s=0.02,
                               every_s=30))
    assert time.monotonic() - begun < 1, "it slept no longer than its limit"


def test_it_looks_once_more_at_the_limit():
    found = asyncio.run(
        wait_until(looks(1, 2), lambda v: v == 2, what="x", limit_s=0.01, every_s=30)
    )
    assert found == 2


def test_what_a_look_raises_goes_through():
    async def look():
        raise OutsideError("server b", "gone", sent=False)

    with pytest.raises(OutsideError, match="server b: gone"):
        asyncio.run(wait_until(look, bool, what="x", limit_s=1))
