"""`slackwater alter rehearse`: a schema change and the application's statements, on a throwaway
pair."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from slackwater import clock, config
from slackwater.cli import alter_offline, rehearse_page
from slackwater.cli.alter_lint import statements_text
from slackwater.cli.interrupts import interruptible
from slackwater.cli.operate import finish, opened, refused, say
from slackwater.cli.options import ConfigOption, JsonOption, PairOption
from slackwater.cli.present import Presenter
from slackwater.errors import EXIT_REFUSED, Refused, UsageError
from slackwater.facts import statement_log
from slackwater.facts.alter_link import PairSettings, Settings
from slackwater.facts.alter_script import ScriptError, Statement
from slackwater.facts.flavour import Flavour, Vendor
from slackwater.facts.server import ServerAddress
from slackwater.facts.statement_log import Heard
from slackwater.lab.instance import Instance
from slackwater.lab.throwaway import throwaway_pair
from slackwater.operations import rehearse as operation
from slackwater.operations.lint import read
from slackwater.operations.lint_pair import active_and_passive, database_of, settings_of
from slackwater.operations.pair_world import PairWorld
from slackwater.outside import mysql_rehearse
from slackwater.outside.mysql_dialect import alter_traits
from slackwater.outside.mysql_rehearse import Schema
from slackwater.outside.row_text import identifier
from slackwater.outside.schema_copy import Made
from slackwater.outside.server_programs import Program, at, installed

OPERATION = "alter rehearse"
NO_STATEMENTS = (
    "give them with --statements FILE: SQL, a general log (SET GLOBAL general_log = 1), or a slow "
    "log (long_query_time = 0); MySQL 8 and newer remember samples by themselves"
)


@dataclass
class _Scene:
    """What is rehearsed, wherever it comes from; `real`: the version of the pair's servers."""

    schema: Schema
    database: str
    links: PairSettings
    wanted: dict[str, str]
    heard: Heard
    real: Flavour | None
    notes: list[str] = field(default_factory=list)


