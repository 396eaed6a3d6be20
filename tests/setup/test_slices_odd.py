"""A replica that catches up in slices, where its server or its source is not as it mostly is."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.setup.scene import scene
from tests.setup.stories import named
from tests.setup.test_slices import SLOW_MS, _behind, _in_world

from slackwater.operations.setup.look import SetupWorld
from slackwater.operations.setup.slices import gently

pytestmark = pytest.mark.servers


def test_let_go_beside_a_source_that_is_late_the_rest_of_us_goes_on(place: Path) -> None:
    def stands_still(*_: object) -> None:
        raise AssertionError("nothing else of slackwater has come to do anything for 10 s")

    async def pause_the_source(world: SetupWorld) -> None:
        async with gently(world, "b", "a", SLOW_MS) as slices:
            assert slices is not None
            slices.let_go()
            await asyncio.sleep(0.3)
            os.kill(made.servers["a"].pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(0.5)
            finally:
                os.kill(made.servers["a"].pid, signal.SIGCONT)

    with scene(named("mariadb-10.11"), place) as made:
        _behind(made)
        before = signal.signal(signal.SIGALRM, stands_still)
        signal.setitimer(signal.ITIMER_REAL, 10)
        try:
            _in_world(made, pause_the_source)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
