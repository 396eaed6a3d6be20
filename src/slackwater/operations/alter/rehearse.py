"""Rehearse a schema change on a throwaway pair: the application's statements, in both directions.

Three times the schema is made anew on both servers and all statements run on the source: without
the change, with it on the replica only (as until the switchover), with it on the source only (as
until `alter finish`). Then the other server gets the change too and all rows are compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slackwater import clock
from slackwater.errors import OutsideError, Refused
from slackwater.facts import statement_text
from slackwater.facts.alter_link import PairSettings
from slackwater.facts.alter_script import Statement, What, names, what
from slackwater.facts.quoting import identifier
from slackwater.facts.rehearsal import Difference, Error, Ran, Seen, Spoken, Way
from slackwater.facts.server import ServerAddress
from slackwater.operations.alter.lint import LintReport, lint
from slackwater.outside.mysql import rehearse as mysql_rehearse
from slackwater.outside.mysql.rehearse import Grid, Schema
from slackwater.outside.mysql.schema import file_mode
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.rules.rehearsal import Judgement, judge

STATEMENT_LIMIT_S = 30.0
APPLY_LIMIT_S = 60.0
FEW_TABLES = 30  # of so few, all are looked at after each write
MOST_SESSIONS = 50  # of the application, at a time
MOST_DIFFERENCES = 50  # of a kind: a table's that are in the same columns
_NOW = 1_800_000_000  # unix seconds; what NOW() is for the application's statements


@dataclass
class Asked:
    """What to rehearse. `wanted`: global settings of the real servers."""

    change: Sequence[Statement]
    database: str
    schema: Schema
    statements: Sequence[Spoken]
    links: PairSettings
    wanted: dict[str, str]
    tell: Callable[[str], None] = lambda text: None


@dataclass
class Rehearsed:
    """All that came of it."""

    lint: LintReport
    seen: dict[Way, Seen]
    judgement: Judgement
    notes: list[str]


@dataclass
class _Pair:
    """Both throwaway servers: `quiet` sessions are not in the binary log."""

    source: Session
    replica: Session
    quiet: tuple[Session, Session]
    at: ServerAddress  # of the source

    async def close(self) -> None:
        for each in (self.source, self.replica, *self.quiet):
            await each.close()


async def rehearse(
    asked: Asked, source: ServerAddress, replica: ServerAddress, port: int, password: str
) -> Rehearsed:
    """Do all of it on these two servers, which are nobody else's and empty; `port`: that of the
    source. Raises Refused when the schema or the change cannot be made at all."""
    _rehearsable(asked.change)
    failed = set[str]()
    for at in (source, replica):  # in sessions of their own: those that come later have them
        async with await Session.open(at) as session:
            failed |= set(await mysql_rehearse.take_settings(session, asked.wanted))
    pair = _Pair(await Session.open(source), await Session.open(replica),
                 (await Session.open(source), await Session.open(replica)), source)
    try:
        for session in pair.quiet:
            await session.run("SET SESSION sql_log_bin = 0")
        notes = [*asked.schema.notes, *(f"the throwaway servers do not take {f}" for f in
                                        sorted(failed))]
        unmade = await _load(pair, asked)
        notes += [f"{name} is not here: {why}" for name, why in sorted(unmade.items())]
        notes += await mysql_rehearse.other_engines(pair.quiet[0], asked.schema)
        kept = await mysql_rehearse.kept_children(pair.quiet[0], list(asked.schema.databases))
        report = await lint(pair.quiet[0], asked.change, asked.database, asked.links, None)
        if data := [s for s in asked.change if what(s) is not What.DDL]:
            notes.append(f"{len(data)} statements of the file are no DDL, and were left out")
        await mysql_rehearse.follow(pair.source, pair.replica, port, password)
        seen = {}
        for way in Way:
            asked.tell(f"{len(asked.statements)} statements, {_WORDS[way]}")
            seen[way] = await _one_way(pair, asked, report, way)
            _something_runs(seen[Way.NEITHER])
        judgement = judge(asked.statements, seen[Way.NEITHER], seen[Way.REPLICA], seen[Way.SOURCE],
                          kept)
        return Rehearsed(report, seen, judgement, notes)
    finally:
        await pair.close()


def _rehearsable(change: Sequence[Statement]) -> None:
    """Raises Refused when the file has a statement that would be left out, and is not a data
    statement (these come later in a real change too), or nothing else."""
    kinds = [what(s) for s in change]
    reasons = [f"line {s.line}: {statement_text.head(s.text)} is no change of a table, an index or "
               "a trigger" for s, kind in zip(change, kinds, strict=True) if kind is What.REFUSED]
    if not reasons and What.DDL not in kinds:
        reasons = ["the change has no DDL: data statements run when both servers are alike again"]
    if reasons:
        raise Refused("cannot rehearse", reasons,
                      hint="leave it out of the file: `slackwater alter lint` says why")


def _something_runs(unchanged: Seen) -> None:
    """Raises Refused when no statement could be judged."""
    failed = [r for r in unchanged.ran if r.error]
    if failed and len(failed) == len(unchanged.ran):
        raise Refused(
            "cannot rehearse", [f"every statement fails without the change too: {failed[0].number}"
                                f" with {failed[0].error}"],
            hint="is it the right --database? --sample N copies rows that they may need")


_WORDS = {
    Way.NEITHER: "without the change", Way.REPLICA: "the replica has the change",
    Way.SOURCE: "the source has the change",
}


async def _load(pair: _Pair, asked: Asked) -> dict[str, str]:
    said = await asyncio.gather(*(mysql_rehearse.load(q, asked.schema) for q in pair.quiet),
                                return_exceptions=True)
    for error in said:
        if isinstance(error, MysqlError):
            raise Refused("cannot rehearse", ["the schema cannot be made on the throwaway "
                                              f"servers: {error}"]) from error
        if isinstance(error, BaseException):
            raise error
    return said[0] if isinstance(said[0], dict) else {}


async def _one_way(pair: _Pair, asked: Asked, report: LintReport, way: Way) -> Seen:
    begun, seen = clock.mono(), Seen(way)
    if way is not Way.NEITHER:  # it is loaded already
        await _load(pair, asked)
    changed = {Way.REPLICA: pair.quiet[1], Way.SOURCE: pair.quiet[0]}.get(way)
    if changed is not None and (error := await _change(changed, asked)):
        raise Refused("cannot rehearse", [f"the change itself fails: {error}"])
    await _settings(pair, asked, report, way)
    touched = await _replay(pair, asked, seen)
    seen.wrote = touched.rows
    for late in pair.quiet:
        if late is not changed and seen.late is None:
            seen.late = await _change(late, asked)
    if seen.late is None:
        await _compare(pair, asked, seen, touched)
    seen.seconds = clock.mono() - begun
    return seen


async def _settings(pair: _Pair, asked: Asked, report: LintReport, way: Way) -> None:
    """Log as that direction's source does, and convert as the verdict says."""
    link = asked.links.back if way is Way.SOURCE else asked.links.forward
    modes = report.back if way is Way.SOURCE else report.forward
    modes = link.replica.conversions | (modes if way is not Way.NEITHER else frozenset())
    await pair.quiet[0].run("SET GLOBAL binlog_format = %s", link.source.format)
    await pair.quiet[0].run("SET GLOBAL binlog_row_image = %s", link.source.image)
    setting = asked.links.first.traits.conversion_setting
    await mysql_rehearse.restart_applier(
        pair.replica, f"SET GLOBAL {setting} = '{','.join(sorted(modes))}'")


