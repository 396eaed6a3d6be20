"""The seam to the linter: what may be run, and what it takes while schemas differ.

`alter` asks only `judge`. What stands here is the small judge that `alter` was built with: it knows
a few kinds of clause and refuses all others. `alter lint` knows many more; see CONTRIBUTING of the
change that brings it: this file then hands over to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from slackwater.operations.pair_world import PairWorld
from slackwater.outside import mysql_alter
from slackwater.outside.mysql_session import MysqlError, Session

_SYNTAX = frozenset({1064, 1149, 4161})  # 4161: a type that MariaDB does not know
LONGEST = 256 * 1024  # characters
NON_LOSSY, LOSSY = "ALL_NON_LOSSY", "ALL_LOSSY"


@dataclass(frozen=True)
class Verdict:
    """What the linter says of a change, as far as running it needs to know.

    `tables` are those that the statements name, without their database. `modes_first`: what the
    conversion setting of the new schema's servers must have while the old schema writes;
    `modes_other`: the other way round. `reasons`: why it is refused; `gates`: what the application
    may not do until the change is finished; `complies`: what it must comply with for the change
    to be right at all, which a person has to say.
    """

    statements: tuple[str, ...]
    tables: tuple[str, ...]
    modes_first: tuple[str, ...] = ()
    modes_other: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    complies: tuple[str, ...] = ()


async def judge(world: PairWorld, server: str, database: str, text: str) -> Verdict:
    """Judge a file of SQL on the server that would be altered first. Leaves nothing behind."""
    passive = await world.session(server)
    if len(text) > LONGEST:
        return Verdict((), (), reasons=(
            f"the file has {len(text):,} characters; {LONGEST:,} is the limit: a change of a "
            "schema is no load of data",
        ))
    found = statements(text)
    if not found:
        return Verdict((), (), reasons=("the file has no statement",))
    reasons: list[str] = []
    tables: dict[str, None] = {}
    first: set[str] = set()
    other: set[str] = set()
    gates: list[str] = []
    made: set[str] = set()
    for number, statement in enumerate(found, 1):
        where = f"statement {number}"
        head = _HEAD.match(statement)
        if head is None:
            reasons.append(f"{where}: {_why_not(statement)}")
            continue
        if why := await _syntax(passive, statement):
            reasons.append(f"{where}: {why}")
            continue
        table = head["table"] or ""
        if "." in table:
            named, _, table = table.replace("`", "").partition(".")
            if named != database:
                reasons.append(f"{where}: it names another database ({named}) than {database}")
                continue
        table = table.replace("`", "")
        tables[table] = None
        there = table in made or bool(await mysql_alter.definition(passive, database, table))
        if head["verb"].upper().startswith("CREATE T"):
            made.add(table)
            if there:
                reasons.append(f"{where}: table {database}.{table} is there already")
            gates.append(f"not use {table}")
            continue
        if not there:
            reasons.append(f"{where}: there is no table {database}.{table}")
        elif head["verb"].upper().startswith("ALTER"):
            for clause in _clauses(statement[head.end():]):
                _clause(clause, f"{where}: ", table, reasons, first, other, gates)
    return Verdict(found, tuple(tables), tuple(sorted(first)), tuple(sorted(other)),
                   tuple(reasons), tuple(gates))


_WORD = r"(?:`[^`]+`|[\w$]+)"
_HEAD = re.compile(
    rf"(?P<verb>ALTER\s+TABLE|CREATE\s+TABLE)\s+(?P<table>{_WORD}(?:\.{_WORD})?)\s*", re.IGNORECASE
)
_ADD_COLUMN = re.compile(rf"ADD\s+(?:COLUMN\s+)?({_WORD})\s+\w", re.IGNORECASE)
_KEYS = re.compile(r"(?:ADD|DROP)\s+(?:INDEX|KEY)\b", re.IGNORECASE)
_DROP = re.compile(rf"DROP\s+COLUMN\s+({_WORD})$", re.IGNORECASE)
_MODIFY = re.compile(rf"MODIFY\s+(?:COLUMN\s+)?({_WORD})\s+(BIGINT|INT|VARCHAR)\b", re.IGNORECASE)
_PLAIN = re.compile(r"(?:ENGINE\s*=\s*InnoDB|COMMENT\s*=?\s*'[^']*'|FORCE)$", re.IGNORECASE)
_PLACED = re.compile(r"\b(?:FIRST|AFTER)\b|CURRENT_TIMESTAMP|\bNOW\s*\(|UUID|RAND\s*\(",
                     re.IGNORECASE)
_DATA = re.compile(r"(?:INSERT|UPDATE|DELETE|REPLACE|WITH|LOAD)\b", re.IGNORECASE)


def _clause(
    clause: str, where: str, table: str, reasons: list[str], first: set[str], other: set[str],
    gates: list[str],
) -> None:
    if _PLACED.search(clause):
        reasons.append(f"{where}columns map by position, and values must be the same on both "
                       f"servers: {clause[:60]}")
    elif _KEYS.match(clause) or _PLAIN.match(clause):
        return
    elif match := _DROP.match(clause):
        gates.append(f"not use {table}.{match[1].strip('`')} any more")
    elif _MODIFY.match(clause):
        first.add(NON_LOSSY)
        other.update((NON_LOSSY, LOSSY))
        gates.append(f"not write to {table} what its old definition cannot hold")
    elif match := _ADD_COLUMN.match(clause):
        gates.append(f"not use {table}.{match[1].strip('`')}")
    else:
        reasons.append(f"{where}slackwater cannot judge this clause: {clause[:60]}")


def _why_not(statement: str) -> str:
    head = " ".join(statement.split())[:60]
    if re.match(r"USE\b", statement, re.IGNORECASE):
        return "it switches to another database: make a file for each (--database)"
    if re.match(r"(?:CREATE|DROP|ALTER)\s+TEMPORARY\b", statement, re.IGNORECASE):
        return "a temporary table lives in one session only"
    if _DATA.match(statement):
        return ("a data statement (a backfill) belongs on the active server, in chunks, through "
                f"the binary log, after `slackwater alter finish`: {head}")
    return f"slackwater cannot judge it: {head}"


async def _syntax(session: Session, statement: str) -> str:
    """What the server says against it; "" when it can be parsed. Runs nothing."""
    try:
        await session.run("PREPARE slackwater_judge FROM %s", statement)
        await session.run("DEALLOCATE PREPARE slackwater_judge")
    except MysqlError as error:
        return error.text.partition(" (PREPARE")[0] if error.code in _SYNTAX else ""
    return ""


_TOKEN = re.compile(r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`[^`]*`|--[ \t][^\n]*|\#[^\n]*"""
                    r"""|/\*.*?\*/|.""", re.DOTALL)


def statements(text: str) -> tuple[str, ...]:
    """The statements of a file, without comments."""
    found, now = [], ""
    for token in _TOKEN.findall(text):
        if token == ";":
            found.append(now.strip())
            now = ""
        elif len(token) == 1 or not token.startswith(("--", "#", "/*")):
            now += token
        else:
            now += " "
    return tuple(s for s in (*found, now.strip()) if s)


def _clauses(text: str) -> list[str]:
    found, now, depth = [], "", 0
    for token in _TOKEN.findall(text):
        depth += (token == "(") - (token == ")")
        if token == "," and not depth:
            found.append(now.strip())
            now = ""
        else:
            now += token
    return [*found, now.strip()]
