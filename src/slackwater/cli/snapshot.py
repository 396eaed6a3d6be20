"""`slackwater snapshot`: take, verify, list, prune."""

from __future__ import annotations

import asyncio
import enum
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from slackwater import clock, config
from slackwater.cli.freeze import DURATION_HELP, duration
from slackwater.cli.frozen import run, servers_asked
from slackwater.cli.operate import Proposal, operate
from slackwater.cli.options import ConfigOption, JsonOption
from slackwater.cli.say import say
from slackwater.config import Config
from slackwater.errors import EXIT_STUCK, Refused, UsageError
from slackwater.facts.backup import LockKind
from slackwater.operations.setup import verify_copy
from slackwater.operations.snapshot import pruning
from slackwater.operations.snapshot import records as snapshot_records
from slackwater.operations.snapshot import scratch as scratch_copies
from slackwater.operations.snapshot import snapshot as operation
from slackwater.operations.snapshot.look import Look
from slackwater.operations.snapshot.records import Record
from slackwater.operations.snapshot.snapshot import COMMAND, Asked, SnapshotWorld
from slackwater.outside.copies import METHODS, left_out, not_built_in
from slackwater.outside.places import LOG_BIN
from slackwater.rules import backup, retention


class _TakeUnlessNamed(TyperGroup):
    """`slackwater snapshot -- COMMAND` and `snapshot --btrfs …` mean `snapshot take …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the word that is left out."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["take", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(help="Snapshots of a server's data, proven by booting them.",
                  cls=_TakeUnlessNamed, no_args_is_help=True, rich_markup_mode=None)


class Method(enum.StrEnum):
    """A built-in way to take one."""

    BTRFS = "btrfs"
    REFLINK = "reflink"
    LVM = "lvm"
    ZFS = "zfs"  # refused, with the command that takes one


@app.command("take")
def take(
    command: Annotated[
        list[str] | None, typer.Argument(help="The command that takes the snapshot, behind --.")
    ] = None,
    method: Annotated[
        Method | None, typer.Option("--method", help="Let slackwater take it.")
    ] = None,
    target: Annotated[Path | None, typer.Option("--to", help="Where, for --method.")] = None,
    server: Annotated[str | None, typer.Option("--server", help="Which server.")] = None,
    lock: Annotated[
        LockKind | None, typer.Option("--lock", help="Which lock [default: --plan says why].")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="An exact position at once, not only by booting it.")
    ] = False,
    atomic: Annotated[
        bool, typer.Option("--atomic", help="The command shows one moment of the whole volume.")
    ] = False,
    within: Annotated[
        str, typer.Option("--within", help=f"For the lock: {DURATION_HELP}.")
    ] = "20s",
    limit: Annotated[str, typer.Option("--limit", help="For the command.")] = "60s",
    grace: Annotated[
        str, typer.Option("--grace", help="How long clients may wait behind one attempt.")
    ] = "500ms",
    plan: Annotated[bool, typer.Option("--plan", help="Print the steps; touch nothing.")] = False,
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lock as little as is needed, take a snapshot, prove that the lock held.

    Examples:

      slackwater snapshot --method btrfs --to /srv/snapshots/monday

      slackwater snapshot --atomic -- zfs snapshot tank/mysql@monday
    """
    if (command is None) == (method is None):
        raise UsageError("give either a COMMAND behind -- or --method")
    if method is not None and target is None:
        raise UsageError("--method needs --to PATH")
    names = servers_asked(config.load(config.find(file)), [server] if server else None)
    limits = duration(within), duration(limit), duration(grace)

    async def propose(world: SnapshotWorld) -> Proposal[SnapshotWorld]:
        seen = await world.look()
        is_atomic = atomic if method is None else _is_atomic(method, seen, target)
        no_log = _no_binlog(method, seen)
        needed = backup.for_snapshot(seen.data, atomic=is_atomic, exact=exact, no_binlog=no_log)
        kind = lock or needed.kind
        reasons = backup.refused(kind, needed, seen.data.offered) if lock else []
        if not kind.exact and not seen.crash_safe:
            reasons.append(
                "writes go on, and acknowledged ones may be missing: sync_binlog and"
                " innodb_flush_log_at_trx_commit are not both 1 (or ask for --lock)"
            )
        within_s, limit_s, grace_s = limits
        asked = Asked(
            snapshot_records.new_id(world.server), world.server,
            method.value if method else COMMAND, tuple(command or ()),
            str(target.absolute()) if target else "", seen.says.datadir, kind.value, within_s,
            limit_s + 10.0, grace_s, limit_s,
        )
        if plan and not as_json:
            for why in needed.why if lock is None else ("it was asked for",):
                say(f"Lock: {kind.value}, because {why}.")
        return Proposal(operation.plan(asked), reasons)

    operate("snapshot", file, lambda c: SnapshotWorld(c, names[0]), propose,
            plan_only=plan, as_json=as_json)


def _no_binlog(method: Method | None, seen: Look) -> bool:
    left = left_out(method.value, seen.source) if method and seen.source else {}
    return LOG_BIN in left


