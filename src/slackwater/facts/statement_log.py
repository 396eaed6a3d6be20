"""The application's statements from a general log, a slow log, or a plain file of SQL.

Logs are recognised by their lines. Of statements that differ only in their literals a few are
kept: an application says the same thing over and over.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from slackwater.facts.alter_script import ScriptError, Statement, split
from slackwater.facts.rehearsal import Spoken

LONGEST = 64 * 1024 * 1024  # characters
MOST = 1000  # statements that are replayed
ALIKE = 5  # of those that differ only in their literals

_READS = ("SELECT", "TABLE", "VALUES")
_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CALL")
# `2026-11-21T10:00:00.123456Z    8 Query  …` (MySQL), `261121 10:00:00      8 Query  …` (MariaDB,
# which leaves the time out where it has not changed).
_GENERAL = re.compile(
    r"^(?:\d{4}-\d\d-\d\dT\S+|\d{6}\s+\d{1,2}:\d\d:\d\d)?\s+(?P<id>\d+)\s"
    r"(?P<command>Query|Execute|Init DB|Connect|Prepare|Quit|Close stmt|Statistics|Ping|Field List|"
    r"Reset stmt|Change user|Binlog Dump|Binlog Dump GTID|Kill|Fetch|Refresh|Shutdown|Sleep|"
    r"Delayed insert|Long Data|Set option|Daemon|Error)\t?(?P<text>.*)$")
_CONNECT = re.compile(r"\bon (\S*?)(?: using |$)")
_SLOW = re.compile(r"^# (?:User@Host|Query_time): ", re.MULTILINE)
_SCHEMA = re.compile(r"^# .*?\bSchema: (\S+)", re.MULTILINE)
_USE = re.compile(r"use\s+`?([^`;]+)`?\s*;", re.IGNORECASE)


@dataclass
class Heard:
    """The statements, what they were read from, and what was left out: reason, how often."""

    form: str  # "a file of SQL", "a general log", "a slow log", …
    statements: list[Spoken] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def read(text: str, database: str) -> Heard:
    """The statements of a file. `database`: where those are that name none. Raises ScriptError."""
    if any(_GENERAL.match(line) for line in text[:65536].splitlines()):
        return chosen("a general log", _general(text, database))
    if _SLOW.search(text[:65536]):
        return chosen("a slow log", _slow(text, database))
    heard = Heard("a file of SQL")
    for said in split(text, longest=LONGEST, most=100_000):
        if said.begins("USE") and len(said.tokens) > 1:
            database = said.tokens[1].name
        elif why := _not_replayed(said):
            heard.left_out[why] += 1
        elif len(heard.statements) == MOST:
            heard.left_out[f"more than {MOST}"] += 1
        else:
            heard.statements.append(_spoken(len(heard.statements) + 1, database, said))
    return heard


def chosen(form: str, entries: Iterable[tuple[str, str]]) -> Heard:
    """From (database, text) as they were said: at most ALIKE of those alike, MOST in all."""
    heard, seen = Heard(form), Counter[tuple[str, str]]()
    for database, text in entries:
        try:
            parts = split(text, longest=LONGEST)
        except ScriptError:
            heard.left_out["cut off, or not to be taken apart"] += 1
            continue
        for said in parts:
            if why := _not_replayed(said):
                heard.left_out[why] += 1
                continue
            kind = database, fingerprint(said)
            seen[kind] += 1
            if seen[kind] > ALIKE:
                heard.left_out[f"like {ALIKE} others but for its values"] += 1
            elif len(heard.statements) == MOST:
                heard.left_out[f"more than {MOST}"] += 1
            else:
                heard.statements.append(_spoken(len(heard.statements) + 1, database, said))
    return heard


def fingerprint(said: Statement) -> str:
    """Its words, without its literals and however many of them are in a list."""
    text = " ".join("?" if t.kind in ("string", "number") else t.upper or t.text
                    for t in said.tokens)
    text = re.sub(r"\?(?: , \?)+", "?", text)
    return re.sub(r"(\( \? \))(?: , \( \? \))+", r"\1", text)


def _spoken(number: int, database: str, said: Statement) -> Spoken:
    return Spoken(number, database, said.text, _verb(said) in _READS)


def _verb(said: Statement) -> str:
    """What it does: behind WITH … the first word that says so, and inside parentheses."""
    words = [w for w in said.words if w]
    if not words:
        return ""
    if words[0] == "WITH":
        return next((w for w in words if w in ("UPDATE", "DELETE", "INSERT", "REPLACE")), "SELECT")
    return next((w for w in words if w != "("), "")


def _not_replayed(said: Statement) -> str:
    verb = _verb(said)
    if verb == "SELECT" and said.has("INTO", "OUTFILE"):
        return "writes a file"
    if verb not in (*_READS, *_WRITES):
        return f"not replayed: {verb or 'code in a comment'}"
    if any(t.kind == "sign" and t.text == "?" for t in said.tokens):
        return "a prepared statement without its values"
    if said.text.endswith("..."):
        return "cut off, or not to be taken apart"
    return ""


def _general(text: str, database: str) -> Iterator[tuple[str, str]]:
    """Each session has its own default database; a statement goes on until the next entry."""
    at: dict[str, str] = {}
    now: tuple[str, list[str]] | None = None
    for line in text.splitlines():
        match = _GENERAL.match(line)
        if match is None:
            if now:
                now[1].append(line)
            continue
        if now:
            yield at.get(now[0], database), "\n".join(now[1])
            now = None
        session, command, words = match["id"], match["command"], match["text"]
        if command in ("Query", "Execute"):
            if use := _USE.fullmatch(words.strip() + ";"):
                at[session] = use[1].strip()
            else:
                now = session, [words]
        elif command == "Init DB":
            at[session] = words.strip()
        elif command in ("Connect", "Change user"):
            found = _CONNECT.search(words)
            at.pop(session, None)
            if found and found[1]:
                at[session] = found[1]
    if now:
        yield at.get(now[0], database), "\n".join(now[1])


def _slow(text: str, database: str) -> Iterator[tuple[str, str]]:
    current = database
    for part in re.split(r"^(?=# (?:Time|User@Host): )", text, flags=re.MULTILINE):
        if not part.startswith("#"):
            continue
        if schema := _SCHEMA.search(part):
            current = schema[1]
        body = "\n".join(line for line in part.splitlines() if not line.startswith("# "))
        if use := _USE.match(body.strip()):
            current = use[1].strip()
            body = body.strip()[use.end():]
        body = re.sub(r"^\s*SET timestamp=\d+;\s*", "", body)
        if body.strip():
            yield current, body