async def _change(session: Session, asked: Asked) -> Error | None:
    """Run the file's DDL there, outside of the binary log."""
    await session.run("SET SESSION foreign_key_checks = 1, SESSION sql_mode = %s",
                      await file_mode(session))
    await session.run(f"USE {identifier(asked.database)}")
    for statement in asked.change:
        if what(statement) is not What.DDL:
            continue
        try:
            await session.run(statement.text, limit_s=STATEMENT_LIMIT_S)
        except MysqlError as error:
            return _error(error, statement.text)
    return None


def _error(error: MysqlError, sql: str) -> Error:
    """The server's words, without the beginning of the statement that a session adds to them."""
    at = error.text.rfind(f" ({statement_text.head(sql)}")
    return Error(error.code, error.text if at < 0 else error.text[:at])


class _Touched:
    """Which statements wrote which rows: the source's tables, looked at after each write."""

    def __init__(self, session: Session, grids: dict[str, Grid], always: set[str]) -> None:
        self._session, self._grids, self._always = session, grids, always
        self._last: dict[str, dict[str, dict[str, str]]] = {}
        self.rows: dict[str, dict[str, list[int]]] = {}

    async def begin(self) -> None:
        for name, grid in self._grids.items():
            self._last[name] = await mysql_rehearse.rows_of(self._session, grid)

    async def wrote(self, spoken: Spoken) -> None:
        """See what it has changed."""
        words = {w.lower() for w in _words(spoken.text)}
        for name, grid in self._grids.items():
            few = len(self._grids) <= FEW_TABLES
            if not (few or name in self._always or grid.table.name.lower() in words):
                continue
            old, new = self._last[name], await mysql_rehearse.rows_of(self._session, grid)
            self._last[name] = new
            for key in old.keys() | new.keys():
                if old.get(key) != new.get(key):
                    self.rows.setdefault(name, {}).setdefault(key, []).append(spoken.number)

    def by(self, table: str, key: str) -> tuple[int, ...]:
        """The statements that wrote this row; where none is known, those that wrote the table."""
        rows = self.rows.get(table, {})
        numbers = rows.get(key) or sorted({n for each in rows.values() for n in each})
        return tuple(numbers)


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() or c in "_$" else " " for c in text).split()


