"""A scratch schema on the passive: made without a trace in the binary log, and gone afterwards.

What a killed process leaves is small and read-only still: an empty schema, and on MySQL
super_read_only off while read_only is on. A file in the state directory says so before it is done;
`recover`, or the next run, puts both right.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from slackwater.errors import OutsideError, Refused
from slackwater.outside import state_file
from slackwater.outside.mysql import schema as mysql_schema
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.schema import PREFIX
from slackwater.outside.mysql.session import MysqlError, Session

_LOCK = "slackwater lint"
# Not "= 1": the server may have become the active one meanwhile, and would be closed to clients.
_CLOSE = "SET GLOBAL super_read_only = @@GLOBAL.read_only"


@dataclass
class Scratch:
    """The session that has it, its name, and the sql_mode of the server's clients."""

    session: Session
    name: str
    sql_mode: str


def rows_name(name: str) -> str:
    """The schema beside a scratch schema, for tables with rows."""
    return f"{name}_rows"


@contextlib.asynccontextmanager
async def scratch(
    session: Session, notes: Path | None, *, like: str
) -> AsyncIterator[Scratch]:
    """An empty schema of our own, the session's default, where new tables get the character set
    that they get in `like`. `notes`: the file for this server, None
    for a server that nobody else uses. Raises Refused when another linter is at work there."""
    if not int(await session.value("SELECT GET_LOCK(%s, 5)", _LOCK, limit_s=10) or 0):
        raise Refused(f"cannot lint on {session.at.name}", ["another linter is at work there"])
    try:
        sql_mode = await mysql_schema.privately(session)
    except MysqlError as error:
        raise _not_allowed(session, error) from error
    was_on = await _super_read_only(session) or _noted(notes)
    name = f"{PREFIX}{session.connection_id}"
    if was_on and notes is not None:
        notes.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        state_file.write(notes, {"server": session.at.name, "super_read_only": True})
    try:
        if was_on:
            await session.run("SET GLOBAL super_read_only = 0")
        try:
            for left in await mysql_schema.left_behind(session):
                await mysql_schema.drop_scratch(session, left)
            await mysql_schema.create_scratch(session, name, like=like)
        except MysqlError as error:
            name = ""
            raise _not_allowed(session, error) from error
        yield Scratch(session, name, sql_mode)
    finally:
        await _clean_up(session, name, was_on=was_on, notes=notes)


async def left_by_killed(session: Session, notes: Path) -> str:
    """What a linter that was killed has left on this server, in words; "" for nothing, or while a
    linter is at work there."""
    if await mysql_server.lock_owner(session, _LOCK) is not None:
        return ""
    schemas = await mysql_schema.without_owner(session)
    found = ["super_read_only off"] if _noted(notes) else []
    return " and ".join(found + [f"the schema {s}" for s in schemas])


async def put_back(session: Session, notes: Path) -> bool:
    """Take away what a killed linter has left. `session`: one of its own, to be closed afterwards.
    False: a linter is at work there, and does it by itself."""
    if not int(await session.value("SELECT GET_LOCK(%s, 1)", _LOCK, limit_s=5) or 0):
        return False
    await mysql_schema.privately(session)
    was_on = await _super_read_only(session) or _noted(notes)
    try:
        for left in await mysql_schema.left_behind(session):
            if was_on:
                await session.run("SET GLOBAL super_read_only = 0")
            await mysql_schema.drop_scratch(session, left)
    finally:
        if was_on:
            await session.run(_CLOSE)
    notes.unlink(missing_ok=True)
    return True


def _not_allowed(session: Session, error: MysqlError) -> Refused:
    return Refused(f"cannot lint on {session.at.name}", [str(error)],
                   hint="docs/howto/lint.md lists the grants that it takes")


async def _super_read_only(session: Session) -> bool:
    row = (await session.rows(dialect(session.flavour).read_only))[0]
    return str(row["SUPER_READ_ONLY"] or "0") in ("1", "ON")


def _noted(notes: Path | None) -> bool:
    said = state_file.read(notes) if notes is not None else None
    return bool(said and said.get("super_read_only"))


async def _clean_up(session: Session, name: str, *, was_on: bool, notes: Path | None) -> None:
    """Also when the session was lost or cancelled: then with a new one, whose wait for a statement
    that still runs there is short."""
    own = session.broken is None
    link = session if own else await Session.open(session.at)
    try:
        if not own:
            await mysql_schema.privately(link)
            await link.value("SELECT GET_LOCK(%s, 2)", name, limit_s=5)
        try:
            if name:
                await mysql_schema.drop_scratch(link, rows_name(name))
                await mysql_schema.drop_scratch(link, name)
        finally:
            if was_on:
                await link.run(_CLOSE)
            if notes is not None:
                notes.unlink(missing_ok=True)
        if own:
            await link.value("SELECT RELEASE_LOCK(%s)", _LOCK)
    except OutsideError as error:
        error.hint = error.hint or "run the linter again: it removes what was left"
        raise
    finally:
        if not own:
            await link.close()
