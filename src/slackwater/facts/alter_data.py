"""A data statement of a schema change, taken apart so that it can be run in chunks of its table.

By its words only: which table's rows it goes through, where a condition on its key belongs, what it
writes. A form that is not known here is not taken for another one: `ShapeError` says which.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from slackwater.facts.alter_script import Statement, Token


class Shape(enum.StrEnum):
    """How its rows are walked."""

    UPDATE = "update"
    DELETE = "delete"
    COPY = "copy"  # INSERT … SELECT, by the table that is read
    ROWS = "rows"  # INSERT … VALUES: at once


class ShapeError(ValueError):
    """It cannot be run in chunks; the text says why and what to do."""


# At the statement's own level, outside of parentheses: each goes over the border of a chunk.
_WHOLE = {
    "ORDER": "ORDER BY", "LIMIT": "LIMIT", "GROUP": "GROUP BY", "HAVING": "HAVING",
    "UNION": "UNION", "EXCEPT": "EXCEPT", "INTERSECT": "INTERSECT", "DISTINCT": "DISTINCT",
    "DISTINCTROW": "DISTINCT", "JOIN": "a join", "STRAIGHT_JOIN": "a join", "WINDOW": "WINDOW",
    "RETURNING": "RETURNING", "DUPLICATE": "ON DUPLICATE KEY UPDATE", "PROCEDURE": "PROCEDURE",
    "FOR": "FOR UPDATE", "OFFSET": "OFFSET", "FETCH": "FETCH", "PARTITION": "PARTITION",
}  # fmt: skip


@dataclass(frozen=True)
class DataStatement:
    """`table` is written; `walked` is the one whose key makes the chunks ("" for Shape.ROWS).

    `assigned`: the columns that an UPDATE sets, or an INSERT names. `where`: the condition's place
    in the text (begin, end); None without one.
    """

    text: str
    shape: Shape
    table: str
    walked: str
    assigned: tuple[str, ...] = ()
    where: tuple[int, int] | None = None
    where_words: frozenset[str] = frozenset()  # lower case: names and words in the condition

    def within(self, condition: str) -> str:
        """The statement for the rows of one chunk."""
        if self.where is None:
            return f"{self.text} WHERE {condition}"
        begin, end = self.where
        return f"{self.text[:begin]} ({self.text[begin:end]}\n) AND ({condition})"

    @property
    def settles(self) -> bool:
        """Whether rows that it has gone through no longer meet its condition, as a rule: those
        that do so afterwards were written since."""
        if self.where is None:
            return False
        names = {c.lower() for c in self.assigned}
        return self.shape is Shape.DELETE or (
            self.shape is Shape.UPDATE and bool(names & self.where_words))

    @property
    def condition(self) -> str:
        """Its condition, "TRUE" without one."""
        return self.text[slice(*self.where)] if self.where else "TRUE"


def shape(statement: Statement, database: str) -> DataStatement:
    """Take one apart. Raises ShapeError."""
    reader = _Reader(statement, database)
    if reader.words[:1] == ("UPDATE",):
        return reader.update()
    if reader.words[:2] == ("DELETE", "FROM"):
        return reader.delete()
    if reader.words[:1] == ("INSERT",):
        return reader.insert()
    begin = " ".join(w for w in reader.words[:2] if w)
    raise ShapeError(f"{begin}: only UPDATE table SET …, DELETE FROM table …, INSERT INTO table "
                     "(columns) SELECT … FROM table … and INSERT … VALUES are run in chunks")


class _Reader:
    """Reads one statement from left to right."""

    def __init__(self, statement: Statement, database: str) -> None:
        self.text, self.tokens, self.database = statement.text, statement.tokens, database
        self.words = statement.words
        self.levels = _levels(statement.tokens)

    def update(self) -> DataStatement:
        table, at = self._table(1)
        at = self._alias(at)
        if self._word(at) != "SET":
            raise ShapeError("only UPDATE table SET … of one table, without modifiers, is run in "
                             "chunks")
        self._no_whole(at)
        where = self._where(at)
        stop = where if where is not None else len(self.tokens)
        assigned = tuple(self._assigned(at, stop))
        self._not_again(table, at)
        return self._made(Shape.UPDATE, table, table, assigned, where)

    def delete(self) -> DataStatement:
        table, at = self._table(2)
        at = self._alias(at)
        self._no_whole(at)
        if at < len(self.tokens) and self._word(at) != "WHERE":
            raise ShapeError("only DELETE FROM table [WHERE …] of one table is run in chunks")
        self._not_again(table, at)
        return self._made(Shape.DELETE, table, table, (), self._where(at))

    def insert(self) -> DataStatement:
        at = 2 if self._word(1) == "IGNORE" else 1
        if self._word(at) != "INTO":
            raise ShapeError("only INSERT [IGNORE] INTO table (columns) … is run")
        table, at = self._table(at + 1)
        if self._word(at) != "(":
            raise ShapeError("an INSERT has to name its columns: INSERT INTO table (columns) …")
        end = next(i for i in range(at + 1, len(self.tokens)) if self.levels[i] == 0)
        columns = tuple(t.name for t in self.tokens[at + 1 : end] if t.kind in ("word", "quoted"))
        at = end + 1
        self._no_whole(at)
        if self._word(at) in ("VALUES", "VALUE"):
            if "SELECT" in self.words:
                raise ShapeError("a SELECT among the VALUES: write INSERT … SELECT")
            return DataStatement(self.text, Shape.ROWS, table, "", columns)
        if self._word(at) != "SELECT":
            raise ShapeError("only INSERT … SELECT and INSERT … VALUES are run")
        begin = next((i for i in range(at, len(self.tokens))
                      if self._word(i) == "FROM" and self.levels[i] == 0), None)
        if begin is None:
            raise ShapeError("a SELECT without a table: write INSERT … VALUES")
        walked, then = self._table(begin + 1)
        then = self._alias(then)
        if then < len(self.tokens) and self._word(then) != "WHERE":
            raise ShapeError("only INSERT … SELECT from one table is run in chunks")
        if walked.lower() == table.lower():
            raise ShapeError("it reads the table that it writes: a chunk would read the rows of "
                             "the one before")
        self._not_again(table, at)
        self._not_again(walked, then)
        return self._made(Shape.COPY, table, walked, columns, self._where(then))

    # --- parts ---

    def _made(
        self, kind: Shape, table: str, walked: str, assigned: tuple[str, ...], where: int | None
    ) -> DataStatement:
        place, words = None, frozenset[str]()
        if where is not None:
            if where + 1 >= len(self.tokens):
                raise ShapeError("WHERE without a condition")
            place = (self.tokens[where].end, len(self.text))
            words = frozenset(t.name.lower() for t in self.tokens[where + 1 :]
                              if t.kind in ("word", "quoted"))
        return DataStatement(self.text, kind, table, walked, assigned, place, words)

    def _word(self, at: int) -> str:
        return self.words[at] if at < len(self.words) else ""

    def _table(self, at: int) -> tuple[str, int]:
        """A table's name, with or without the database; and where it goes on."""
        if at >= len(self.tokens) or self.tokens[at].kind not in ("word", "quoted"):
            raise ShapeError("which table it is for is not understood")
        if self._word(at) in ("IGNORE", "LOW_PRIORITY", "QUICK", "LATERAL"):
            raise ShapeError(f"{self._word(at)}: only a statement without modifiers is run in "
                             "chunks")
        if self._word(at + 1) == "." and at + 2 < len(self.tokens):
            if self.tokens[at].name != self.database:
                raise ShapeError(f"it names another database, {self.tokens[at].name}")
            return self.tokens[at + 2].name, at + 3
        return self.tokens[at].name, at + 1

    def _alias(self, at: int) -> int:
        if self._word(at) == "AS":
            return at + 2
        known = self._word(at) in ("SET", "WHERE", ",", "USE", "FORCE", "IGNORE", "PARTITION")
        is_name = at < len(self.tokens) and self.tokens[at].kind in ("word", "quoted")
        return at + 1 if is_name and not known and self._word(at) not in _WHOLE else at

    def _where(self, at: int) -> int | None:
        return next((i for i in range(at, len(self.tokens))
                     if self._word(i) == "WHERE" and self.levels[i] == 0), None)

    def _no_whole(self, at: int) -> None:
        for i in range(at, len(self.tokens)):
            if self._word(i) == "OVER":
                raise ShapeError("a window function needs all rows: it cannot be run in chunks")
            if self.levels[i] == 0 and self._word(i) in _WHOLE and self._before(i) != ".":
                raise ShapeError(f"{_WHOLE[self._word(i)]} goes over the border of a chunk")

    def _before(self, at: int) -> str:
        return self.tokens[at - 1].text if at else ""

    def _assigned(self, at: int, stop: int) -> list[str]:
        """The columns in front of each `=` of SET."""
        found, begins = [], True
        for i in range(at + 1, stop):
            if self.levels[i]:
                continue
            if begins and self._word(i) in ("=", ":"):
                found.append(self.tokens[i - 1].name)
                begins = False
            elif self._word(i) == ",":
                begins = True
        return found

    def _not_again(self, table: str, at: int) -> None:
        """Whether a subquery reads the table that is written."""
        for i in range(at, len(self.tokens)):
            token = self.tokens[i]
            if (token.kind in ("word", "quoted") and token.name.lower() == table.lower()
                    and self._word(i + 1) != "." and self._is_table(i)):
                raise ShapeError(f"a subquery reads {table}: a chunk would read what the one before"
                                 " has written")

    def _is_table(self, at: int) -> bool:
        """By what stands in front of it; a column of that name is taken for one at times."""
        before = self._before(at).upper()
        if before == ".":
            return at > 1 and self.tokens[at - 2].name == self.database
        return before in ("FROM", "JOIN", "STRAIGHT_JOIN") or (
            before == "," and self.levels[at] > 0 and "SELECT" in self.words)


def _levels(tokens: Sequence[Token]) -> list[int]:
    """How deep in parentheses each token stands; a closing one stands as deep as its opening."""
    found, level = [], 0
    for token in tokens:
        if token.kind == "sign" and token.text == ")":
            level -= 1
        found.append(level)
        if token.kind == "sign" and token.text == "(":
            level += 1
    return found