def rehearse(
    script: Annotated[
        str | None, typer.Argument(metavar="FILE", help="The change; - is standard input.")
    ] = None,
    sql: Annotated[str | None, typer.Option("--sql", help="The change itself.")] = None,
    database: Annotated[
        str | None,
        typer.Option("--database", help="Where its tables are [the only one that has tables]."),
    ] = None,
    statements: Annotated[
        Path | None,
        typer.Option("--statements", help="What the application says: a file of SQL, a general or "
                                          "a slow log [MySQL 8: what the active remembers]."),
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", min=0, max=1000, help="Rows copied of each table.")
    ] = 0,
    schema: Annotated[
        Path | None,
        typer.Option("--schema", help="A dump of the schema, in place of the pair's."),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option("--server", help="mariadb-10.11, mysql-9.7, … or a server's folder "
                                      "[the pair's version, if it is installed here]."),
    ] = None,
    binlog_format: Annotated[
        str, typer.Option("--format", help="With --schema: binlog_format of the pair.")
    ] = "ROW",
    row_image: Annotated[
        str, typer.Option("--row-image", help="With --schema: binlog_row_image of the pair.")
    ] = "FULL",
    file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rehearse a change on two throwaway servers, with the application's own statements.

    They run while only one server has the change, in both directions. It says which of them get an
    error from the new schema, which stop replication, and which rows differ afterwards. The pair
    is only read. Exit code 0: nothing breaks; 1: something does.

    Examples:

      slackwater alter rehearse change.sql --statements application.sql

      slackwater alter change.sql --rehearse --sample 50
    """
    begun = clock.unix()
    name = script if script is not None else "--sql"
    presenter = Presenter(as_json=as_json)
    try:
        change = read(statements_text(Path(script) if script is not None else None, sql), name)
        if schema is not None:
            scene = _offline(schema, server, database, statements, binlog_format, row_image)
        else:
            scene = asyncio.run(_look(file, pair, database, statements, sample))
        if not scene.heard.statements:
            raise Refused("cannot rehearse", ["there is no statement of the application to run"],
                          hint=NO_STATEMENTS)
        program, about = _program(server, scene.real)
        scene.notes += about
        with throwaway_pair(program) as servers:
            done = asyncio.run(_rehearse(change, scene, servers, presenter))
    except Refused as error:
        if not as_json:
            raise
        raise typer.Exit(finish(refused(OPERATION, error, begun), as_json=True)) from error
    finally:
        presenter.finish()
    told = rehearse_page.Told(name, scene.database, program.name, scene.heard, done, scene.notes,
                              begun, clock.unix())
    say(rehearse_page.page(told, as_json=as_json))
    raise typer.Exit(EXIT_REFUSED if done.judgement.problems else 0)


async def _rehearse(
    change: list[Statement], scene: _Scene, servers: tuple[Instance, Instance],
    presenter: Presenter,
) -> operation.Rehearsed:
    def tell(text: str) -> None:
        presenter.tell({"at": clock.unix(), "event": "told", "text": text})

    asked = operation.Asked(change, scene.database, scene.schema, scene.heard.statements,
                            scene.links, scene.wanted, tell)
    source, replica = (ServerAddress(s.directory.name, "root", socket=str(s.socket))
                       for s in servers)
    with interruptible() as interrupts:
        return await interrupts.look(operation.rehearse(
            asked, source, replica, servers[0].port, secrets.token_hex(12)))


async def _look(
    file: Path | None, pair: str | None, database: str | None, statements: Path | None,
    sample: int,
) -> _Scene:
    """Read the pair: the schema from the passive, what is said from the active."""
    settings = config.load(config.find(file))
    with interruptible() as interrupts:
        async with opened(settings, settings.pair(pair)[0]) as world:
            return await interrupts.look(_read(world, database, statements, sample))


async def _read(
    world: PairWorld, database: str | None, statements: Path | None, sample: int
) -> _Scene:
    active, passive = await active_and_passive(world, "cannot rehearse")
    at_active = await world.session(active)
    session = await world.servers[passive].fresh()
    try:
        links = PairSettings(first=await settings_of(session), other=await settings_of(at_active))
        name = await database_of(session, database)
        if statements is not None:
            heard = _heard(statements, name)
        else:
            heard = statement_log.chosen(f"performance_schema of {active}",
                                         await mysql_rehearse.digests(at_active))
        schema = await mysql_rehearse.read_schema(session, sample=sample)
        wanted = await mysql_rehearse.settings(at_active)
        return _Scene(schema, name, links, wanted, heard, session.flavour)
    finally:
        await session.close()


def _offline(
    schema: Path, server: str | None, database: str | None, statements: Path | None,
    binlog_format: str, row_image: str,
) -> _Scene:
    if server is None or statements is None:
        raise UsageError("with --schema it takes --server and --statements too")
    if binlog_format.upper() not in ("ROW", "STATEMENT", "MIXED"):
        raise UsageError(f"--format is ROW, STATEMENT or MIXED, not {binlog_format}")
    name = database or alter_offline.DATABASE
    program = alter_offline.program_named(server)
    flavour = _flavour(program)
    own = Settings.read({"binlog_format": binlog_format, "binlog_row_image": row_image},
                        alter_traits(flavour))
    made = Schema({name: f"CREATE DATABASE {identifier(name)}"})
    for each in alter_offline.read_dump(schema):
        one = Made(name, "", mysql_rehearse.anonymous(each.text))
        (made.tables if each.has("TABLE") and not each.has("TRIGGER") else made.programs
         ).append(one)
    return _Scene(made, name, PairSettings(own, own), {}, _heard(statements, name), flavour)


def _heard(path: Path, database: str) -> Heard:
    try:
        with path.open(encoding="utf-8", errors="backslashreplace") as opened_file:
            text = opened_file.read(statement_log.LONGEST)
        return statement_log.read(text, database)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ScriptError as error:
        raise Refused(f"cannot read {path}", [str(error)]) from error


def _flavour(program: Program) -> Flavour:
    return Flavour(Vendor.MARIADB if program.is_mariadb else Vendor.MYSQL, program.version)


def _program(server: str | None, real: Flavour | None) -> tuple[Program, list[str]]:
    """The server to rehearse with: the one asked for, else the pair's series, else its vendor's
    nearest; and what is to be said of a version that differs."""
    if server is not None:
        program = at(Path(server)) if Path(server).is_dir() else alter_offline.program_named(server)
    else:
        assert real is not None
        same = [p for p in installed() if _flavour(p).vendor is real.vendor]
        if not same:
            raise Refused("cannot rehearse", [f"no server like {real} is installed here"],
                          hint="get one with scripts/servers/get, or name its folder: --server DIR")
        wanted = real.version[0] * 100 + real.version[1]
        program = min(same, key=lambda p: abs(p.version[0] * 100 + p.version[1] - wanted))
    flavour = _flavour(program)
    if real is None or flavour == real:
        return program, []
    if (flavour.vendor, flavour.version[:2]) == (real.vendor, real.version[:2]):
        return program, [f"rehearsed on {flavour}; the pair has {real}, of the same series"]
    return program, [f"REHEARSED ON ANOTHER VERSION: {flavour}, while the pair has {real}; what "
                     "was found may be otherwise there"]
