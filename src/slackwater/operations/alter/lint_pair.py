"""Where a pair's changes are linted: which server is altered first, and how both replicate."""

from __future__ import annotations

from pathlib import Path

from slackwater.config import Config
from slackwater.errors import Refused
from slackwater.facts.alter_link import PairSettings, Settings
from slackwater.facts.alter_script import Statement, names
from slackwater.operations.alter.lint import LintReport, lint
from slackwater.operations.pair_world import PairWorld
from slackwater.outside.mysql import schema as mysql_schema
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.dialect import alter_traits
from slackwater.outside.mysql.session import Session

_VARIABLES = ("binlog_format", "binlog_row_image", "binlog_row_metadata", "slave_type_conversions",
              "replica_type_conversions", "slave_run_triggers_for_rbr")


async def settings_of(session: Session) -> Settings:
    """How a server sends and takes changes."""
    names = ",".join(f"'{v}'" for v in _VARIABLES)
    rows = await session.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")
    said = {str(r["Variable_name"]).lower(): str(r["Value"]) for r in rows}
    return Settings.read(said, alter_traits(session.flavour))


async def database_of(session: Session, asked: str | None) -> str:
    """The database to work in: the one asked for, else the only one that has tables."""
    there = await mysql_schema.user_schemas(session)
    if asked is not None:
        if asked not in there:
            raise Refused("cannot lint", [f"there is no database {asked!r} with tables in it"],
                          hint=f"there are {', '.join(there)}" if there else "")
        return asked
    if len(there) != 1:
        raise Refused("cannot lint", [f"which database? there are {', '.join(there) or 'none'}"],
                      hint="name it with --database")
    return there[0]


async def active_and_passive(world: PairWorld, title: str) -> tuple[str, str]:
    """Connect, and tell which server is which. Raises Refused(title) when that is not known."""
    await world.connect()
    missing = [f"{n}: {world.unreachable[n]}" for n in world.pair if n in world.unreachable]
    if missing:
        raise Refused(title, missing)
    writable = [n for n in world.pair
                if await mysql_server.is_writable(await world.session(n))]
    if len(writable) != 1:
        raise Refused(title, ["which server is passive is not known: "
                                      f"{' and '.join(writable) or 'none'} accepts writes"])
    active = writable[0]
    passive = world.pair[1] if active == world.pair[0] else world.pair[0]
    return active, passive


async def lint_pair(
    world: PairWorld, script: list[Statement], database: str | None
) -> LintReport:
    """Lint on the passive of a connected pair. Raises Refused when no server is known to be it."""
    active, passive = await active_and_passive(world, "cannot lint")
    links = PairSettings(first=await settings_of(await world.session(passive)),
                         other=await settings_of(await world.session(active)))
    session = await world.servers[passive].fresh()
    try:
        schema = await database_of(session, database)
        await _same_on_both(session, await world.session(active), schema, script)
        return await lint(session, script, schema, links, notes_file(world.config, passive))
    finally:
        await session.close()


async def _same_on_both(
    passive: Session, active: Session, schema: str, script: list[Statement]
) -> None:
    """A change that is half done would be judged by the wrong old definition."""
    wanted = {n.lower() for s in script for n in names(s)}
    tables = [t for t in await mysql_schema.table_names(passive, schema) if t.lower() in wanted]
    if any((s.begins("CREATE") and "TABLE" in s.words[:4]) or s.has("CONVERT") for s in script):
        has, had = [await mysql_schema.default_collation(s, schema) for s in (passive, active)]
        if has != had:
            raise Refused("cannot lint", [
                f"the database {schema} has {has} on {passive.at.name} and {had} on "
                f"{active.at.name}: a table that does not say its own would differ"],
                hint=f"ALTER DATABASE {schema} COLLATE …, with sql_log_bin = 0 on one of them")
    one, other = [await mysql_schema.texts(s, schema, tables) for s in (passive, active)]
    if differ := [t for t in tables if one[t] != other[t]]:
        raise Refused("cannot lint", [f"table {t} is not the same on {passive.at.name} and "
                                      f"{active.at.name}" for t in differ],
                      hint="finish or revert the change that is under way first")


def notes_file(config: Config, server: str) -> Path:
    """Where it is written down that a server is not as it was found."""
    return config.state_directory / f"lint-{server}.json"
