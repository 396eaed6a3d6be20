"""The application's statements from a general log, a slow log, or a plain file of SQL.

Logs are recognised by their lines. Of statements that differ only in their literals a few are
kept: an application says the same thing over and over.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from slackwater.facts.alter_script import ScriptError, Statement, split
from slackwater.facts.rehearsal import Spoken
from slackwater.facts.session_settings import Settings

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
    r"Delayed insert|Long Data|Set option|Daemon|Error|Debug|Processlist|Create DB|Drop DB|Time|"
    r"Connect Out|Table Dump|Register Slave|Register Replica|Reset Connection|Reset connection)"
    r"\t?(?P<text>.*)$")
# A server that starts, or opens its log again, says so: three lines, the first of which tells.
_OPENED = re.compile(r"^\S.*, Version: .* started with:$", re.MULTILINE)
_CONNECT = re.compile(r"\bon (\S*?)(?: using |$)")
_SLOW = re.compile(r"^# (?:User@Host|Query_time): ", re.MULTILINE)
_SCHEMA = re.compile(r"^# .*?\bSchema: (\S+)", re.MULTILINE)
_SESSION = re.compile(r"^# .*?\b(?:Id|Thread_id): +(\d+)", re.MULTILINE)
_CLOCK = re.compile(r"^\s*SET (?:(?:last_)?insert_id=\d+,)*timestamp=[\d.]+;\s*", re.IGNORECASE)
_USE = re.compile(r"use\s+`?([^`;]+)`?\s*;", re.IGNORECASE)
_USES = re.compile(r"\buse\b", re.IGNORECASE)
_HEAD = re.compile(r"(?:#.*\n?)*")  # of an entry of a slow log
_ANEW = re.compile(r"# administrator command: (?:Quit|Reset Connection|Change user);")
# What makes a program: its body has statements too. MariaDB runs one without a name as well.
_PROGRAMS = ("PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE")
_MADE = (*_PROGRAMS, "TABLE", "VIEW", "INDEX", "DATABASE", "SCHEMA", "USER")
_BODIES = (("BEGIN", "NOT"), ("IF",), ("CASE",), ("LOOP",), ("REPEAT",), ("WHILE",), ("FOR",))


@dataclass
class Heard:
    """The statements, what they were read from, and what was left out: reason, how often."""

    form: str  # "a file of SQL", "a general log", "a slow log", …
    statements: list[Spoken] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    number: int = 0  # of the last SET

    def takes(self, said: Statement, settings: Settings | None) -> bool:
        """Whether it is to be replayed; else it was taken in otherwise, or counted as left out."""
        if said.begins("SET") and not said.begins("SET", "STATEMENT") and settings is not None:
            self.number += 1
            for name in settings.say(said, self.number):
                self.left_out[f"not replayed: SET {name}"] += 1
            return False
        if why := _not_replayed(said):
            self.left_out[why] += 1
        return not why


Watch = Callable[[int], None]  # told how many characters of a log have been read

# The session that said it ("" where nobody knows), its default database ("" likewise), the text.
Entry = tuple[str, str, str]


def read(
    text: str, database: str, *, ansi: bool = False, watch: Watch = lambda _: None
) -> Heard:
    """The statements of a file. `database`: where those are that name none; `ansi`: the server has
    "x" be a name. Raises ScriptError."""
    if any(_GENERAL.match(line) for line in text[:65536].splitlines()):
        entries = _general(text, database, watch)
        return chosen("a general log", entries, database, ansi=ansi)
    if _SLOW.search(text[:65536]):
        return chosen("a slow log", _slow(text, watch), database, ansi=ansi)
    heard, settings = Heard("a file of SQL"), Settings()
    for said in split(text, longest=LONGEST, most=100_000):
        if said.begins("USE") and len(said.tokens) > 1:
            database = said.tokens[1].name
        elif not heard.takes(said, settings):
            continue
        elif len(heard.statements) == MOST:
            heard.left_out[f"more than {MOST}"] += 1
        else:
            heard.statements.append(_spoken(len(heard.statements) + 1, database, said, settings))
    return heard


def chosen(
    form: str, entries: Iterable[Entry], assumed: str = "", *, ansi: bool = False
) -> Heard:
    """From what was said: at most ALIKE of those alike, MOST in all. `assumed`: where those are
    whose default database is not known."""
    heard, seen, unknown = Heard(form), Counter[tuple[str, ...]](), 0
    sessions: dict[str, Settings] = {}
    for session, database, text in entries:
        settings = sessions.setdefault(session, Settings())
        known, database = bool(database), database or assumed
        try:
            parts = split(text, longest=LONGEST)
        except ScriptError:
            heard.left_out["cut off, or not to be taken apart"] += 1
            continue
        for said in parts[:1] if parts and _is_program(parts[0]) else parts:
            if said.begins("USE") and len(said.tokens) > 1:
                known, database = True, said.tokens[1].name
                continue
            if not heard.takes(said, settings if session else None):
                continue
            under = (s.text for s in settings.now if not s.name.startswith("@"))
            kind = database, fingerprint(said, ansi=ansi), *under
            seen[kind] += 1
            if seen[kind] > ALIKE:
                heard.left_out[f"like {ALIKE} others but for its values"] += 1
            elif len(heard.statements) == MOST:
                heard.left_out[f"more than {MOST}"] += 1
            else:
                heard.statements.append(
                    _spoken(len(heard.statements) + 1, database, said, settings, session))
                unknown += not known
    if unknown and assumed:
        heard.notes.append(
            f"the log does not say in which database {unknown} of its statements were (as where it "
            f"begins in the middle of a session): they were run in {assumed}")
    return heard


def _is_program(said: Statement) -> bool:
    """Whether what follows it in its entry is its body."""
    if any(said.begins(*words) for words in _BODIES):
        return True
    made = next((w for w in said.words if w in _MADE), "")
    return said.words[:1] in (("CREATE",), ("ALTER",)) and made in _PROGRAMS


def fingerprint(said: Statement, *, ansi: bool = False) -> str:
    """Its words, without its literals, and however many of them are behind IN, or rows behind
    VALUES: how many values a row has is no detail where no columns are named."""
    text = " ".join("?" if t.kind == "number" or (
        t.kind == "string" and not (ansi and t.text.startswith('"'))) else t.upper or t.text
                    for t in said.tokens)
    text = re.sub(r"\bIN \( \?(?: , \?)+ \)", "IN ( ? )", text)
    return re.sub(r"(\( [^()]*\))(?: , \1)+", r"\1", text)


def _spoken(
    number: int, database: str, said: Statement, settings: Settings, session: str = ""
) -> Spoken:
    words = _outside(said)
    ordered = any(pair == ("ORDER", "BY") for pair in pairwise(words))
    return Spoken(number, database, said.text, _verb(said) in _READS, settings.now, ordered,
                  session)


def _verb(said: Statement) -> str:
    """What it does: behind WITH … the first word that says so, and inside parentheses."""
    words = [w for w in said.words if w]
    if not words:
        return ""
    if words[:2] == ["SET", "STATEMENT"]:  # MariaDB's: settings for the statement behind FOR
        outside = _outside(said)
        return next((b for a, b in pairwise(outside) if a == "FOR"), "")
    if words[0] == "WITH":
        return next((w for w in _outside(said) if w in (*_READS, *_WRITES)), "SELECT")
    return next((w for w in words if w != "("), "")


def _outside(said: Statement) -> list[str]:
    """Its words that are in no parentheses."""
    found, depth = [], 0
    for word in said.words:
        depth += {"(": 1, ")": -1}.get(word, 0)
        if not depth and word:
            found.append(word)
    return found


def _not_replayed(said: Statement) -> str:
    verb = _verb(said)
    if verb == "SELECT" and (said.has("INTO", "OUTFILE") or said.has("INTO", "DUMPFILE")):
        return "writes a file"
    if verb not in (*_READS, *_WRITES):
        return f"not replayed: {verb or 'code in a comment'}"
    if any(t.kind == "sign" and t.text == "?" for t in said.tokens):
        return "a prepared statement without its values"
    if said.text.endswith("..."):
        return "cut off, or not to be taken apart"
    return ""


def _general(text: str, database: str, watch: Watch) -> Iterator[Entry]:
    """Each session has its own default database; a statement goes on until the next entry."""
    at: dict[str, str] = {}
    logins = Counter[str]()  # a number of a session comes again after a restart
    now: tuple[str, list[str]] | None = None
    done = 0
    # Only at line feeds: a value may have any of the other characters that end a line.
    for line in (*text.split("\n"), "\t0 Quit\t"):
        watch(done)
        done += len(line) + 1
        match = _GENERAL.match(line)
        if match is None and not _OPENED.match(line):
            if now:
                now[1].append(line)
            continue
        if now:
            session, said = now[0], "\n".join(now[1])
            # One that was seen to connect to no database has none, which is known.
            where = at.get(session, database if logins[session] else "")
            yield f"{session}/{logins[session]}", where, said
            if name := _used(said):
                at[session] = name
            now = None
        if match is None:
            continue
        session, command, words = match["id"], match["command"], match["text"]
        if command in ("Query", "Execute"):
            now = session, [words]
        elif command == "Init DB":
            at[session] = words.strip()
        elif command in ("Connect", "Change user"):
            logins[session] += 1
            found = _CONNECT.search(words)
            at.pop(session, None)
            if found and found[1]:
                at[session] = found[1]


def _used(text: str) -> str:
    """The database that an entry ends in, where it goes to another."""
    try:
        parts = split(text, longest=LONGEST) if _USES.search(text) else []
    except ScriptError:
        return ""
    if parts and _is_program(parts[0]):
        return ""
    return next((p.tokens[1].name for p in reversed(parts)
                 if p.begins("USE") and len(p.tokens) > 1), "")


def _slow(text: str, watch: Watch) -> Iterator[Entry]:
    current, done = "", 0
    begun = Counter[str]()  # how often a session began anew
    for part in re.split(r"^(?=# (?:Time|User@Host): )", text, flags=re.MULTILINE):
        watch(done)
        done += len(part)
        if not part.startswith("#"):
            continue
        # What begins with # further down may be a line of a value.
        head = "".join(_HEAD.findall(part)[:1])
        if schema := _SCHEMA.search(head):
            current = schema[1]
        body = _OPENED.split(part[len(head):])[0]
        if use := _USE.match(body.strip()):
            current = use[1].strip()
            body = body.strip()[use.end():]
        body = _CLOCK.sub("", body)
        found = _SESSION.search(head)
        session = found[1] if found else ""
        if _ANEW.match(body):
            begun[session] += 1
        elif body.strip():
            yield f"{session}/{begun[session]}" if session else "", current, body
