"""`slackwater alter rehearse`: a schema change and the application's statements, on a throwaway
pair."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Annotated

import typer

from slackwater import clock
from slackwater.cli import rehearse_page, rehearse_scene
from slackwater.cli.alter_lint import statements_text
from slackwater.cli.interrupts import Interrupted, cleaning_up, interruptible
from slackwater.cli.operate import finish, refused, say
from slackwater.cli.options import ConfigOption, JsonOption, PairOption
from slackwater.cli.present import Presenter
from slackwater.cli.rehearse_scene import Scene, Tell
from slackwater.errors import EXIT_REFUSED, Refused, UsageError
from slackwater.facts.alter_script import Statement
from slackwater.facts.server import ServerAddress
from slackwater.lab.instance import Instance
from slackwater.lab.throwaway import throwaway_pair
from slackwater.operations.alter import rehearse as operation
from slackwater.operations.alter.lint import read

OPERATION = "alter rehearse"
NO_STATEMENTS = (
    "give them with --statements FILE: SQL, a general log (SET GLOBAL general_log = 1), or a slow "
    "log (long_query_time = 0); MySQL 8 and newer remember samples by themselves"
)
ChangeArgument = Annotated[
    str | None, typer.Argument(metavar="FILE", help="The change; - is standard input.")
]
SqlOption = Annotated[str | None, typer.Option("--sql", help="The change itself.")]
DatabaseOption = Annotated[
    str | None,
    typer.Option("--database", help="Where its tables are [the only one that has tables]."),
]
StatementsOption = Annotated[
    Path | None,
    typer.Option("--statements", help="What the application says: a file of SQL, a general or "
                                      "a slow log [MySQL 8: what the active remembers]."),
]
SampleOption = Annotated[
    int, typer.Option("--sample", min=0, max=1000, help="Rows copied of each table.")
]
SchemaOption = Annotated[
    Path | None, typer.Option("--schema", help="A dump of the schema, in place of the pair's."),
]
ServerOption = Annotated[
    str | None,
    typer.Option("--server", help="mariadb-10.11, mysql-9.7, … or a server's folder "
                                  "[the pair's version, if it is installed here]."),
]
FormatOption = Annotated[
    str, typer.Option("--format", help="With --schema: binlog_format of the pair.")
]
ImageOption = Annotated[
    str, typer.Option("--row-image", help="With --schema: binlog_row_image of the pair.")
]


def rehearse(
    script: ChangeArgument = None,
    sql: SqlOption = None,
    database: DatabaseOption = None,
    statements: StatementsOption = None,
    sample: SampleOption = 0,
    schema: SchemaOption = None,
    server: ServerOption = None,
    binlog_format: FormatOption = "ROW",
    row_image: ImageOption = "FULL",
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

    def tell(text: str) -> None:
        presenter.tell({"at": clock.unix(), "event": "told", "text": text})

    try:
        change = read(statements_text(Path(script) if script is not None else None, sql), name)
        if schema is not None and sample:
            raise UsageError("--sample copies rows of the pair, and with --schema there is none: "
                             "put INSERTs into the statements")
        if schema is not None:
            scene = rehearse_scene.of_dump(schema, server, database, statements, binlog_format,
                                           row_image, tell)
        else:
            scene = rehearse_scene.of_pair(file, pair, database, statements, sample, tell)
        if not scene.heard.statements:
            left = [f"{count} left out: {why}" for why, count in scene.heard.left_out.items()]
            raise Refused("cannot rehearse", ["there is no statement of the application to run",
                                              *left], hint=NO_STATEMENTS)
        program, about = rehearse_scene.program(server, scene.real)
        scene.notes += about
        with cleaning_up() as undoing, throwaway_pair(program) as servers:
            try:
                done = asyncio.run(_rehearse(change, scene, servers, tell))
            finally:
                undoing()
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
    change: list[Statement], scene: Scene, servers: tuple[Instance, Instance], tell: Tell
) -> operation.Rehearsed:
    asked = operation.Asked(change, scene.database, scene.schema, scene.heard.statements,
                            scene.links, scene.wanted, tell)
    source, replica = (ServerAddress(s.directory.name, "root", socket=str(s.socket))
                       for s in servers)
    with interruptible() as interrupts:
        try:
            return await interrupts.look(operation.rehearse(
                asked, source, replica, servers[0].port, secrets.token_hex(12)))
        except Interrupted:
            raise Refused("the rehearsal was ended", [
                "interrupted: nothing was found out. The pair was only read, and the throwaway "
                "servers are gone"]) from None
