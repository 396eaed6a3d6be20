"""A file of SQL, taken apart by MySQL's own lexical rules: statements, their words, their place.

Only the lexical level is ours; what a statement does is found out by running it on empty tables.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST = 1024 * 1024  # characters; a change of a schema is no dump
MOST = 200  # statements

# The alternatives are those of the server's lexer (sql_lex.cc): `--` begins a comment only before
# white space, `/*!` and `/*M!` hold code, a quote is doubled or (in strings) escaped.
_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<comment>\#[^\n]*|--(?=[\s\x00]|$)[^\n]*|/\*(?!M?!)(?:.*?\*/))
    | (?P<code>/\*M?![0-9]*|\*/)
    | (?P<string>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
    | (?P<quoted>`(?:[^`]|``)*`)
    | (?P<variable>@@?(?:[\w$.]+|`(?:[^`]|``)*`|'[^']*'|"[^"]*")?)
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w$\x80-\uffff]))
    | (?P<word>[\w$\x80-\uffff]+)
    | (?P<broken>['"`]|/\*)
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_DELIMITER = re.compile(r"[ \t]*delimiter[ \t]+(\S+)[ \t]*(?:\r?\n|$)", re.IGNORECASE)


class What(enum.StrEnum):
    """What kind of statement it is, by its first words."""

    DDL = "ddl"
    DATA = "data"
    REFUSED = "refused"


@dataclass(frozen=True)
class Token:
    """A word, sign or literal; `at` and `end` are offsets into the statement's text."""

    kind: str  # string, quoted, variable, number, word, sign, code
    text: str
    at: int
    end: int

    @property
    def name(self) -> str:
        """As an identifier, without its quotes."""
        return self.text[1:-1].replace("``", "`") if self.kind == "quoted" else self.text

    @property
    def upper(self) -> str:
        """As a keyword; "" for what cannot be one."""
        return self.text.upper() if self.kind in ("word", "sign") else ""


