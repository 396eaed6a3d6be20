"""Stored code that names a column or table which is dropped or renamed: found by its words, to be
looked at by a person."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from slackwater.facts.alter_diff import Change, Kind
from slackwater.facts.alter_program import StoredProgram
from slackwater.rules.alter.verdict import Finding, Note, Rule, comply

STORED_CODE = Rule(
    "stored-code", "A view, trigger, routine or event may use a column or table that goes",
    "Its text has the words; what it does with them cannot be judged from that. If it uses them, "
    "its statements fail on the new schema (1054, 1146, a view 1356), and with a trigger every "
    "statement that fires it, also those of an application that knows nothing of it.",
    "look at it; if it uses them, change it first (DROP TRIGGER and CREATE TRIGGER may stand "
    "in the same file)",
)
STORED_INSERT = Rule(
    "stored-insert", "Stored code has an INSERT without columns into a table that gets one more",
    "On the new schema it gives one value too few (1136): with a trigger, every statement that "
    "fires it fails from the switchover on, and the application knows nothing of it.",
    "first let it name the columns (CREATE OR REPLACE, or DROP and CREATE, of that trigger or "
    "routine), or add the column as INVISIBLE where the server can",
)
UNMADE = Rule(
    "stored-code-unmade", "Stored code of the dump could not be made on the throwaway server",
    "Something that it needs is not in the dump, as a table of another database. It was judged by "
    "its words alone, as they stand in the dump: a `SELECT *` or an INSERT without columns in it "
    "says nothing of what it uses.",
)
NO_CODE = Rule(
    "dump-without-code", "The dump has no routines and no events",
    "mysqldump and mariadb-dump write them only with --routines --events. What is not in the dump "
    "is not judged: code that uses a column that goes fails on the new schema.",
)
HIDDEN = Rule(
    "stored-code-hidden", "The text of stored code is not shown to this account",
    "A view, trigger, routine or event that uses a column that goes fails on the new schema. Of "
    "this one nothing is known: look at it with an account that is shown it (for a view, SHOW VIEW "
    "on its database).",
)
RULES = (STORED_CODE, STORED_INSERT, UNMADE, NO_CODE, HIDDEN)
_GOES = (Kind.COLUMN_DROPPED, Kind.COLUMN_RENAMED, Kind.TABLE_DROPPED)


def worth_reading(changes: Sequence[Change]) -> bool:
    """Whether stored code is worth reading: a column or table goes, or a column comes."""
    return any(c.kind in (*_GOES, Kind.COLUMN_ADDED) for c in changes)


def of_a_dump(
    changes: Sequence[Change], kinds: Collection[str], unmade: Sequence[tuple[StoredProgram, str]]
) -> list[Note]:
    """What a dump does not tell of stored code. `kinds`: those that it has; `unmade`: what the
    server would not make of it, and why."""
    if not worth_reading(changes):
        return []
    notes = [Note(UNMADE, p.table or p.name, f"{p.kind} {p.name} could not be made, and was judged "
                  f"by its words alone: {why}") for p, why in unmade]
    if not {"procedure", "function", "event", "package"} & set(kinds):
        notes.append(Note(NO_CODE, next(c.table for c in changes), "there is no routine or event in"
                          " the dump; if the database has some, make it with --routines --events"))
    return notes


def hidden(changes: Sequence[Change], code: Sequence[StoredProgram]) -> list[Note]:
    """A note on code whose text the account is not shown: it is not judged."""
    names = [f"{p.kind} {p.full_name}" for p in code if not p.text]
    if not names or not worth_reading(changes):
        return []
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return [Note(HIDDEN, next(c.table for c in changes), "not judged, for this account is not shown"
                 f" its text: {', '.join(names[:5])}{more}")]


def may_use(changes: Sequence[Change], code: Sequence[StoredProgram]) -> list[Finding]:
    """A finding for each column or table that goes and each piece of code that has its name."""
    found = []
    for change in changes:
        if change.kind is Kind.COLUMN_ADDED and not change.new.invisible:
            found += _inserts(change, code)
        if change.kind not in _GOES:
            continue
        for each in _users(change, code):
            side = comply(f"{each.kind} {each.full_name} must do without {change.old.name}: look")
            found.append(Finding(
                STORED_CODE, change.table, f"{each.kind.upper()} {each.full_name}", side, side,
                checks=(f"SHOW CREATE {each.kind.upper()} {each.full_name}",)))
    return found


def _users(change: Change, code: Sequence[StoredProgram]) -> list[StoredProgram]:
    """Those that may use what goes, also by way of a view that does."""
    found: list[StoredProgram] = []
    tables = [change.table]
    for table in tables:  # which grows
        for each in code:
            if change.kind is Kind.TABLE_DROPPED:
                # Its own triggers go with it.
                own = not each.database and each.table == change.table
                uses = table.lower() in each.words and not own
            else:
                uses = each.may_use(table, change.old.name)
            if uses and each not in found:
                found.append(each)
                tables += [each.name] if each.kind == "view" else []
    return [each for each in code if each in found]


def _inserts(change: Change, code: Sequence[StoredProgram]) -> list[Finding]:
    found = []
    for each in code:
        if each.inserts_unnamed(change.table):
            side = comply(f"{each.kind} {each.full_name} has an INSERT into {change.table} "
                          "without columns (1136)")
            found.append(Finding(
                STORED_INSERT, change.table, f"{each.kind.upper()} {each.full_name}", side,
                side, checks=(f"SHOW CREATE {each.kind.upper()} {each.full_name}",)))
    return found