async def _replay(pair: _Pair, asked: Asked, seen: Seen) -> _Touched:
    """Each statement, and then whatever it makes the replica do."""
    grids = await mysql_rehearse.grids(pair.quiet[0], list(asked.schema.databases))
    changed = {n.lower() for s in asked.change for n in names(s)}
    always = {name for name, g in grids.items() if g.table.name.lower() in changed}
    seen.columns = {name: frozenset(c.name for c in grid.table.columns)
                    for name, grid in grids.items()}
    touched = _Touched(pair.quiet[0], grids, always)
    await touched.begin()
    sessions = _Sessions(pair, asked)
    try:
        for spoken in asked.statements:
            application, under = await sessions.of(spoken)
            at = await mysql_rehearse.position(pair.source)
            ran = await _run(application, spoken, under)
            if application.broken is not None:
                await _end(pair, application)
            # A read may call a function that writes, or take a number of a sequence.
            if not spoken.reads or await mysql_rehearse.position(pair.source) != at:
                stopped = await mysql_rehearse.arrive(pair.source, pair.replica,
                                                      limit_s=APPLY_LIMIT_S)
                if stopped:
                    ran = dataclasses.replace(ran, stopped=stopped[0])
                await touched.wrote(spoken)
            seen.ran.append(ran)
    finally:
        await sessions.close()
    return touched


class _Sessions:
    """One for each of the application's: what a statement leaves in its own (LAST_INSERT_ID(), a
    variable that a SELECT sets) is there for the next one of that session, and for no other."""

    def __init__(self, pair: _Pair, asked: Asked) -> None:
        self._pair, self._asked = pair, asked
        self._open: dict[str, tuple[Session, dict[str, int]]] = {}  # used last stands last

    async def of(self, spoken: Spoken) -> tuple[Session, dict[str, int]]:
        """That of the statement, and which settings it has."""
        found = self._open.pop(spoken.session, None)
        if found is not None:
            session, under = found
            if session.broken is not None or under.keys() - {s.name for s in spoken.under}:
                await session.close()
                found = None
        if found is None:
            if len(self._open) >= MOST_SESSIONS:
                await self._open.pop(next(iter(self._open)))[0].close()
            found = await _application(self._pair, self._asked), {}
        self._open[spoken.session] = found
        return found

    async def close(self) -> None:
        for session, _ in self._open.values():
            await session.close()


