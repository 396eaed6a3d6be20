"""Lint a schema change: run it on empty copies of the tables, compare, and judge.

The server itself says what a statement does; nothing is guessed from its text. What cannot be
judged is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slackwater.errors import Refused
from slackwater.facts.alter_data import Shape, ShapeError, shape
from slackwater.facts.alter_diff import Change, Kind, differences
from slackwater.facts.alter_link import PairSettings
from slackwater.facts.alter_program import StoredProgram
from slackwater.facts.alter_script import (
    ScriptError,
    Statement,
    What,
    names,
    other_databases,
    split,
    unqualified,
    what,
    with_algorithm,
)
from slackwater.facts.alter_table import TableSize
from slackwater.facts.setup import SYSTEM_SCHEMAS
from slackwater.operations.alter.lint_rows import erases
from slackwater.operations.alter.lint_scratch import Scratch, scratch
from slackwater.outside.mysql import schema as mysql_schema
from slackwater.outside.mysql import tables as mysql_tables
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.rules.alter import advice, backfill, erasure, programs, statements
from slackwater.rules.alter.cost import Cost, cost
from slackwater.rules.alter.judge import conflicts, judge, modes, whole
from slackwater.rules.alter.together import together
from slackwater.rules.alter.verdict import Finding, Level, Note

_MARIADB_TRIES = (("INSTANT", "NONE"), ("NOCOPY", "NONE"), ("INPLACE", "NONE"),
                  ("NOCOPY", "SHARED"), ("INPLACE", "SHARED"), ("COPY", "NONE"),
                  ("COPY", "SHARED"))
_MYSQL_TRIES = (("INSTANT", ""), ("INPLACE", "NONE"), ("INPLACE", "SHARED"), ("COPY", "SHARED"))
# MariaDB 10.11 says INSTANT for these, and copies.
# A column of a foreign key is changed at one end. No server takes that, whatever
# foreign_key_checks says (MariaDB 10.11, MySQL 9.7).
_FOREIGN_KEY_COLUMN = frozenset({1832, 1833, 3780})
_NOT_INSTANT = {Kind.ENGINE, Kind.PARTITIONS, Kind.NOTHING}


@dataclass
class Linted:
    """One statement and everything that is said of it."""

    statement: Statement
    kind: What
    tables: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    cost: Cost | None = None
    erases: list[Finding] = field(default_factory=list)

    @property
    def level(self) -> Level:
        return max((f.level for f in self.findings), default=Level.SAFE)


@dataclass
class LintReport:
    """The whole file. `forward` and `back`: what the conversion setting of the server altered
    first, and of the other one, must have while the change is under way."""

    database: str
    server: str
    links: PairSettings
    statements: list[Linted]
    notes: list[Note]

    @property
    def findings(self) -> list[Finding]:
        return [f for s in self.statements for f in s.findings]

    @property
    def level(self) -> Level:
        return max((s.level for s in self.statements), default=Level.SAFE)

    @property
    def disk(self) -> dict[str, int]:
        """Bytes that each table takes more while it is changed, on each server; the linter asks
        the server how it will do it, so that what changes at once takes nothing."""
        found = dict[str, int]()
        for each in self.statements:
            for table in each.tables[:1]:
                found[table] = max(found.get(table, 0), each.cost.disk if each.cost else 0)
        return found

    @property
    def forward(self) -> frozenset[str]:
        return modes(self.findings, forward=True)

    @property
    def back(self) -> frozenset[str]:
        return modes(self.findings, forward=False)


def read(text: str, name: str) -> list[Statement]:
    """Take a file apart. Raises Refused when it cannot be, or has nothing in it."""
    try:
        found = split(text)
    except ScriptError as error:
        raise Refused(f"cannot lint {name}", [str(error)]) from error
    if not found:
        raise Refused(f"cannot lint {name}", ["there is no statement in it"])
    return found


async def lint(
    session: Session, script: Sequence[Statement], database: str, links: PairSettings,
    notes: Path | None, *, beside: Sequence[StoredProgram] = (),
) -> LintReport:
    """Lint on the server of `session`, the one that would be altered first.

    `notes`: see lint_scratch. `beside`: stored code that belongs to the schema and is not on the
    server. Raises Refused when the tables cannot be copied.
    """
    known = {n.lower(): n for n in await mysql_schema.table_names(session, database)}
    others = {
        *await mysql_schema.all_schemas(session), *SYSTEM_SCHEMAS, "slackwater"}
    named = {known[n.lower()] for s in script for n in names(s) if n.lower() in known}
    words = {n for s in script for n in names(s)}
    if any("TRIGGER" in s.words for s in script):  # DROP TRIGGER does not name its table
        named |= await mysql_schema.trigger_tables(session, database, words)
    near, foreign = await mysql_schema.relatives(session, database, named)
    if foreign:
        raise Refused("cannot lint", [f"foreign keys lead to another database: {', '.join(foreign)}"
                                      ], hint="such tables cannot be copied apart")
    if any("CONSTRAINT" in s.words for s in script):  # another table may have one of that name
        same = await mysql_schema.constraint_tables(session, database, words)
        also, foreign = await mysql_schema.relatives(session, database, same)
        near |= set() if foreign else same | also
    sizes = await mysql_schema.sizes(session, database, named)
    hidden: list[Note] = []
    done = [_prejudged(s, database, others, ddl_follows=any(
        what(t) is What.DDL for t in script[at + 1 :])) for at, s in enumerate(script)]
    if any(not d.findings or d.kind is What.DATA for d in done):
        async with scratch(session, notes, like=database) as place:
            await _clone(session, database, sorted(named | near), script)
            for at, each in enumerate(done):
                earlier = [c for d in done[:at] for c in d.changes]
                await _run(place, each, database, links, sizes, earlier)
            _put_back(done, links)
            _erased(done)
            for at, finding in whole([d.changes for d in done], links):
                done[at].findings.append(finding)
        views = {p.name: p.kind for p in beside if p.kind == "view"}
        _taken(done, await mysql_schema.other_names(session, database) | views)
        hidden = await _stored_code(session, database, done, beside)
    report = _report(database, session.at.name, links, done)
    report.notes += hidden
    return report


def _taken(done: list[Linted], others: dict[str, str]) -> None:
    """Refuse a new table that is called like a view: the copies of tables know of none."""
    for each in done:
        each.findings += [
            statements.told(statements.NAME_TAKEN, each.statement,
                            f"there is a {others[c.table]} called {c.table}")
            for c in each.changes if c.kind is Kind.TABLE_CREATED and c.table in others]


async def _stored_code(
    session: Session, database: str, done: list[Linted], beside: Sequence[StoredProgram]
) -> list[Note]:
    """Code that names a column which goes, or leaves one out that comes; not that which the file
    itself drops. Returns a note on code that is not shown."""
    changes = [c for d in done for c in d.changes]
    if not programs.worth_reading(changes):
        return []
    gone = {c.name for c in changes if c.kind is Kind.TRIGGER_DROPPED}
    code = [p for p in (*await mysql_schema.stored_programs(session, database), *beside)
            if p.kind != "trigger" or p.name not in gone or p.database]
    near = [p for p in code if p.reaches(database)]
    for each in done:
        each.findings += programs.may_use(each.changes, near)
    return programs.hidden(changes, code)


async def _clone(
    session: Session, database: str, tables: list[str], script: Sequence[Statement]
) -> None:
    try:
        # Triggers only for those who change some: to make one takes more than other privileges.
        await mysql_schema.clone(session, database, tables,
                                 triggers=any("TRIGGER" in s.words for s in script))
    except MysqlError as error:
        raise Refused("cannot lint", [f"the tables cannot be copied without their rows: {error}"],
                      hint="docs/howto/lint.md lists the grants that it takes") from error


def _put_back(done: list[Linted], links: PairSettings) -> None:
    """A foreign key that one statement drops and another adds again, as one has to when its
    columns change, is no change of the whole file."""
    def keys(kind: Kind) -> set[Any]:
        return {_key(c) for d in done for c in d.changes if c.kind is kind}

    same = keys(Kind.FOREIGN_KEY_ADDED) & keys(Kind.FOREIGN_KEY_DROPPED)
    for each in done:
        left = [c for c in each.changes if c.kind not in _FOREIGN_KEYS or _key(c) not in same]
        if len(left) < len(each.changes):
            gone = [Change(Kind.NOTHING, c.table) for c in each.changes if c not in left]
            each.changes = left or gone[:1]
            each.findings = judge(each.changes, links)


def _erased(done: list[Linted]) -> None:
    """Say of each statement what it takes away though the definition keeps it; and what it does
    together with the others."""
    for each in done:
        each.findings = [*each.findings, *each.erases]
    for at, table, what_ in erasure.again([d.changes for d in done]):
        done[at].findings.append(statements.told(
            erasure.ERASES, done[at].statement,
            f"{what_} of {table} are erased: an earlier statement dropped it"))
    for at, rule, why in together([d.changes for d in done]):
        done[at].findings.append(statements.told(rule, done[at].statement, why))


_FOREIGN_KEYS = (Kind.FOREIGN_KEY_ADDED, Kind.FOREIGN_KEY_DROPPED)


def _key(change: Change) -> Any:
    item = change.new if change.new is not None else change.old
    return change.table, getattr(item, "definition", None)


def _prejudged(
    statement: Statement, database: str, others: set[str], *, ddl_follows: bool
) -> Linted:
    """What a statement's own words say."""
    found = Linted(statement, what(statement))
    if refusal := statements.refusal(statement):
        found.findings = [refusal]
    elif elsewhere := other_databases(statement, database, others):
        found.findings = [statements.told(
            statements.DATABASE, statement, f"it names {', '.join(sorted(elsewhere))}")]
    elif found.kind is What.DATA:
        found.findings = statements.data(statement, ddl_follows=ddl_follows)
    return found


