"""`slackwater thaw`: end a freeze. Writers wait while it begins, so it brings little with it."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from slackwater import clock, config
from slackwater.cli.frozen import ServersOption, report, run, servers_asked
from slackwater.cli.options import ConfigOption, JsonOption
from slackwater.cli.say import say
from slackwater.config import Config
from slackwater.errors import EXIT_REFUSED, EXIT_STUCK, Refused
from slackwater.operations.snapshot import freeze as operation
from slackwater.operations.snapshot.freeze import Thawed


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
