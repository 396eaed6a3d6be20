"""`slackwater freeze` and `slackwater thaw`: for the hooks of hypervisors and backup programs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from slackwater import clock, config
from slackwater.cli.operate import say
from slackwater.cli.options import ConfigOption, JsonOption
from slackwater.config import Config
from slackwater.errors import (
    EXIT_REFUSED,
    EXIT_STUCK,
    EXIT_UNDONE,
    ConfigError,
    Refused,
    SlackwaterError,
)
from slackwater.facts.backup import LOCK_SAYS, LockKind
from slackwater.facts.duration import seconds
from slackwater.operations.snapshot import freeze as operation
from slackwater.operations.snapshot.backup_moment import OLDER_THAN_S
from slackwater.operations.snapshot.freeze import Asked, Thawed
from slackwater.operations.snapshot.look import Look, look
from slackwater.rules import backup

Result = TypeVar("Result")
DURATION_HELP = "such as 500ms, 30s or 2m"
ServersOption = Annotated[
    list[str] | None,
    typer.Option("--server", help="Which server; several times for several [default: the only]."),
]


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
        say(json.dumps(_report("freeze", "done", begun, servers=done)))
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
            seen = await look(settings, name)
            choice = backup.for_freeze(seen.data)
            kind = lock or choice.kind
            reasons = _refusals(kind, seen)
            if plan:
                why = choice.why if lock is None else ("it was asked for",)
                done.append(_planned(name, kind, why, seen, limits, reasons))
                continue
            if reasons:
                raise Refused(f"cannot freeze {name}", reasons)
            left_s = max(0.5, until - clock.mono())
            asked = Asked(name, kind, left_s, hold_s, grace_s, coordinates)
            done.append(await operation.freeze(settings, asked, seen.says))
    except BaseException:
        for one in reversed([] if plan else done):
            with contextlib.suppress(SlackwaterError):
                await asyncio.shield(operation.thaw(settings, one["server"], abandon=True))
        raise
    return done


def _refusals(kind: LockKind, seen: Look) -> list[str]:
    if kind is LockKind.NONE:
        return ["a freeze without a lock freezes nothing"]
    words = ", ".join(k.value for k in seen.data.offered)
    return [] if kind in seen.data.offered else [
        f"this server has no lock of the kind {kind.value!r}; it has: {words}"
    ]


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
        say(json.dumps(_report("thaw", outcome, begun, reasons=reasons, servers=[
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


def _failed(
    operation_name: str, names: list[str], begun: float, error: BaseException, *, as_json: bool
) -> int:
    refused = isinstance(error, Refused)
    said = str(error) or "cut short by a signal"
    if as_json:
        say(json.dumps(_report(operation_name, "refused" if refused else "undone", begun,
                               reasons=error.reasons if isinstance(error, Refused) else [said],
                               servers=[{"server": n} for n in names])))
    else:
        print(f"slackwater: {said}", file=sys.stderr)
        print("  nothing is locked, nothing was left behind", file=sys.stderr)
        if hint := getattr(error, "hint", ""):
            print(f"  try: {hint}", file=sys.stderr)
    return EXIT_REFUSED if refused else EXIT_UNDONE


def _report(operation_name: str, outcome: str, begun: float, **more: Any) -> dict[str, Any]:
    return {"operation": operation_name, "outcome": outcome, "steps": [],
            "started": clock.text(begun), "ended": clock.text(clock.unix()), **more}

