"""What a rehearsal is of: the schema, the settings and the application's statements."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from slackwater import clock, config
from slackwater.cli import alter_offline
from slackwater.cli.interrupts import interruptible
from slackwater.cli.operate import opened
from slackwater.errors import Refused, UsageError
from slackwater.facts import statement_log
from slackwater.facts.alter_link import PairSettings, Settings
from slackwater.facts.alter_script import ScriptError
from slackwater.facts.flavour import Flavour, Vendor
from slackwater.facts.quoting import identifier
from slackwater.facts.statement_log import Heard
from slackwater.operations.alter.lint_pair import active_and_passive, database_of, settings_of
from slackwater.operations.pair_world import PairWorld
from slackwater.outside.mysql import rehearse as mysql_rehearse
from slackwater.outside.mysql.dialect import alter_traits
from slackwater.outside.mysql.rehearse import Schema
from slackwater.outside.mysql.schema_copy import Made
from slackwater.outside.mysql.session import Session
from slackwater.outside.server_programs import Program, at, installed

TELL_S = 5.0  # how often it is said how far a log has been read
Tell = Callable[[str], None]


@dataclass
class Scene:
    """What is rehearsed, wherever it comes from; `real`: the version of the pair's servers."""

    schema: Schema
    database: str
    links: PairSettings
    wanted: dict[str, str]
    heard: Heard
    real: Flavour | None
    notes: list[str] = field(default_factory=list)


def of_pair(
    file: Path | None, pair: str | None, database: str | None, statements: Path | None,
    sample: int, tell: Tell,
) -> Scene:
    """Read the pair: the schema from the passive, what is said from the active."""
    settings = config.load(config.find(file))

    async def look() -> Scene:
        with interruptible() as interrupts:
            async with opened(settings, settings.pair(pair)[0]) as world:
                return await interrupts.look(
                    _read(world, database, sample, digests=statements is None))

    scene = asyncio.run(look())
    if statements is not None:  # when no session is open any more: a long log takes a minute
        ansi = "ANSI_QUOTES" in scene.wanted.get("sql_mode", "")
        scene.heard = _heard(statements, scene.database, tell, ansi=ansi)
    return scene


async def _read(
    world: PairWorld, database: str | None, sample: int, *, digests: bool
) -> Scene:
    active, passive = await active_and_passive(world, "cannot rehearse")
    at_active = await world.session(active)
    session = await world.servers[passive].fresh()
    try:
        links = PairSettings(first=await settings_of(session), other=await settings_of(at_active))
        name = await database_of(session, database)
        wanted = await mysql_rehearse.settings(at_active)
        heard = await _digests(at_active, active) if digests else Heard("")
        schema = await mysql_rehearse.read_schema(session, sample=sample)
        return Scene(schema, name, links, wanted, heard, session.flavour)
    finally:
        await session.close()


async def _digests(at_active: Session, active: str) -> Heard:
    heard = statement_log.chosen(f"performance_schema of {active}",
                                 await mysql_rehearse.digests(at_active))
    if lost := await mysql_rehearse.forgotten(at_active):
        heard.notes.append(
            f"performance_schema had no place for {lost} statements that were run "
            "(performance_schema_digests_size): whatever they are, they were not rehearsed")
    return heard


def of_dump(
    schema: Path, server: str | None, database: str | None, statements: Path | None,
    binlog_format: str, row_image: str, tell: Tell,
) -> Scene:
    """From a dump, without a pair."""
    if server is None or statements is None:
        raise UsageError("with --schema it takes --server and --statements too")
    if binlog_format.upper() not in ("ROW", "STATEMENT", "MIXED"):
        raise UsageError(f"--format is ROW, STATEMENT or MIXED, not {binlog_format}")
    name, dump = alter_offline.read_dump(schema, database)
    flavour = _flavour(alter_offline.program_named(server))
    own = Settings.read({"binlog_format": binlog_format, "binlog_row_image": row_image},
                        alter_traits(flavour))
    made = Schema({name: dump.makes.get(name, f"CREATE DATABASE {identifier(name)}")})
    for each in dump.parts:
        # A zone, so that events are made, and do not run.
        one = Made(name, each.name, mysql_rehearse.anonymous(each.text), each.sql_mode or "",
                   zone="SYSTEM" if each.kind == "event" else "")
        (made.programs if each.kind else made.tables).append(one)
    return Scene(made, name, PairSettings(own, own), {}, _heard(statements, name, tell), flavour)


def _heard(path: Path, database: str, tell: Tell, *, ansi: bool = False) -> Heard:
    most = statement_log.LONGEST
    begun = told = clock.mono()

    def watch(done: int) -> None:
        nonlocal told
        if done and clock.mono() > told + TELL_S:
            told = clock.mono()
            share = min(1.0, done / len(text))
            left_s = (told - begun) * (1 / share - 1)
            tell(f"reading {path}: {share:.0%}, {left_s:.0f} s left")

    try:
        # Whatever bytes an application sends, and it sends others than UTF-8, are sent again.
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as opened_file:
            text = opened_file.read(most + 1)
        heard = statement_log.read(text[:most], database, ansi=ansi, watch=watch)
        if len(text) > most:
            heard.notes.append(f"only the first {most:,} characters of {path} were read")
        return heard
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ScriptError as error:
        raise Refused(f"cannot read {path}", [str(error)]) from error


def _flavour(program: Program) -> Flavour:
    return Flavour(Vendor.MARIADB if program.is_mariadb else Vendor.MYSQL, program.version)


def program(server: str | None, real: Flavour | None) -> tuple[Program, list[str]]:
    """The server to rehearse with: the one asked for, else the pair's series, else its vendor's
    nearest; and what is to be said of a version that differs."""
    if server is not None:
        found = at(Path(server)) if Path(server).is_dir() else alter_offline.program_named(server)
    else:
        assert real is not None
        there = {_flavour(p): p for p in installed()}
        nearest = real.nearest(there)
        if nearest is None:
            raise Refused("cannot rehearse", [f"no server like {real} is installed here"],
                          hint="get one with scripts/servers/get, or name its folder: --server DIR")
        found = there[nearest]
    flavour = _flavour(found)
    if real is None or flavour == real:
        return found, []
    if flavour.same_series(real):
        return found, [f"rehearsed on {flavour}; the pair has {real}, of the same series"]
    return found, [f"REHEARSED ON ANOTHER VERSION: {flavour}, while the pair has {real}; what "
                     "was found may be otherwise there"]
