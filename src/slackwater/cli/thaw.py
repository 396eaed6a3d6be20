"""`slackwater thaw`: end a freeze. Writers wait while it begins, so it brings little with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Coroutine, Iterator
from typing import Annotated, Any, TypeVar

import typer

from slackwater import clock, config
from slackwater.cli.options import ConfigOption, JsonOption
from slackwater.cli.say import say
from slackwater.config import Config
from slackwater.errors import EXIT_REFUSED, EXIT_STUCK, ConfigError, Refused
from slackwater.operations.snapshot import freeze as operation
from slackwater.operations.snapshot.freeze import Thawed

Result = TypeVar("Result")
ServersOption = Annotated[
    list[str] | None,
    typer.Option("--server", help="Which server; several times for several [default: the only]."),
]


def thaw(
    server: ServersOption = None,
    abandon: Annotated[
        bool,
        typer.Option("--abandon", help="The snapshot failed: let go, and do not call it consistent;"
                     " no error when nothing is frozen."),
    ] = False,
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a freeze. Exits with 0 only if the lock was held from the freeze until now."""
    settings = config.load(config.find(file))
    names = servers_asked(settings, server)
    begun = clock.unix()
    results, refusals = run(_thaw(settings, names, abandon))
    bad = [t for _, t in results if t.why] if not abandon else []
    outcome = "stuck" if bad else "refused" if refusals and not abandon else "done"
    reasons = refusals + [f"snapshot {t.snapshot} is not consistent: {t.why}" for t in bad]
    if as_json:
        say(json.dumps(report("thaw", outcome, begun, reasons=reasons, servers=[
            {"server": n, "snapshot": t.snapshot, "held_ms": t.held_ms,
             "consistent": not t.why, "why": t.why} for n, t in results])))
    else:
        for name, one in results:
            say(f"{name}: thawed; the lock was held for {(one.held_ms or 0) / 1000:.1f} s, all the"
                f" time; snapshot {one.snapshot} is consistent" if not one.why else
                f"{name}: thawed; snapshot {one.snapshot} is NOT consistent: {one.why}")
        for reason in refusals:
            print(f"slackwater: {reason}", file=sys.stderr)
    raise typer.Exit({"stuck": EXIT_STUCK, "refused": EXIT_REFUSED}.get(outcome, 0))


async def _thaw(
    settings: Config, names: list[str], abandon: bool
) -> tuple[list[tuple[str, Thawed]], list[str]]:
    """Every one of them, whatever becomes of the others."""
    results: list[tuple[str, Thawed]] = []
    refusals: list[str] = []
    for name in names:
        try:
            results.append((name, await operation.thaw(settings, name, abandon=abandon)))
        except Refused as error:
            refusals.append(str(error))
    return results, refusals


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
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
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
