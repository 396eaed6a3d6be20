"""What `slackwater freeze`, `thaw` and `hooks` share. Writers wait while thaw begins, so it brings
little with it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from typing import Annotated, Any, TypeVar

import typer

from slackwater import clock
from slackwater.cli.interrupts import heeded
from slackwater.config import Config
from slackwater.errors import ConfigError

Result = TypeVar("Result")
ServersOption = Annotated[
    list[str] | None,
    typer.Option("--server", help="Which server; several times for several [default: the only]."),
]


def servers_asked(settings: Config, asked: list[str] | None) -> list[str]:
    """The servers that are meant. Raises ConfigError."""
    known = list(settings.servers)
    if not asked:
        if len(known) == 1:
            return known
        raise ConfigError(f"{settings.path}: there is more than one server; name one with --server",
                          hint=f"servers in the file: {', '.join(known)}")
    for name in asked:
        if name not in known:
            raise ConfigError(f"{settings.path}: there is no server {name!r}",
                              hint=f"servers in the file: {', '.join(known)}")
    return list(dict.fromkeys(asked))


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run it; SIGTERM, SIGHUP and Ctrl-C cancel it, and it cleans up."""

    async def cancelled_by_signals() -> Result:
        task = asyncio.ensure_future(work)
        with _signals(task):
            return await task

    return asyncio.run(cancelled_by_signals())


@contextlib.contextmanager
def _signals(task: asyncio.Future[Any]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = heeded((signal.SIGTERM, signal.SIGHUP, signal.SIGINT))
    for number in numbers:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def report(operation_name: str, outcome: str, begun: float, **more: Any) -> dict[str, Any]:
    """What freeze and thaw say with --json."""
    return {"operation": operation_name, "outcome": outcome, "steps": [],
            "started": clock.text(begun), "ended": clock.text(clock.unix()), **more}
