"""What people, journals and logs are shown of a statement: nothing that tells a password. Pure."""

from __future__ import annotations

import re

LONGEST = 80
# In a statement: everything behind such a word, a hash too. In a server's words, which may quote a
# statement: only where it is one, since "(using password: YES)" and the names of plugins are not.
_SECRET = re.compile(r"\bIDENTIFIED\b|PASSWORD", re.IGNORECASE)
_QUOTED = re.compile(
    r"\bIDENTIFIED\s+(?:BY|WITH|VIA)\b|\bSET\s+PASSWORD\b|PASSWORD\s*[=(]|PASSWORD\s+'",
    re.IGNORECASE)
# A syntax error quotes what follows the place where it is, wherever that is.
_NEAR = re.compile(r"\bnear '.*", re.DOTALL)


def statement(text: str) -> str:
    """A statement, or the beginning of one, up to the word that a password follows."""
    found = _SECRET.search(text)
    return f"{text[: found.end()]} …" if found else text


def head(sql: str | bytes) -> str:
    """The beginning of a statement in one line; of bytes, that data is sent by, no data."""
    if isinstance(sql, bytes):
        sql = sql[:LONGEST].partition(b" VALUES ")[0].decode(errors="replace")
    line = statement(" ".join(sql.split()))
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def words(text: str) -> str:
    """What a server says, which may quote a statement, as replication's errors do."""
    found = _QUOTED.search(text)
    return f"{text[: found.end()]} …" if found else text


def answer(text: str, sql: str | bytes, *, filled: bool) -> str:
    """A server's error to this statement. `filled`: it was sent with arguments, which are not
    shown, so nothing is that is quoted of it."""
    plain = sql.decode(errors="replace") if isinstance(sql, bytes) else sql
    if filled or _SECRET.search(plain):
        text = _NEAR.sub("near …", text)
    return words(text)