async def _run(
    place: Scratch, each: Linted, database: str, links: PairSettings, sizes: dict[str, TableSize],
    earlier: Sequence[Change],
) -> None:
    """Run one statement on the empty tables, and judge what it has done."""
    text = unqualified(each.statement, database)
    if each.kind is What.DATA:
        if await _takes(place, each, text, database) and not each.findings:
            await _data(place, each, text, database, earlier)
        return
    if each.findings:
        return  # refused by its words: not even tried
    before = await mysql_schema.definitions(place.session, place.name)
    algorithm, lock, error = await _execute(place, text)
    if error is not None:
        rule = (statements.FOREIGN_KEY_COLUMN if error.code in _FOREIGN_KEY_COLUMN
                else statements.SYNTAX)
        each.findings = [statements.told(rule, each.statement, _said(place, error, database))]
        return
    after = await mysql_schema.definitions(place.session, place.name)
    each.changes = differences(before, after)
    if not each.changes:
        named = [t for t in after if t.lower() in {n.lower() for n in names(each.statement)}]
        each.changes = [Change(Kind.NOTHING, t, None, None, after[t], after[t])
                        for t in named[:1]]
        if not named and not each.statement.has("EXISTS"):  # as OPTIMIZE TABLE: a row says so
            each.findings = [statements.told(statements.SYNTAX, each.statement,
                                             "it names no table of this database")]
            return
    each.erases = await erases(place, each.statement, text, before, after)
    each.tables = list(dict.fromkeys(c.table for c in each.changes))
    each.findings = judge(each.changes, links)
    if algorithm == "INSTANT" and any(c.kind in _NOT_INSTANT for c in each.changes):
        algorithm, lock = "COPY", "SHARED"
    size = sizes.get(each.tables[0] if each.tables else "", TableSize(""))
    each.cost = cost(algorithm, lock, each.changes, size, links.first.traits)


