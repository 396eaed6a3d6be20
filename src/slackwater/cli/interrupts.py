"""Ctrl-C, SIGTERM and a closed terminal: whom they stop, from the first look to the last word."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from typing import Any, Protocol, TypeVar

from slackwater.errors import Refused

Answer = TypeVar("Answer")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruptible(Protocol):
    """A runner: it knows what to stop, and what must not be."""

    def interrupt(self) -> None: ...


class Interrupts:
    """Who is told: first the look that is under way, then the runner."""

    def __init__(self) -> None:
        self._asked = False
        self._looking: asyncio.Task[Any] | None = None
        self._runner: Interruptible | None = None

    async def look(self, what: Coroutine[Any, Any, Answer]) -> Answer:
        """Do what touches nothing. Raises Refused when it was interrupted."""
        self._looking = looking = asyncio.ensure_future(what)
        if self._asked:
            looking.cancel()
        try:
            return await looking
        except asyncio.CancelledError:
            if not self._asked:
                raise
            raise Refused("cannot begin", ["interrupted before anything was touched"]) from None
        finally:
            self._looking = None

    def hand_over(self, runner: Interruptible) -> None:
        """From here on the runner is told; at once, if somebody asked in between."""
        self._runner = runner
        if self._asked:
            runner.interrupt()

    def interrupt(self) -> None:
        """What a signal does."""
        self._asked = True
        if self._runner is not None:
            self._runner.interrupt()
        elif self._looking is not None:
            self._looking.cancel()


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Take the signals of this event loop."""
    loop, interrupts = asyncio.get_running_loop(), Interrupts()
    for number in SIGNALS:
        loop.add_signal_handler(number, interrupts.interrupt)
    try:
        yield interrupts
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
