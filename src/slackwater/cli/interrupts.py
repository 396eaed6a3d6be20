"""Ctrl-C, SIGTERM and a closed terminal: whom they stop, from the first look to the last word."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from slackwater.cli import process
from slackwater.errors import Refused

Answer = TypeVar("Answer")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_came = 0  # how many of them


class Interrupted(Refused):
    """Nothing was begun, since somebody asked us to end."""

    def __init__(self) -> None:
        super().__init__("cannot begin", ["interrupted before anything was touched"])


class Interruptible(Protocol):
    """A runner: it knows what to stop, and what must not be."""

    def interrupt(self) -> None: ...


class Interrupts:
    """Who is told: first the look that is under way, then the runner."""

    def __init__(self) -> None:
        self._asked = False
        self._looking: asyncio.Task[Any] | None = None
        self._runner: Interruptible | None = None

    @property
    def asked(self) -> bool:
        """Whether anybody has."""
        return self._asked

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
            raise Interrupted from None
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


def from_now_on() -> Callable[[], bool]:
    """Ask it whether anybody has wanted us to end since: who does several operations, one after the
    other, begins no other then."""
    before = _came
    return lambda: _came > before


def heeded(numbers: Iterable[signal.Signals]) -> list[signal.Signals]:
    """Those of the signals that whoever started us had not ignored (`nohup` does)."""
    return [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Take the signals of this event loop."""
    loop, interrupts = asyncio.get_running_loop(), Interrupts()
    before = {number: signal.getsignal(number) for number in heeded(SIGNALS)}
    for number in before:
        loop.add_signal_handler(number, interrupts.interrupt)
        # At once: one that comes as the loop ends is told to nobody.
        signal.signal(number, _came_now)
        signal.siginterrupt(number, False)
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            if handler is not None:  # None: not set by Python, so nothing it can set again
                signal.signal(number, handler)


@contextlib.contextmanager
def to_the_last_word() -> Iterator[None]:
    """Around an operation: where the process ends with it, no signal takes its report and its exit
    code away once it has ended. One that could not begin leaves the signals as they were."""
    numbers = heeded(SIGNALS) if process.one_command else []
    before = {n: signal.signal(n, _came_now) for n in numbers}
    try:
        yield
    except BaseException:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        raise
    for number in before:
        signal.signal(number, signal.SIG_IGN)  # Python's own end would undo a handler of ours


@contextlib.contextmanager
def cleaning_up() -> Iterator[Callable[[], None]]:
    """Around what has to be undone in any case, outside of an event loop: SIGTERM and a closed
    terminal end it as Ctrl-C does. Call what it gives when it is to be undone, whatever comes: no
    signal gets in between then."""
    before = {number: signal.getsignal(number) for number in heeded(SIGNALS)}

    def ignore() -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)

    def end(number: int, _: object) -> None:
        ignore()
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    try:
        for each in before:
            signal.signal(each, end)
        yield ignore
    finally:
        for each, handler in before.items():
            signal.signal(each, handler or signal.SIG_DFL)


def _came_now(*_: object) -> None:
    """All that is done between the end of an event loop and of the process, or another one's
    begin."""
    global _came
    _came += 1