def _is_atomic(method: Method, seen: Look, target: Path | None) -> bool:
    """Raises Refused for a method that slackwater does not have."""
    if method.value not in METHODS:
        why = not_built_in(seen.source, target or Path("snapshot"))
        raise Refused("cannot take the snapshot", [why])
    return METHODS[method.value].atomic


EXIT_INTERRUPTED = 130  # what a shell says of Ctrl-C
_POSITION = {
    "equal": "is equal", "contains": "is contained", "differs": "differs",
    "unknown": "could not be compared (none was recorded, or the binary log is not in the copy)",
}


@app.command("verify")
def verify(
    path: Annotated[
        str, typer.Argument(help="The data directory in the copy, or a snapshot's name.")
    ],
    program: Annotated[
        Path | None, typer.Option("--program", help="Directory of the server program to boot it.")
    ] = None,
    scratch: Annotated[
        Path | None, typer.Option("--scratch", help="Where the throwaway copy is made.")
    ] = None,
    limit: Annotated[str, typer.Option("--limit", help=f"{DURATION_HELP}.")] = "10m",
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Boot a throwaway copy of a snapshot privately: recovery, every table, the position.

    The snapshot itself is only read. No network, no replication, no events.
    """
    settings = config.load(config.find(file))
    record = snapshot_records.load(settings, path)
    if record and not record.path:
        raise Refused(f"cannot verify {path}", ["slackwater does not know where it is"],
                      hint="mount it, and name the data directory in it")
    begun = clock.unix()
    limit_s = duration(limit)
    try:
        found = run(
            verify_copy.verify_known(
                settings, record, scratch=scratch, limit_s=limit_s, server=program)
            if record else
            verify_copy.verify(
                settings, Path(path), scratch=scratch, limit_s=limit_s, server=program)
        )
    except asyncio.CancelledError:
        print("slackwater: interrupted; the throwaway copy is removed", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    outcome = "stuck" if found.faults else "done"
    if as_json:
        say(json.dumps({"operation": "snapshot verify", "outcome": outcome, "steps": [],
                        "started": clock.text(begun), "ended": clock.text(clock.unix()),
                        **found.as_json()}))
    else:
        say(f"{found.path}: booted as {found.version}, recovered in {found.recovery_s:g} s")
        say(f"  {found.tables} tables checked; GTIDs {found.gtids or '(none)'};"
            f" the recorded position {_POSITION[found.position]}")
        for fault in found.faults:
            say(f"  NOT GOOD: {fault}")
        say("  it can seed a replica" if found.can_seed else "  it cannot seed a replica")
    raise typer.Exit(EXIT_STUCK if found.faults else 0)


@app.command("list")
def list_snapshots(file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """All snapshots that slackwater knows, and what is known of them."""
    settings = config.load(config.find(file))
    records, left = snapshot_records.every(settings), scratch_copies.left(settings)
    if as_json:
        say(json.dumps({"operation": "snapshot list", "snapshots": [r.as_json() for r in records],
                        "left": [str(p) for p in left]}))
        return
    for record in records:
        proven = ", booted and good" if record.proven else ""
        say(f"{record.id}  {record.method:8} lock {record.lock:9} {record.verdict}{proven}"
            f"  {record.path}{'  (' + record.why + ')' if record.why else ''}")
    if not records:
        say("no snapshots")
    for path in left:
        say(f"{path} was left by a verify that was killed; the next one removes it")


@app.command("prune")
def prune(
    names: Annotated[list[str] | None, typer.Argument(help="Snapshots, by name.")] = None,
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, help="Or all but so many of each server.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say which; touch nothing.")] = False,
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove snapshots, by name or by rule; never the last of a server that was proven.

    Those that slackwater took are removed, of others only what is known of them.
    """
    if bool(names) == (keep is not None):
        raise UsageError("give either names or --keep N")
    settings = config.load(config.find(file))
    going = _going(settings, names, keep)
    told = [r.id for r in going]
    left = {r.id: why for r in going if (why := pruning.why_left(r))}
    for record in going:
        if record.id in left:
            print(f"slackwater: of {record.id} only what is known of it is removed:"
                  f" {left[record.id]}", file=sys.stderr)
    if not plan:
        for record in going:
            asyncio.run(pruning.remove(settings, record))
    words = "would remove" if plan else "removed"
    say(json.dumps({"operation": "snapshot prune", "plan": plan, "removed": told, "left": left})
        if as_json else "\n".join(f"{words} {name}" for name in told) or "nothing to remove")


def _going(settings: Config, names: list[str] | None, keep: int | None) -> list[Record]:
    records = snapshot_records.every(settings)
    stay = pruning.protected(records)
    if keep is not None:
        return [r for r in retention.to_go(records, keep=keep) if r.id not in stay]
    known = {r.id: r for r in records}
    reasons = [f"there is no snapshot {n!r}" for n in names or () if n not in known]
    reasons += [f"{n} is the last of its server that was booted and found good"
                for n in names or () if n in stay]
    if reasons:
        raise Refused("cannot prune", reasons)
    return [known[n] for n in dict.fromkeys(names or ())]
