"""`slackwater heartbeat`: the service that writes a row a few times a second."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Annotated

import typer

from slackwater import clock, config
from slackwater.cli.interrupts import heeded
from slackwater.cli.options import ConfigOption, JsonOption, PairOption
from slackwater.config import Config
from slackwater.service.heartbeat import Heartbeat


def heartbeat(
    interval: Annotated[
        float, typer.Option("--interval", min=0.01, max=10, help="Seconds between two beats.")
    ] = 0.2,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, help="End after so long [default: never].")
    ] = None,
    file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write slackwater.heartbeat on a pair's writable server, or a source, until SIGTERM or Ctrl-C.

    It makes lag visible in milliseconds (`slackwater status`) and tells after a crash how much may
    be missing. It runs in the foreground, as a service manager wants it.
    """
    settings = config.load(config.find(file))
    name = settings.looked_at(pair).name
    started = clock.unix()
    service = asyncio.run(_run(settings, name, interval, seconds))
    if as_json:
        print(json.dumps({
            "operation": "heartbeat", "pair": name, "outcome": "done", "steps": [],
            "beats": {n: p.beats for n, p in service.pulses.items()},
            "started": clock.text(started), "ended": clock.text(clock.unix()),
        }))


async def _run(
    settings: Config, pair: str, interval_s: float, seconds: float | None
) -> Heartbeat:
    service = Heartbeat(
        settings, pair, interval_s=interval_s,
        say=lambda line: print(f"slackwater heartbeat: {line}", file=sys.stderr, flush=True))
    loop = asyncio.get_running_loop()
    for number in heeded((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
        loop.add_signal_handler(number, service.stop.set)
    if seconds is not None:
        loop.call_later(seconds, service.stop.set)
    await service.run()
    return service
