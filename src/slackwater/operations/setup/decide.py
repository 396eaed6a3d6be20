"""From what was seen to what will be done: the two plans of setting up, or why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from slackwater.config import host_port
from slackwater.facts.setup import ServerSetup
from slackwater.operations.hold import restart
from slackwater.operations.setup import (
    backup_look,
    copy_clone,
    place_snapshot,
    semi,
    setup,
    writers,
)
from slackwater.operations.setup import prepare as pair_setup_prepare
from slackwater.operations.setup.backup_look import BACKUP
from slackwater.operations.setup.copy_data import CLONE, DUMP
from slackwater.operations.setup.look import SetupWorld, look, one
from slackwater.operations.setup.place_snapshot import SNAPSHOT
from slackwater.outside.mysql.account import missing_to_copy
from slackwater.plan.step import Plan
from slackwater.rules.setup import data, settings, together
from slackwater.rules.setup.data import Means, Target, Ways
from slackwater.rules.setup.settings import Fault, How

SLOW_MS = 25.0


@dataclass(frozen=True)
class Wish:
    """What was asked for on the command line. `again`: whose data is copied anew in any case; they
    are in `overwrite` too. `snapshot`: its name or path, for those that need the data. `copies`:
    whom a set-up that was cut off had copied, and from whom. `clones`: those of them by a clone of
    which nothing was known any more, and whether the plugin was loaded for it."""

    active: str | None = None
    overwrite: tuple[str, ...] = ()
    method: str = ""
    bytes_a_second: int = 0
    slow_ms: float = SLOW_MS
    again: tuple[str, ...] = ()
    snapshot: str = ""
    copies: Mapping[str, str] = field(default_factory=dict)
    clones: Mapping[str, bool] = field(default_factory=dict)


@dataclass
class Choice:
    """What a look has led to. `unprepared`: reasons once settings are to be right."""

    there: list[str] = field(default_factory=list)
    faults: tuple[Fault, ...] = ()
    notes: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    unprepared: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    prepare: Plan[Any] | None = None
    restarts: tuple[str, ...] = ()
    in_use: tuple[str, ...] = ()
    main: Plan[Any] | None = None
    title: str = ""


async def decide(world: SetupWorld, wish: Wish) -> Choice:
    """Look at everything, and say what would be done."""
    seen, reasons = await look(world)
    choice = Choice(reasons=reasons, there=[_line(s) for s in seen.values()])
    unknown = [n for n in wish.overwrite if n not in world.servers]
    choice.reasons += [f"--overwrite {n}: {world.name} has no such server" for n in unknown]
    if choice.reasons:
        return choice
    source = data.choose_source(seen, world.group.heads, wish.active, wish.copies)
    if isinstance(source, list):
        choice.reasons += source
        return choice
    # Again, and last: what a replica had before, its source has now.
    seen[source] = await one(world, source)
    ordered = {source: seen[source], **{n: s for n, s in seen.items() if n != source}}
    account = world.config.accounts.replication
    choice.reasons += together.refusals(
        ordered, source, ring=world.group.ring,
        require_tls=account is not None and account.require_tls)
    if world.group.semi_sync_ms:
        choice.reasons += [f"{s.name}: semi_sync is not set up with {s.flavour}, where it was not "
                           f"tried: take it out of [sources.{world.name}]"
                           for s in seen.values() if s.flavour.one_way_only]
    choice.notes += together.notes(ordered, source)
    _settings(world, ordered, choice)
    await _data(world, ordered, source, wish, choice)
    return choice


def _settings(world: SetupWorld, seen: dict[str, ServerSetup], choice: Choice) -> None:
    choice.faults = settings.faults(seen)
    asked = pair_setup_prepare.asked(world.config, world.name, seen, choice.faults)
    if asked.changes:
        choice.prepare = pair_setup_prepare.plan(asked)
    if world.config.accounts.replication is None:
        choice.reasons.append(
            "there is no account for replication in the file: write [accounts.replication] with "
            'password_file = "/etc/slackwater/replication" (it is made if it is not there)')
    restarts = [f.server for f in choice.faults if f.how is How.RESTART]
    choice.restarts = tuple(dict.fromkeys(restarts))
    choice.in_use = tuple(n for n in choice.restarts if seen[n].clients)
    for name, server in seen.items():
        wrong = [f for f in choice.faults if f.server == name]
        if server.own_file is None:
            if wrong:
                lines = "; ".join(f"{f.name} = {f.wanted}" for f in wrong)
                choice.reasons += [str(f) for f in wrong]
                choice.reasons.append(
                    f"{name}: these settings belong into its option file, and the configuration "
                    f"does not say where: write config_dir below [servers.{name}], or put them "
                    f"there yourself and restart it: {lines}")
            else:
                choice.notes.append(f"{name}: its option file is not looked at (no config_dir): "
                                    "read_only = ON has to be in it")
        elif name in choice.in_use and server.flavour.one_way_only:
            choice.reasons.append(
                f"{name} has to be restarted for "
                + ", ".join(f"{f.name} = {f.wanted}" for f in wrong if f.how is How.RESTART)
                + f", and clients are connected: {server.flavour} is not restarted behind the gate;"
                f" write these into its option file, and restart it when its clients can be "
                "without it")
        elif name in choice.restarts and not restart.command(world.config, name):
            choice.reasons.append(f"{name} has to be restarted for "
                                  + ", ".join(f.name for f in wrong if f.how is How.RESTART)
                                  + f": {restart.no_command(world.config, name)}")
    choice.unprepared = [f"{f} — it should be right by now: does the server read "
                         f"{_file(seen[f.server])}?" for f in choice.faults
                         if f.how is not How.LATER]


def _file(server: ServerSetup) -> str:
    return server.own_file.path if server.own_file else "its option files"


async def _data(
    world: SetupWorld, seen: dict[str, ServerSetup], source: str, wish: Wish, choice: Choice
) -> None:
    others = [n for n in seen if n != source]
    first = seen[source]
    seed = place_snapshot.find(world.config, wish.snapshot) if wish.snapshot else None
    for name in others:
        ways = (await _ways(world, first, name) if seed is None else
                Ways({SNAPSHOT: await place_snapshot.why_not(world, seed, first, seen[name])}))
        found = data.decide(seen[name], first, ways, wish.overwrite,
                            SNAPSHOT if seed else wish.method, again=name in wish.again,
                            copy=wish.copies.get(name) == source)
        if isinstance(found, Target):
            if found.means is Means.FOLLOW and wish.copies.get(name) != source:
                found = replace(found, unsure=data.by_gtids_alone(
                    seen[name], first, host_port(world.config.servers[source].address)))
            choice.targets.append(found)
            choice.reasons += together.room(seen[name], first, found)
        else:
            choice.reasons.append(found)
    choice.reasons += await _may_not(world, source, choice.targets)
    back = next((h for h in world.group.heads if h != source), "")
    if back and wish.active is not None and back not in wish.again and (
            why := data.in_use(seen[back], first)):
        choice.reasons.append(why)
    account = world.config.accounts.replication
    tls = all(s.tls and not s.flavour.one_way_only for s in seen.values())
    asked = setup.Asked(
        world.name, source, tuple(choice.targets), back,
        back_follows=bool(back) and data.follows(first, seen[back]),
        tls=tls or (account is not None and account.require_tls),
        bytes_a_second=wish.bytes_a_second, slow_ms=wish.slow_ms,
        writers=bool(wish.slow_ms) and writers.wanted(first)
        and any(t.means is Means.COPY for t in choice.targets),
        semi=await semi.wanted(world, world.group, seen, source),
        seed=(seed.snapshot, seed.path, seed.gtids) if seed else (),
        clones=tuple((n, on) for n, on in wish.clones.items() if n in others),
    )
    choice.main = setup.plan(asked)
    choice.title = choice.main.title
    choice.notes += [f"{t.name}: {t.note}" for t in choice.targets if t.note]
    choice.notes += [f"{t.name}: {t.unsure}; compare them afterwards, with `slackwater pair "
                     "compare`" for t in choice.targets if t.unsure]
    choice.notes += [f"{t.name}: {t.method} is used for the copy; {t.passed_over}"
                     for t in choice.targets if t.passed_over]
    if any(t.means is Means.COPY and t.method in (CLONE, BACKUP) for t in choice.targets):
        choice.notes.append("this copy brings the source's accounts with it, its administrator's "
                            "too")
    if seed is not None:
        used = [t.name for t in choice.targets if t.method == SNAPSHOT]
        choice.notes.append(
            f"the snapshot {seed.snapshot} of {seed.server} was taken {seed.taken} "
            + (f"and verified; {', '.join(used)} will have its accounts, the administrator's too"
               if used else "and is not needed: nobody lacks the data"))


async def _may_not(world: SetupWorld, source: str, targets: list[Target]) -> list[str]:
    """Where the administrator may not copy: begun, that would cost a target its data."""
    names = [t.name for t in targets if t.means is Means.COPY and t.method == DUMP]
    found = []
    for name in [source, *names] if names else []:
        session = await world.session(name)
        if lacks := await missing_to_copy(session):
            found.append(f"{name}: {session.at.user} lacks {', '.join(lacks)}, which it takes to "
                         "copy all there is: grant that, or name another one below "
                         "[accounts.admin]")
    return found


async def _ways(world: SetupWorld, source: ServerSetup, target: str) -> Ways:
    mariadb = source.flavour.mariadb
    better = ({BACKUP: await backup_look.why_not(world, source.name, target)} if mariadb
              else {CLONE: await copy_clone.why_not(world, source.name, target)})
    other = {CLONE: "it is MySQL's"} if mariadb else {BACKUP: "mariadb-backup is MariaDB's"}
    unasked = {BACKUP: backup_look.unasked(source.flavour)}
    return Ways({**better, DUMP: _no_dump(source), **other}, unasked)


def _no_dump(source: ServerSetup) -> str:
    """Why a copy by SQL would not be right, or ""."""
    if source.untransactional:
        return ("tables without transactions, of which no snapshot can be had while others write: "
                f"{', '.join(source.untransactional[:5])}; ALTER TABLE … ENGINE=InnoDB")
    if source.versioned:
        return ("system-versioned tables, whose history SQL does not copy: "
                + ", ".join(source.versioned[:5]))
    return ""


def _line(server: ServerSetup) -> str:
    data_said = ", ".join(s.name for s in server.data[:4]) or "no data"
    size = f", {server.size / 2**20:.0f} MiB" if server.data else ""
    role = "takes writes" if server.facts.writable else "read-only"
    replica = ""
    if channel := server.channel:
        state = "running" if channel.running else "not running"
        replica = f", replicates from {channel.source_host}:{channel.source_port} ({state})"
    marked = ", a copy of it was cut off" if server.marker else ""
    return (f"{server.name}: {server.flavour}, server id {server.facts.server_id}, {role}, "
            f"{data_said}{size}{replica}{marked}, {len(server.clients)} client(s)")