@dataclass(frozen=True)
class Statement:
    """One statement: its text without comments around it, and the line it begins on."""

    text: str
    line: int
    tokens: tuple[Token, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """Keywords and signs in capitals; names in backquotes and literals are ""."""
        return tuple(t.upper for t in self.tokens)

    def begins(self, *words: str) -> bool:
        """Whether it begins with these words."""
        return self.words[: len(words)] == words

    def has(self, *words: str) -> bool:
        """Whether these words stand in it, one after another."""
        own = self.words
        return any(own[i : i + len(words)] == words for i in range(len(own)))


class ScriptError(ValueError):
    """The file cannot be taken apart; the text says where and why."""


def split(text: str, *, longest: int = LONGEST, most: int = MOST) -> list[Statement]:
    """The statements of a file. Raises ScriptError; an empty file gives []."""
    if len(text) > longest:
        raise ScriptError(f"it has more than {longest:,} characters: a change of a schema is no "
                          "load of data")
    if "\x00" in text:
        raise ScriptError("it has a zero byte: is it UTF-8 text?")
    found = []
    for statement in _statements(text.removeprefix("\ufeff")):
        found.append(statement)
        if len(found) > most:
            raise ScriptError(f"it has more than {most} statements")
    return found


def _statements(text: str) -> Iterator[Statement]:
    delimiter, at, tokens = ";", 0, list[Token]()
    lines = _Lines(text)
    while at < len(text):
        if not tokens and (match := _DELIMITER.match(text, at)) and _begins_line(text, at):
            delimiter, at = match[1], match.end()
            continue
        if text.startswith(delimiter, at):
            if tokens:
                yield _statement(text, tokens, lines)
            tokens, at = [], at + len(delimiter)
            continue
        token = _TOKEN.match(text, at)
        assert token is not None  # the last alternative takes anything
        kind = token.lastgroup or ""
        if kind == "broken":
            raise ScriptError(f"line {lines.of(at)}: {token[0]} is never closed")
        if kind == "comment" and token[0][0] != "/" and "\r" in token[0][:-1]:
            raise ScriptError(f"line {lines.of(at)}: a comment has a carriage return in it; "
                              "if that ends its line, what follows is comment for the server too")
        if kind not in ("space", "comment"):
            word, end = token[0], token.end()
            if kind == "word" and not delimiter.startswith(";") and delimiter in word:
                end = at + word.index(delimiter)  # a delimiter such as $$ right behind a word
                word = text[at:end]
            tokens.append(Token(kind, word, at, end))
            at = end
        else:
            at = token.end()
    if tokens:
        yield _statement(text, tokens, lines)


def _statement(text: str, tokens: list[Token], lines: _Lines) -> Statement:
    begin = tokens[0].at
    moved = tuple(Token(t.kind, t.text, t.at - begin, t.end - begin) for t in tokens)
    return Statement(text[begin : tokens[-1].end], lines.of(begin), moved)


def _begins_line(text: str, at: int) -> bool:
    return not text[text.rfind("\n", 0, at) + 1 : at].strip()


class _Lines:
    """Line numbers of offsets that only grow: counted once."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._line = text, 0, 1

    def of(self, at: int) -> int:
        if at < self._at:
            return self._text.count("\n", 0, at) + 1
        self._line += self._text.count("\n", self._at, at)
        self._at = at
        return self._line


_DDL = (
    ("ALTER", "TABLE"), ("ALTER", "ONLINE", "TABLE"), ("ALTER", "IGNORE", "TABLE"),
    ("CREATE", "TABLE"), ("CREATE", "OR", "REPLACE", "TABLE"), ("CREATE", "INDEX"),
    ("CREATE", "UNIQUE", "INDEX"), ("CREATE", "FULLTEXT", "INDEX"), ("CREATE", "SPATIAL", "INDEX"),
    ("CREATE", "OR", "REPLACE", "INDEX"), ("CREATE", "OR", "REPLACE", "UNIQUE", "INDEX"),
    ("DROP", "INDEX"), ("DROP", "TABLE"), ("DROP", "TRIGGER"), ("CREATE", "TRIGGER"),
    ("CREATE", "OR", "REPLACE", "TRIGGER"), ("RENAME", "TABLE"), ("RENAME", "TABLES"),
    ("OPTIMIZE", "TABLE"),
)
_DATA = ("INSERT", "UPDATE", "DELETE", "REPLACE", "WITH")


def what(statement: Statement) -> What:
    """DDL that can be run on empty tables, a data statement, or one that is refused."""
    if any(statement.begins(*words) for words in _DDL):
        return What.DDL
    if statement.words and statement.words[0] in _DATA:
        return What.DATA
    if statement.begins("CREATE") and statement.has("TRIGGER"):  # with DEFINER = …
        before = statement.words[: statement.words.index("TRIGGER")]
        if len(before) < 12 and "DEFINER" in before:
            return What.DDL
    return What.REFUSED


def names(statement: Statement) -> set[str]:
    """Everything in it that may be the name of a table."""
    return {t.name for t in statement.tokens if t.kind in ("word", "quoted")}


def other_databases(statement: Statement, schema: str, known: set[str]) -> set[str]:
    """Databases of `known` that it names with a dot behind, other than `schema`. In whatever
    capitals, also `schema` itself in others: some servers do not tell them apart."""
    lower = {name.lower() for name in (*known, schema)}
    return {q for q in _qualifiers(statement) if q != schema and q.lower() in lower}


def _qualifiers(statement: Statement) -> Iterator[str]:
    for token, dot in zip(statement.tokens, statement.tokens[1:], strict=False):
        if token.kind in ("word", "quoted") and dot.text == ".":
            yield token.name


def unqualified(statement: Statement, schema: str) -> str:
    """Its text without `schema.` before names, so that it works in any schema."""
    text, tokens = statement.text, statement.tokens
    for at in range(len(tokens) - 2, -1, -1):
        token, dot = tokens[at], tokens[at + 1]
        before = tokens[at - 1].text if at else ""
        if (token.kind in ("word", "quoted") and token.name == schema and dot.text == "."
                and before != "."):
            text = text[: token.at] + text[dot.end :]
    return text


def with_algorithm(text: str, algorithm: str, lock: str) -> str | None:
    """An ALTER TABLE that asks for an algorithm and a lock; None where it cannot, or does."""
    tokens = split(text)[0].tokens
    words = tuple(t.upper for t in tokens)
    if "ALGORITHM" in words or "LOCK" in words:
        return None
    if "INDEX" in words[:5] and words[0] in ("CREATE", "DROP"):
        return f"{text} ALGORITHM={algorithm}" + (f" LOCK={lock}" if lock else "")
    if words[:1] != ("ALTER",):
        return None
    at = words.index("TABLE") + 1 if "TABLE" in words[:3] else 0
    if not at:
        return None
    if words[at : at + 2] == ("IF", "EXISTS"):
        at += 2
    if at + 1 >= len(tokens) or words[at + 1] in ("WAIT", "NOWAIT", "PARTITION"):
        return None
    asks = f" ALGORITHM={algorithm}" + (f", LOCK={lock}" if lock else "")
    comma = "" if words[at + 1] == "PARTITION" else ","
    return text[: tokens[at].end] + asks + comma + text[tokens[at].end :]
