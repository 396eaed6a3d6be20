"""What is refused, or said, by a statement's own words: what no empty table would show."""

from __future__ import annotations

from slackwater.facts import statement_text
from slackwater.facts.alter_script import Statement, What, what
from slackwater.rules.alter.values import not_kept
from slackwater.rules.alter.verdict import Finding, Rule, refused

NOT_ALLOWED = Rule(
    "statement-not-allowed", "A statement that is no change of a table, an index or a trigger",
    "It cannot be judged by running it on empty tables (USE, SET, transactions, accounts, views, "
    "routines, events, databases), or would leave them.",
    "run it by itself, outside of the change",
)
SYNTAX = Rule(
    "server-refuses", "The server itself refuses the statement",
    "It was run on an empty copy of the tables: a syntax error, a table or column that is missing, "
    "or something this version cannot do.",
    "mend the statement",
)
NAME_TAKEN = Rule(
    "name-taken", "A table is created under a name that the database has already",
    "Tables, views and sequences share their names (1050). `IF NOT EXISTS` would make nothing, and "
    "say nothing.",
    "choose another name; or drop the view or sequence first, on the active, through the binary "
    "log",
)
TEMPORARY = Rule(
    "temporary-table", "A temporary table is changed",
    "It lives in one session; the change would be of nothing.",
)
DATABASE = Rule(
    "other-database", "A statement names another database",
    "A change is judged and made in one database.",
    "make a file for each database",
)
LOSES_ROWS = Rule(
    "rows-removed", "Rows are removed or exchanged with their partition or table",
    "TRUNCATE, DROP, DISCARD or EXCHANGE PARTITION and ALTER IGNORE change the data of one server "
    "only: rows differ, and the way back does not bring them.",
    "remove rows with DELETE on the active, in chunks, through the binary log",
)
RENAME_TABLE = Rule(
    "rename-table", "A table is renamed",
    "Changes of the old name stop replication (1146), and the application's statements fail.",
    "make the new table, let the application write both; or keep a view of the old name",
)
WITH_DATA = Rule(
    "create-select", "A table is created with data in it",
    "It runs once on each server: the rows differ when anything is written in between.",
    "create it empty, and fill it with INSERT … SELECT behind it in the same file",
)
DATA = Rule(
    "data-statement", "A data statement (a backfill) is in the file",
    "It runs once, on the active, in `alter finish`, when both servers have the new schema: in "
    "chunks along a unique key, each a transaction of its own, and through the binary log as rows. "
    "Run apart on each server it would leave them different: rows change in between.",
)
DATA_SHAPE = Rule(
    "data-not-in-chunks", "A data statement cannot be run in chunks",
    "As one transaction it would lock every row that it touches, and hold up every replica, for as "
    "long as it takes; and in chunks it would do something else.",
    "write it for one InnoDB table with a primary key (or a unique one that is never NULL), with "
    "a condition on each row alone",
)
DATA_FOR_GOOD = Rule(
    "data-for-good", "A data statement overwrites or removes what is there already",
    "Nothing brings the old values back: neither `alter revert`, which is over by then, nor "
    "another change.",
    "make a snapshot first (`slackwater snapshot`), or write a new column; then say "
    "--accept-overwrite",
)
DATA_FIRST = Rule(
    "data-before-ddl", "DDL follows a data statement in the same file",
    "The data statement can only run after both servers have the new schema, so DDL that needs its "
    "result has to be a change of its own.",
    "make two files: first the columns and the data statement, then the rest",
)
NOT_REPEATABLE = Rule(
    "statement-differs", "A data statement's values depend on the session or the chunk",
    "User variables, SYSDATE(), CONNECTION_ID(), LAST_INSERT_ID(), sequences and the like mean "
    "something else in each chunk. (NOW() is the same moment in all of them; UUID() and RAND() are "
    "drawn once, on the active, and replicated as rows.)",
    "write the value itself, or take it from the row",
)
TOGETHER = Rule(
    "settings-conflict", "Two clauses need settings that exclude each other",
    "MySQL's ALL_UNSIGNED holds for every integer whose rows are converted.",
    "make two changes of it, one after the other",
)
FOREIGN_KEY_COLUMN = Rule(
    "foreign-key-column", "A column of a foreign key is changed at one end",
    "The server refuses it (1832, 1833, 3780), also with foreign_key_checks=0.",
    "in one file: drop the foreign key, change the column at both ends, add the foreign key again; "
    "slackwater sees that it is the same",
)
LIVE_CODE = Rule(
    "code-in-comment", "A comment holds code for some versions (/*! … */)",
    "What it does depends on the version that reads it.",
    "write the statement without it",
)

