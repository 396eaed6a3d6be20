"""Lint against a dump of the schema, in a throwaway server of the version that is named."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from slackwater.errors import Refused, UsageError
from slackwater.facts.alter_link import PairSettings, Settings
from slackwater.facts.alter_script import ScriptError, Statement, split
from slackwater.facts.server import ServerAddress
from slackwater.lab.instance import Instance
from slackwater.operations.alter.lint import LintReport
from slackwater.operations.alter.lint import lint as lint_on
from slackwater.outside.mysql import schema as mysql_schema
from slackwater.outside.mysql.dialect import alter_traits
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.outside.server_programs import Program, at, installed

LONGEST_DUMP = 16 * 1024 * 1024
DATABASE = "dump"
START_LIMIT_S = 120.0


def lint(
    script: list[Statement], schema: Path | None, server: str | None, *, binlog_format: str,
    row_image: str,
) -> LintReport:
    """Start the server, load the dump, lint, and remove all of it. Raises Refused, UsageError."""
    if schema is None or server is None:
        raise UsageError("offline it takes both --schema and --server")
    if binlog_format.upper() not in ("ROW", "STATEMENT", "MIXED"):
        raise UsageError(f"--format is ROW, STATEMENT or MIXED, not {binlog_format}")
    program = program_named(server)
    dump = read_dump(schema)
    with tempfile.TemporaryDirectory(prefix="slackwater-lint-") as folder:
        place = Path(folder).resolve()
        place.chmod(0o711)
        # Without a binary log: nobody reads it.
        made = Instance.create(program, place / "s", server_id=1, mark=place)
        try:
            made.start(START_LIMIT_S)
            said = {"binlog_format": binlog_format, "binlog_row_image": row_image}
            return asyncio.run(_lint(made, script, dump, said, schema))
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


def read_dump(schema: Path) -> list[Statement]:
    """What makes tables and triggers in a dump of a schema. Raises Refused, UsageError."""
    try:
        text = schema.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"cannot read {schema}", ["it is not UTF-8 text"]) from error
    except OSError as error:
        raise UsageError(f"cannot read {schema}: {error.strerror}") from error
    try:
        found = split(text, longest=LONGEST_DUMP, most=100_000)
    except ScriptError as error:
        raise Refused(f"cannot read {schema}", [str(error)],
                      hint="make it with mysqldump --no-data") from error
    wanted = [s for s in found if s.begins("CREATE") or s.begins("ALTER")
              or (s.words[0] == "" and s.has("TRIGGER"))]
    return [s for s in wanted if not s.begins("CREATE", "DATABASE")
            and not s.has("DISABLE", "KEYS") and not s.has("ENABLE", "KEYS")]


async def _lint(
    made: Instance, script: list[Statement], dump: list[Statement], said: dict[str, str],
    schema: Path,
) -> LintReport:
    async with await Session.open(ServerAddress(made.program.name, "root", socket=str(made.socket))
                                  ) as session:
        await session.run(f"CREATE DATABASE {DATABASE}")
        await session.run(f"USE {DATABASE}")
        await session.run("SET SESSION foreign_key_checks = 0")
        for statement in dump:
            try:
                await session.run(statement.text, limit_s=mysql_schema.STATEMENT_LIMIT_S)
            except MysqlError as error:
                raise Refused(f"cannot load {schema}", [f"line {statement.line}: {error.text}"],
                              hint="make it with mysqldump --no-data") from error
        settings = Settings.read(said, alter_traits(session.flavour))
        return await lint_on(session, script, DATABASE, PairSettings(settings, settings), None)
