"""Lint against a dump of the schema, in a throwaway server of the version that is named."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from slackwater.errors import Refused, UsageError
from slackwater.facts import schema_dump, statement_text
from slackwater.facts.alter_link import PairSettings, Settings
from slackwater.facts.alter_script import ScriptError, Statement
from slackwater.facts.quoting import identifier
from slackwater.facts.schema_dump import Dump, Part
from slackwater.facts.server import ServerAddress
from slackwater.lab.instance import Instance
from slackwater.operations.alter.lint import LintReport
from slackwater.operations.alter.lint import lint as lint_on
from slackwater.outside.mysql import rehearse as mysql_rehearse
from slackwater.outside.mysql import schema as mysql_schema
from slackwater.outside.mysql.dialect import alter_traits
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.outside.server_programs import Program, at, installed
from slackwater.rules.alter import programs

DATABASE = "dump"  # of a dump that names none
START_LIMIT_S = 120.0


def lint(
    script: list[Statement], schema: Path | None, server: str | None, *, binlog_format: str,
    row_image: str, database: str | None = None,
) -> LintReport:
    """Start the server, load the dump, lint, and remove all of it. Raises Refused, UsageError."""
    if schema is None or server is None:
        raise UsageError("offline it takes both --schema and --server")
    if binlog_format.upper() not in ("ROW", "STATEMENT", "MIXED"):
        raise UsageError(f"--format is ROW, STATEMENT or MIXED, not {binlog_format}")
    program = program_named(server)
    name, dump = read_dump(schema, database)
    with tempfile.TemporaryDirectory(prefix="slackwater-lint-") as folder:
        place = Path(folder).resolve()
        place.chmod(0o711)
        # Without a binary log: nobody reads it.
        made = Instance.create(program, place / "s", server_id=1, mark=place)
        try:
            made.start(START_LIMIT_S)
            said = {"binlog_format": binlog_format, "binlog_row_image": row_image}
            return asyncio.run(_lint(made, script, name, dump, said, schema))
        finally:
            made.remove()


def program_named(server: str) -> Program:
    """The server that goes by this name, or is in this folder. Raises Refused."""
    if Path(server).is_dir():
        return at(Path(server))
    there = installed()
    for program in there:
        if program.name == server:
            return program
    raise Refused(
        f"cannot lint for {server}", ["no such server is installed here, and without one nothing "
                                      "can be said for certain"],
        hint=f"there are {', '.join(p.name for p in there) or 'none'}; or name a server's folder")


def read_dump(schema: Path, database: str | None) -> tuple[str, Dump]:
    """The database of a dump of a schema (the one asked for, or its only one), and what makes it.
    Raises Refused, UsageError."""
    try:
        text = schema.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"cannot read {schema}", ["it is not UTF-8 text"]) from error
    except OSError as error:
        raise UsageError(f"cannot read {schema}: {error.strerror}") from error
    try:
        dump = schema_dump.read(text)
    except ScriptError as error:
        raise Refused(f"cannot read {schema}", [str(error)],
                      hint="make it with mysqldump --no-data") from error
    there = [name for name in dump.databases if name]
    if len(dump.databases) > 1 and database not in there:
        raise Refused(f"cannot read {schema}",
                      [f"which database? it has {', '.join(there)}" if database is None else
                       f"there is no database {database!r} in it, but {', '.join(there)}"],
                      hint="name it with --database")
    if len(dump.databases) > 1:
        dump = dump.of(str(database))
    return database or (there[0] if there else DATABASE), dump


async def _lint(
    made: Instance, script: list[Statement], name: str, dump: Dump, said: dict[str, str],
    schema: Path,
) -> LintReport:
    async with await Session.open(ServerAddress(made.program.name, "root", socket=str(made.socket))
                                  ) as session:
        await _load(session, name, dump, schema)
        unmade = await _code(session, [p for p in dump.parts if p.kind])
        settings = Settings.read(said, alter_traits(session.flavour))
        report = await lint_on(session, script, name, PairSettings(settings, settings), None,
                               beside=[p.program for p, _ in unmade])
        report.notes += programs.of_a_dump(
            [c for s in report.statements for c in s.changes], {p.kind for p in dump.parts},
            [(p.program, _why(p, error)) for p, error in unmade])
        return report


async def _load(session: Session, name: str, dump: Dump, schema: Path) -> None:
    """Make its database and tables. Raises Refused."""
    # No event is to run, whatever the dump has.
    await session.run("SET GLOBAL event_scheduler = OFF")
    first = dump.makes.get(name, f"CREATE DATABASE {identifier(name)}")
    line = 0
    try:
        await session.run(first)
        await session.run(f"USE {identifier(name)}")
        await session.run("SET SESSION foreign_key_checks = 0")
        for part in dump.parts:
            if not part.kind:
                line = part.line
                await _make(session, part)
    except MysqlError as error:
        where = f"line {line}: " if line else ""
        raise Refused(f"cannot load {schema}", [f"{where}{error.text}"],
                      hint="make it with mysqldump --no-data") from error


async def _code(session: Session, parts: list[Part]) -> list[tuple[Part, MysqlError]]:
    """Make views, triggers, routines and events, each again after those that it needs; those that
    cannot be made, and why."""
    left = list(parts)
    while True:
        failed = []
        for part in left:
            try:
                await _make(session, part)
            except MysqlError as error:
                failed.append((part, error))
        if not failed or len(failed) == len(left):
            return failed
        left = [part for part, _ in failed]


def _why(part: Part, error: MysqlError) -> str:
    """The server's words, without the beginning of the statement that a session adds to them."""
    sql = statement_text.head(mysql_rehearse.anonymous(part.text))
    return error.text.removesuffix(f" ({sql})")


async def _make(session: Session, part: Part) -> None:
    """Make it under the sql_mode that the dump says, as far as this server knows that."""
    default = "SET SESSION sql_mode = DEFAULT"
    try:
        if part.sql_mode is not None:
            try:
                await session.run("SET SESSION sql_mode = %s", part.sql_mode)
            except MysqlError:  # of an older server: NO_AUTO_CREATE_USER
                await session.run("SET SESSION sql_mode = ''")
        await session.run(mysql_rehearse.anonymous(part.text),
                          limit_s=mysql_schema.STATEMENT_LIMIT_S)
    finally:
        if session.broken is None:
            await session.run(default)
