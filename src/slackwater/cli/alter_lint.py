"""`slackwater alter lint`: judge a change of the schema."""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from slackwater import config
from slackwater.cli import alter_offline, alter_page
from slackwater.cli.operate import opened, say
from slackwater.cli.options import ConfigOption, JsonOption, PairOption
from slackwater.errors import EXIT_REFUSED, Refused, UsageError
from slackwater.facts.alter_script import LONGEST, Statement
from slackwater.operations.alter.lint import LintReport, read
from slackwater.operations.alter.lint_pair import lint_pair
from slackwater.rules.alter.verdict import Level


def lint(
    script: Annotated[
        Path | None, typer.Argument(help="A file of SQL statements; - is standard input.")
    ] = None,
    sql: Annotated[str | None, typer.Option("--sql", help="The statements themselves.")] = None,
    database: Annotated[
        str | None,
        typer.Option("--database", help="Where its tables are [the only one that has tables]."),
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option("--schema", help="Offline: a dump of the schema; needs --server."),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option("--server", help="Offline: mariadb-10.11, mysql-9.7, … or a server's folder."),
    ] = None,
    binlog_format: Annotated[
        str, typer.Option("--format", help="Offline: binlog_format of the pair.")
    ] = "ROW",
    row_image: Annotated[
        str, typer.Option("--row-image", help="Offline: binlog_row_image of the pair.")
    ] = "FULL",
    sarif: Annotated[bool, typer.Option("--sarif", help="SARIF 2.1.0 on standard output.")] = False,
    github: Annotated[
        bool, typer.Option("--github", help="Annotations for GitHub's workflows.")
    ] = False,
    file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a schema change: can both servers replicate to each other while one has it?

    Exit code 0: nothing is refused; 1: something is.
    """
    form = alter_page.form(as_json=as_json, sarif=sarif, github=github)
    name = str(script) if script is not None else "--sql"
    try:
        statements = read(statements_text(script, sql), name)
        if schema is not None or server is not None:
            report = alter_offline.lint(statements, schema, server,
                                        binlog_format=binlog_format, row_image=row_image,
                                        database=database)
        else:
            report = _online(statements, file, pair, database)
    except Refused as error:
        if form == "text":
            raise
        say(alter_page.refused(error, form, name))
        raise typer.Exit(EXIT_REFUSED) from error
    say(alter_page.page(report, form, name))
    raise typer.Exit(EXIT_REFUSED if report.level is Level.REFUSED else 0)


def statements_text(script: Path | None, sql: str | None) -> str:
    """What a file, standard input or --sql has. Raises Refused, UsageError."""
    if (script is None) == (sql is None):
        raise UsageError("give either a file or --sql")
    if sql is not None:
        return sql
    assert script is not None
    try:
        if str(script) == "-":
            return beginning(sys.stdin.buffer)
        with script.open("rb") as opened_file:
            return beginning(opened_file)
    except UnicodeDecodeError as error:
        raise Refused(f"cannot lint {script}", ["it is not UTF-8 text"]) from error
    except OSError as error:
        raise UsageError(f"cannot read {script}: {error.strerror}") from error


def beginning(source: BinaryIO) -> str:
    """As many characters as are taken, and one more, which is refused: more are not worth reading.
    Raises UnicodeDecodeError."""
    text = io.TextIOWrapper(source, encoding="utf-8", newline="")
    try:
        return text.read(LONGEST + 1)
    finally:
        text.detach()


def _online(
    statements: list[Statement], file: Path | None, pair: str | None, database: str | None
) -> LintReport:
    settings = config.load(config.find(file))
    name, _ = settings.pair(pair)

    async def run() -> LintReport:
        async with opened(settings, name) as world:
            return await lint_pair(world, statements, database)

    return asyncio.run(run())