RULES = (NOT_ALLOWED, SYNTAX, NAME_TAKEN, TEMPORARY, DATABASE, LOSES_ROWS, RENAME_TABLE,
         WITH_DATA, DATA, DATA_SHAPE, DATA_FOR_GOOD, DATA_FIRST, NOT_REPEATABLE, TOGETHER,
         FOREIGN_KEY_COLUMN, LIVE_CODE)

_LOSING = (("TRUNCATE",), ("DROP", "PARTITION"), ("EXCHANGE", "PARTITION"), ("DISCARD",),
           ("IMPORT",), ("ALTER", "IGNORE"), ("CONVERT", "PARTITION"), ("CONVERT", "TABLE"))


def refusal(statement: Statement) -> Finding | None:
    """Why a statement is not even tried; None when it may be."""
    def no(rule: Rule, why: str) -> Finding:
        return told(rule, statement, why)

    if any(t.kind == "code" for t in statement.tokens):
        return no(LIVE_CODE, "code inside a comment")
    if statement.begins("CREATE", "TEMPORARY") or statement.begins("DROP", "TEMPORARY") or (
        statement.begins("CREATE", "OR", "REPLACE", "TEMPORARY")
    ):
        return no(TEMPORARY, "a temporary table")
    if statement.begins("USE"):
        return no(DATABASE, "it switches to another database")
    if statement.begins("TRUNCATE"):
        return no(LOSES_ROWS, "TRUNCATE empties the table on one server only")
    if what(statement) is What.REFUSED:
        return no(NOT_ALLOWED, f"{' '.join(w for w in statement.words[:2] if w)} is not a change "
                               "of a table, an index or a trigger")
    if what(statement) is What.DDL:
        return _ddl(statement)
    return None


def told(rule: Rule, statement: Statement, why: str) -> Finding:
    """A refusal of a whole statement."""
    side = refused(why)
    return Finding(rule, "", head(statement), side, side)


def _ddl(statement: Statement) -> Finding | None:
    if statement.begins("RENAME") or (
        statement.begins("ALTER") and _renames(statement)
    ):
        return told(RENAME_TABLE, statement, "the table has another name on the other server")
    makes = statement.begins("CREATE") and "TABLE" in statement.words[:4]
    if makes and "SELECT" in statement.words:
        return told(WITH_DATA, statement, "CREATE TABLE … SELECT")
    if makes and statement.words.count("TABLE") > 1:  # a word that no name is without quotes
        return told(WITH_DATA, statement, "CREATE TABLE … TABLE")
    if makes and (statement.has("VALUES", "ROW") or statement.has("VALUES", "(")):
        return told(WITH_DATA, statement, "CREATE TABLE … VALUES")
    if not (statement.begins("CREATE") and statement.has("TRIGGER")):
        for words in _LOSING:
            if statement.has(*words):
                return told(LOSES_ROWS, statement, " ".join(words))
    return None


def _renames(statement: Statement) -> bool:
    """RENAME [TO|AS|=] name, as a clause of its own: not COLUMN, INDEX, KEY, PARTITION."""
    words = statement.words
    return any(word == "RENAME" and words[at + 1 : at + 2] and
               words[at + 1] not in ("COLUMN", "INDEX", "KEY", "CONSTRAINT", "PARTITION")
               for at, word in enumerate(words) if statement.tokens[at].kind == "word")


def data(statement: Statement, *, ddl_follows: bool) -> list[Finding]:
    """What is refused of a data statement by its words."""
    found = []
    if values := not_kept(statement.text):
        found.append(told(NOT_REPEATABLE, statement,
                          f"{', '.join(values)} is not the same in every chunk"))
    if ddl_follows:
        found.append(told(DATA_FIRST, statement, "DDL follows in the same file"))
    return found


def head(statement: Statement) -> str:
    """Its beginning, on one line, and no password."""
    line = " ".join(statement_text.words(statement.text).split())
    return line if len(line) <= 100 else line[:99] + "…"
