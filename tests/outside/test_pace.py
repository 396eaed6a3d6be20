"""A copy goes slower when its source answers late, and faster again when it does not."""

from __future__ import annotations

import asyncio
import time

from slackwater.outside.mysql import pace
from slackwater.outside.mysql.pace import Pace

MIB = 2**20


def _known(slow_s: float) -> Pace:
    """One whose source answers at once when nothing is copied."""
    moving = Pace(slow_s)
    for _ in range(pace.FIRST):
        moving.answered(0.001)
    return moving


async def _took(moving: Pace, size: int) -> float:
    begun = time.monotonic()
    await moving.moved(size)
    return time.monotonic() - begun


def test_nothing_is_slowed_down_while_all_is_well() -> None:
    async def run() -> None:
        moving = _known(0.02)
        moving.answered(0.001)
        assert await _took(moving, 100 * MIB) < pace.REST_S
        assert (moving.rate, moving.brakes, moving.slow_s) == (0.0, 0, 0.02)

    asyncio.run(run())


def test_a_late_answer_stops_the_copy_until_answers_are_in_time() -> None:
    async def run() -> None:
        moving = _known(0.02)
        await moving.moved(50 * MIB)
        moving.answered(0.05)
        waiting = asyncio.ensure_future(moving.moved(1024))
        moving.answered(0.001)  # what is queued on the disk has its time first
        await asyncio.sleep(0)
        assert not waiting.done()
        await asyncio.sleep(pace.REST_S)
        moving.answered(0.001)
        await asyncio.wait_for(waiting, 5)
        slower = moving.rate
        assert slower >= pace.LEAST and moving.brakes == 1
        moving._changed -= pace.FASTER_EVERY_S + 1
        moving.answered(0.001)
        assert moving.rate > slower

    asyncio.run(run())


def test_the_rate_is_of_all_who_move_something_and_has_a_floor() -> None:
    async def run() -> None:
        moving = _known(0.02)
        for _ in range(5):
            moving.answered(1.0)
            moving._changed -= pace.FASTER_EVERY_S + 1
        assert moving.rate == pace.LEAST
        moving._free_at = 0.0
        moving.answered(0.001)
        rate, begun = moving.rate, time.monotonic()
        await asyncio.gather(*(moving.moved(64 * 1024) for _ in range(4)))
        assert time.monotonic() - begun >= 4 * 64 * 1024 / rate * 0.9
        assert moving.held_s > 0

    asyncio.run(run())


def test_a_source_that_answers_nothing_more_does_not_hold_the_copy_for_ever() -> None:
    async def run() -> None:
        moving = _known(0.02)
        moving.answered(1.0)
        moving.forget()
        assert await _took(moving, MIB) < pace.STOP_S

    asyncio.run(run())


def test_a_source_that_stays_late_gets_the_least_rate_and_no_standstill() -> None:
    async def run() -> None:
        moving = _known(0.02)
        moving.answered(1.0)
        moving._stopped_at -= pace.STOP_S
        begun = time.monotonic()
        for _ in range(4):
            await moving.moved(256 * 1024)
        assert 0.9 * MIB / pace.LEAST <= time.monotonic() - begun < 4 * pace.STOP_S

    asyncio.run(run())


def test_a_source_that_is_slow_by_itself_is_not_what_a_copy_waits_for() -> None:
    async def run() -> None:
        moving = Pace(0.02)
        for _ in range(pace.FIRST):
            moving.answered(0.1)
        moving.answered(0.15)
        assert (moving.slow_s, moving.brakes) == (0.2, 0)
        moving.answered(0.25)
        assert moving.brakes == 1

    asyncio.run(run())