async def _application(pair: _Pair, asked: Asked) -> Session:
    """A session that understands statements as the application's own would."""
    session = await Session.open(pair.at)
    init = asked.wanted.get(mysql_rehearse.INIT_CONNECT, "")
    await session.run("SET SESSION sql_mode = @@GLOBAL.sql_mode,"
                      " SESSION time_zone = @@GLOBAL.time_zone,"
                      # Always the same, so that results can be compared.
                      f" SESSION timestamp = {_NOW}")
    try:
        if init.strip():
            await session.many(init)
    except MysqlError as error:
        raise Refused("cannot rehearse", [f"init_connect of the pair fails: {error}"]) from error
    return session


async def _end(pair: _Pair, session: Session) -> None:
    """Whatever it still does must not reach into the next statement's turn."""
    with contextlib.suppress(MysqlError):  # it may be gone already
        await pair.source.run(f"KILL {session.connection_id}")
    alive = f"SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = {session.connection_id}"
    until = clock.mono() + STATEMENT_LIMIT_S
    while await pair.source.value(alive):
        if clock.mono() > until:
            raise OutsideError(pair.at.where, "a statement cannot be ended", sent=True)
        await asyncio.sleep(0.01)


async def _run(session: Session, spoken: Spoken, under: dict[str, int]) -> Ran:
    """Run it, after what its session has SET and this one has not; `under`: what it has."""
    try:
        if spoken.database:
            await session.run(f"USE {identifier(spoken.database)}")
        for each in spoken.under:
            if under.get(each.name) != each.number:
                await session.run(each.text, limit_s=STATEMENT_LIMIT_S)
                under[each.name] = each.number
        answers = await session.results(spoken.text, limit_s=STATEMENT_LIMIT_S)
        columns = tuple(name for names_, _, _ in answers for name in names_)
        values = [repr(row) for _, rows, _ in answers for row in rows]
        counted = len(values) if spoken.reads else sum(affected for _, _, affected in answers)
        ordered = _digest(values) if spoken.ordered else ""
        return Ran(spoken.number, counted, columns, _digest(sorted(values)), order=ordered)
    except MysqlError as error:
        return Ran(spoken.number, error=_error(error, spoken.text))
    except OutsideError as error:
        if session.broken is None:
            raise
        return Ran(spoken.number, error=Error(0, str(error).removeprefix(f"{error.where}: ")))


def _digest(values: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(values).encode()).hexdigest()


async def _compare(pair: _Pair, asked: Asked, seen: Seen, touched: _Touched) -> None:
    """Every row of every table, after both servers have the change."""
    there = [await mysql_rehearse.grids(s, list(asked.schema.databases)) for s in pair.quiet]
    for name in sorted(there[0].keys() ^ there[1].keys()):
        side: tuple[dict[str, str] | None, dict[str, str] | None] = (
            ({}, None) if name in there[0] else (None, {}))
        seen.differences.append(Difference(name, "", *side, touched.by(name, "")))
    of_a_kind = Counter[tuple[str, ...]]()
    for name in sorted(there[0].keys() & there[1].keys()):
        one, other = [await mysql_rehearse.rows_of(s, g[name])
                      for s, g in zip(pair.quiet, there, strict=True)]
        seen.left[name] = one
        for key in sorted(one.keys() | other.keys()):
            if (found := _difference(name, key, one.get(key), other.get(key), touched)) is None:
                continue
            kind = (name, *(found.source if found.source and found.replica else ()))
            of_a_kind[kind] += 1
            if of_a_kind[kind] <= MOST_DIFFERENCES:
                seen.differences.append(found)
            else:
                seen.more += 1


def _difference(
    table: str, key: str, one: dict[str, str] | None, other: dict[str, str] | None,
    touched: _Touched,
) -> Difference | None:
    if one == other:
        return None
    if one is not None and other is not None:
        names_ = [n for n in one if one[n] != other.get(n)]
        one = {n: one[n] for n in names_}
        other = {n: other.get(n, "nothing") for n in names_}
    return Difference(table, key, one, other, touched.by(table, key))
