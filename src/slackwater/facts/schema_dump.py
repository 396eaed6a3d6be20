"""A dump of a schema, as mysqldump and mariadb-dump write it: what it makes, and in which database.

A dump makes each view twice: first something with its columns, so that others can use it, and at
the end, after a DROP, the view itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from slackwater.facts.alter_program import StoredProgram
from slackwater.facts.alter_script import Statement, Token, split

LONGEST = 16 * 1024 * 1024
MOST = 100_000
_TABLES = ("TABLE", "SEQUENCE", "INDEX", "TABLESPACE")
_CODE = ("VIEW", "TRIGGER", "FUNCTION", "PROCEDURE", "EVENT", "PACKAGE")
_KINDS = (*_TABLES, *_CODE, "DATABASE", "SCHEMA")
_HEAD = 24  # tokens before what it makes: OR REPLACE ALGORITHM = … DEFINER = … SQL SECURITY …
_OF = re.compile(r"^-- Host: .*\bDatabase: (\S.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """One statement that makes something. `kind`: view, trigger, function, procedure, event,
    package; "" for what belongs to a table. `table`: that of a trigger. `sql_mode`: the one that
    the dump sets for it, None when it sets none."""

    kind: str
    name: str
    text: str
    line: int
    database: str = ""
    table: str = ""
    sql_mode: str | None = None

    @property
    def program(self) -> StoredProgram:
        """By its words alone."""
        return StoredProgram(self.kind, self.name, self.table, self.text)


@dataclass
class Dump:
    """All of it, in its order. `makes`: the CREATE DATABASE of some databases."""

    parts: list[Part] = field(default_factory=list)
    makes: dict[str, str] = field(default_factory=dict)

    @property
    def databases(self) -> list[str]:
        """Those that it says it is of; "" for what it says of none."""
        return list(dict.fromkeys(p.database for p in self.parts))

    def of(self, database: str) -> Dump:
        """What it has of one database."""
        parts = [p for p in self.parts if p.database == database]
        return Dump(parts, {n: s for n, s in self.makes.items() if n == database})


def read(text: str) -> Dump:
    """Take a dump apart. Raises ScriptError."""
    found, mode = Dump(), None
    said = _OF.search(text[:2000])
    database = said[1] if said else ""
    before: list[str | None] = []
    for statement in split(text, longest=LONGEST, most=MOST):
        # What stands in `/*!50003 … */` counts; a dump puts the words of one statement into two.
        tokens = [t for t in statement.tokens if t.kind != "code"]
        words = [t.upper for t in tokens[:_HEAD]]
        if words[:1] == ["USE"] and len(tokens) > 1:
            database = tokens[1].name
        elif words[:1] == ["SET"]:
            mode = _mode(tokens, mode, before)
        elif words[:1] == ["DROP"]:
            _drop(found, tokens, words, database)
        elif words[:1] in (["CREATE"], ["ALTER"]):
            _make(found, statement, tokens, words, replace(
                Part("", "", statement.text, statement.line), database=database, sql_mode=mode))
    return found


def _mode(tokens: Sequence[Token], mode: str | None, before: list[str | None]) -> str | None:
    """The sql_mode after this SET: a literal, or, from a variable, what was before."""
    for name, equals, value in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if name.text.lower() == "sql_mode" and equals.text == "=":
            if value.kind == "string":
                before.append(mode)
                return value.text[1:-1]
            return before.pop() if before else None
    return mode


def _kind(words: Sequence[str]) -> tuple[str, int]:
    """What is made or dropped, and the place of the word for it."""
    return next(((w, at) for at, w in enumerate(words) if w in _KINDS), ("", 0))


def _name(tokens: Sequence[Token], at: int) -> tuple[str, int]:
    """The name behind the word for its kind, without its database, and the place after it."""
    at += 1
    while at < len(tokens) and tokens[at].upper in ("IF", "NOT", "EXISTS", "BODY"):
        at += 1
    if at + 2 < len(tokens) and tokens[at + 1].text == ".":
        at += 2
    return (tokens[at].name if at < len(tokens) else ""), at + 1


def _drop(found: Dump, tokens: Sequence[Token], words: Sequence[str], database: str) -> None:
    kind, at = _kind(words)
    name, _ = _name(tokens, at)
    kinds = {"VIEW": ("", "view"), "TABLE": ("", "view")}.get(kind, (kind.lower(),))
    if kind:
        found.parts = [p for p in found.parts
                       if (p.database, p.name) != (database, name) or p.kind not in kinds]


def _make(
    found: Dump, statement: Statement, tokens: Sequence[Token], words: Sequence[str], part: Part
) -> None:
    kind, at = _kind(words)
    name, after = _name(tokens, at)
    create = words[0] == "CREATE"
    if kind in ("DATABASE", "SCHEMA"):
        if create:
            found.makes[name] = statement.text
    elif kind in _CODE and create:
        table = ""
        if kind == "TRIGGER":  # BEFORE INSERT ON `table`
            rest = [t.upper for t in tokens[after : after + 4]]
            table = _name(tokens, after + rest.index("ON"))[0] if "ON" in rest else ""
        found.parts.append(replace(part, kind=kind.lower(), name=name, table=table))
    elif kind in _TABLES and not statement.has("DISABLE", "KEYS") and not statement.has(
            "ENABLE", "KEYS"):
        found.parts.append(replace(part, name=name))
