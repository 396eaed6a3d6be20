"""Views, triggers, routines and events, by their text: which of them may use a column."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORD = re.compile(r"[\w$\x80-\uffff]+")


@dataclass(frozen=True)
class StoredProgram:
    """One of them; `table`: that of a trigger, "" for the others. `text` may be "": not shown.
    `database`: where it is, when that is not where the change is."""

    kind: str  # view, trigger, procedure, function, event
    name: str
    table: str
    text: str
    database: str = ""

    @property
    def full_name(self) -> str:
        """With its database, when that is another one."""
        return f"{self.database}.{self.name}" if self.database else self.name

    def reaches(self, schema: str) -> bool:
        """Whether it can mean a table of this database: it is there, or names it."""
        return not self.database or schema.lower() in self.words

    @property
    def words(self) -> frozenset[str]:
        """All words of its text, in lower case."""
        return frozenset(w.lower() for w in _WORD.findall(self.text))

    def inserts_unnamed(self, table: str) -> bool:
        """Whether it has an INSERT into the table that names no columns."""
        into = rf"(?:[\w$`]+\s*\.\s*)?`?(?<![\w$]){re.escape(table)}`?\s*(?:\(\s*\)\s*)?"
        return re.search(
            rf"\b(?:insert|replace)\b(?:\s+(?:ignore|low_priority|delayed|high_priority|into))*\s+"
            rf"{into}\b(?:values?|select|with)\b", self.text, re.IGNORECASE) is not None

    def may_use(self, table: str, column: str) -> bool:
        """Whether its text has both words (a trigger's table need not be in it)."""
        words = self.words
        return column.lower() in words and (
            self.table.lower() == table.lower() or table.lower() in words)
