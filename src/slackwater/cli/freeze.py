"""`slackwater freeze`: for the hooks of hypervisors and backup programs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from slackwater import clock, config
from slackwater.cli.frozen import ServersOption, report, run, servers_asked
from slackwater.cli.options import ConfigOption, JsonOption
from slackwater.cli.say import say
from slackwater.config import Config
from slackwater.errors import (
    EXIT_REFUSED,
    EXIT_UNDONE,
    Refused,
    SlackwaterError,
    StepFailed,
)
from slackwater.facts.backup import LOCK_SAYS, LockKind
from slackwater.facts.duration import seconds
from slackwater.operations.snapshot import freeze as operation
from slackwater.operations.snapshot.backup_moment import OLDER_THAN_S
from slackwater.operations.snapshot.freeze import Asked
from slackwater.operations.snapshot.look import Look, look
from slackwater.rules import backup

DURATION_HELP = "such as 500ms, 30s or 2m"


def duration(text: str) -> float:
    """A length of time on the command line."""
    try:
        return seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def freeze(
    server: ServersOption = None,
    lock: Annotated[
        LockKind | None,
        typer.Option("--lock", help="Which lock [default: the mildest with an exact position]."),
    ] = None,
    within: Annotated[
        str, typer.Option("--within", help=f"Give up after this time: {DURATION_HELP}.")
    ] = "20s",
    hold: Annotated[
        str, typer.Option("--hold", help="The server frees the lock by itself after this time.")
    ] = "60s",
    grace: Annotated[
        str, typer.Option("--grace", help="How long clients may wait behind one attempt.")
    ] = "500ms",
    coordinates: Annotated[
        Path | None,
        typer.Option("--coordinates", help="File for the position [default: in the data]."),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it would do; touch nothing.")]
    = False,
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lock a server for a snapshot that somebody else takes; `thaw` ends it and proves it.

    Returns 0 only when the lock is held. When it fails, nothing is left behind.
    """
    settings = config.load(config.find(file))
    limits = duration(within), duration(hold), duration(grace)
    names = servers_asked(settings, server)
    if coordinates is not None and len(names) > 1:
        raise typer.BadParameter("--coordinates is for one server")
    begun = clock.unix()
    try:
        done = run(_freeze(settings, names, lock, limits, coordinates, plan=plan))
    except (SlackwaterError, asyncio.CancelledError) as error:
        raise typer.Exit(_failed("freeze", names, begun, error, as_json=as_json)) from None
    if plan:
        say(json.dumps({"operation": "freeze", "servers": done}) if as_json else
            "\n".join(d["text"] for d in done))
        raise typer.Exit(EXIT_REFUSED if any(d["refusals"] for d in done) else 0)
    if as_json:
        say(json.dumps(report("freeze", "done", begun, servers=done)))
        return
    for one in done:
        where = one["coordinates"]
        say(f"{one['server']}: frozen, {LOCK_SAYS[LockKind(one['lock'])]}, after"
            f" {one['waited_s']:g} s; snapshot {one['snapshot']}; at {where['binlog_file']}:"
            f"{where['binlog_position']}, GTIDs {where['gtids'] or '(none)'}")


async def _freeze(
    settings: Config, names: list[str], lock: LockKind | None, limits: tuple[float, float, float],
    coordinates: Path | None, *, plan: bool,
) -> list[dict[str, Any]]:
    """All of them, or none."""
    within_s, hold_s, grace_s = limits
    until = clock.mono() + within_s
    done: list[dict[str, Any]] = []
    try:
        for name in names:
            seen = await _look(settings, name, lock, within_s, until)
            choice = backup.for_freeze(seen.data)
            kind = lock or choice.kind
            reasons = backup.refused_freeze(kind, seen.data)
            if plan:
                why = choice.why if lock is None else ("it was asked for",)
                done.append(_planned(name, kind, why, seen, limits, reasons))
                continue
            if reasons:
                raise Refused(f"cannot freeze {name}", reasons)
            asked = Asked(name, kind, until - clock.mono(), hold_s, grace_s, coordinates)
            done.append(await operation.freeze(settings, asked, seen.says))
    except BaseException:
        for one in reversed([] if plan else done):
            with contextlib.suppress(SlackwaterError):
                await asyncio.shield(operation.thaw(settings, one["server"], abandon=True))
        raise
    return done


async def _look(
    settings: Config, name: str, lock: LockKind | None, within_s: float, until: float
) -> Look:
    """Raises OutsideError, or StepFailed when the time for the whole freeze is over."""
    left_s = max(0.0, until - clock.mono())
    try:
        async with asyncio.timeout(left_s):
            # Only a lock that lets writes go on depends on what the tables are.
            return await look(settings, name, engines_too=lock is LockKind.INSTANCE,
                              within_s=left_s)
    except TimeoutError:
        raise StepFailed(f"cannot freeze {name} within {within_s:g} s: it was still being looked"
                         " at", hint="give more time with --within") from None


def _planned(
    name: str, kind: LockKind, why: tuple[str, ...], seen: Look,
    limits: tuple[float, float, float], reasons: list[str],
) -> dict[str, Any]:
    within_s, hold_s, grace_s = limits
    blocking = backup.in_the_way(
        kind, seen.running, waits_for_reads=seen.reads_wait, older_than_s=OLDER_THAN_S
    )
    lines = [f"Freeze {name} ({seen.says.version}):"]
    lines += [f"  lock: {LOCK_SAYS[kind]}"]
    lines += [f"  because {each}" for each in why]
    lines.append(f"  within {within_s:g} s; clients wait behind one attempt for {grace_s:g} s at"
                 f" most; the server frees the lock after {hold_s:g} s by itself")
    lines += [f"  in the way now: {s}" for s in blocking]
    lines += [f"  it would be refused: {r}" for r in reasons]
    return {"server": name, "lock": kind.value, "why": list(why), "refusals": reasons,
            "in_the_way": [str(s) for s in blocking], "text": "\n".join(lines)}


def _failed(
    operation_name: str, names: list[str], begun: float, error: BaseException, *, as_json: bool
) -> int:
    refused = isinstance(error, Refused)
    said = str(error) or "cut short by a signal"
    if as_json:
        say(json.dumps(report(operation_name, "refused" if refused else "undone", begun,
                              reasons=error.reasons if isinstance(error, Refused) else [said],
                              servers=[{"server": n} for n in names])))
    else:
        print(f"slackwater: {said}", file=sys.stderr)
        print("  nothing is locked, nothing was left behind", file=sys.stderr)
        if hint := getattr(error, "hint", ""):
            print(f"  try: {hint}", file=sys.stderr)
    return EXIT_REFUSED if refused else EXIT_UNDONE