def _said(place: Scratch, error: MysqlError, database: str) -> str:
    """The server's refusal, with the name of the database and not of our copy."""
    return f"{error.code}: {error.text}".replace(place.name, database)


async def _takes(place: Scratch, each: Linted, text: str, database: str) -> bool:
    """Whether the server understands a data statement, and knows its names."""
    error = await mysql_schema.check_statement(place.session, text, place.sql_mode)
    if error is not None:
        each.findings.append(
            statements.told(statements.SYNTAX, each.statement, _said(place, error, database)))
    return error is None


async def _data(
    place: Scratch, each: Linted, text: str, database: str, earlier: Sequence[Change]
) -> None:
    """Whether a data statement can be run in chunks, and what else is said of it."""
    try:
        data = shape(each.statement, database)
    except ShapeError as error:
        each.findings = [statements.told(statements.DATA_SHAPE, each.statement, str(error))]
        return
    known = await mysql_tables.tables(place.session)
    near = {t.name.lower(): t for t in known.values() if t.schema == place.name}
    each.tables = [data.table]
    why = backfill.unfit(data, near)
    if not why and data.shape is Shape.COPY and await mysql_schema.rows_of_nothing(
        place.session, text, place.sql_mode
    ):
        why = "it makes a row of no rows (an aggregate): each chunk would make one"
    each.findings = ([statements.told(statements.DATA_SHAPE, each.statement, why)] if why
                     else backfill.judged(each.statement, data, near, earlier))


async def _execute(place: Scratch, text: str) -> tuple[str, str, Any]:
    """Run it with the best algorithm that the server takes; (algorithm, lock, error)."""
    tries = _MARIADB_TRIES if place.session.flavour.mariadb else _MYSQL_TRIES
    for algorithm, lock in tries:
        asked = with_algorithm(text, algorithm, lock)
        if asked is None:
            break
        if await mysql_schema.try_statement(place.session, asked, place.sql_mode) is None:
            return algorithm, lock, None
    error = await mysql_schema.try_statement(place.session, text, place.sql_mode)
    return "", "", error


def _report(
    database: str, server: str, links: PairSettings, done: list[Linted]
) -> LintReport:
    findings = [f for d in done for f in d.findings]
    for clash in conflicts(findings, links):
        owner = next(d for d in done if any(f.what == clash.what for f in d.findings))
        owner.findings.append(clash)
    changes = [c for d in done for c in d.changes]
    notes = advice.advise(changes) + advice.replaces(changes, links)
    notes += advice.several([t for d in done if d.statement.begins("ALTER") for t in d.tables])
    return LintReport(database, server, links, done, notes)
