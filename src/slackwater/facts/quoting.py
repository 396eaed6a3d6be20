"""Names and texts as a statement has them."""

from __future__ import annotations


def identifier(name: str) -> str:
    """A name, in backticks."""
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """A text, in quotes, for a session without NO_BACKSLASH_ESCAPES, as all of ours are."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
