"""What an application's sessions SET before their statements: what of it a replay can repeat."""

from __future__ import annotations

from slackwater.facts.alter_script import Statement, Token
from slackwater.facts.rehearsal import Setting

# What changes what a later statement means or does. Not the time (a replay has its own), nor the
# bounds of a transaction, nor what concerns the connection only.
_REPEATED = frozenset((
    "sql_mode", "time_zone", "collation_connection", "foreign_key_checks", "unique_checks",
    "check_constraint_checks", "sql_safe_updates", "sql_auto_is_null", "group_concat_max_len",
    "div_precision_increment", "lc_time_names", "default_week_format", "innodb_strict_mode",
    "explicit_defaults_for_timestamp", "auto_increment_increment", "auto_increment_offset",
    "sql_select_limit", "max_sort_length", "old_mode", "default_storage_engine",
    "block_encryption_mode", "optimizer_switch", "system_versioning_asof",
    "system_versioning_alter_history", "system_versioning_insert_history",
))
# Without effect on a statement that is a transaction of its own.
_NO_MATTER = frozenset((
    "wait_timeout", "interactive_timeout", "net_read_timeout", "net_write_timeout",
    "innodb_lock_wait_timeout", "lock_wait_timeout", "max_statement_time", "max_execution_time",
    "profiling", "session_track_schema", "session_track_gtids", "sql_quote_show_create",
))
_UTF8 = ("UTF8", "UTF8MB3", "UTF8MB4")
# Of one byte each: what is to be read of a statement is what it is in UTF-8.
_BYTES = frozenset((
    "LATIN1", "LATIN2", "LATIN5", "LATIN7", "ASCII", "BINARY", "CP1250", "CP1251", "CP1256",
    "CP1257", "CP850", "CP852", "CP866", "GREEK", "HEBREW", "KOI8R", "KOI8U",
))
_SCOPES = ("SESSION", "LOCAL")


class Settings:
    """Those of one session, as they are after what it has said so far."""

    def __init__(self) -> None:
        self._now: dict[str, Setting] = {}

    def say(self, said: Statement, number: int) -> list[str]:
        """Take in a SET statement, the `number`th of all; what of it is not repeated, by name."""
        unknown = []
        for part in _assignments(said):
            name, text = _one(said, part)
            if not text:
                if name.lower() not in _NO_MATTER:
                    unknown.append(name)
                continue
            self._now.pop(name, None)
            self._now[name] = Setting(number, name, text)
        return unknown

    @property
    def now(self) -> tuple[Setting, ...]:
        """In the order in which they were said."""
        return tuple(self._now.values())


def _assignments(said: Statement) -> list[list[Token]]:
    """What stands between its commas, without SET."""
    parts, depth = [list[Token]()], 0
    for token in said.tokens[1:]:
        depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "sign" else 0
        if token.text == "," and not depth:
            parts.append([])
        else:
            parts[-1].append(token)
    return [p for p in parts if p]


def _one(said: Statement, part: list[Token]) -> tuple[str, str]:
    """The variable's name, and the statement that sets it; "" where it is not repeated."""
    whole = "SET " + said.text[part[0].at : part[-1].end]
    first = part[0].upper
    if first == "NAMES" and len(part) > 1:
        name = part[1].text.strip("'\"").upper()
        if name in (*_UTF8, "DEFAULT"):
            return "NAMES", whole
        if name in _BYTES and len(part) == 2:
            # The log has the client's own bytes; what comes back is for us.
            return "NAMES", f"SET character_set_client = {name}, character_set_connection = {name}"
        return f"NAMES {part[1].text}", ""
    if part[0].kind == "variable" and not part[0].text.startswith("@@"):
        return part[0].text, whole
    name = part[0].text
    if first in _SCOPES and len(part) > 1:
        name = part[1].name
    elif name.startswith("@@"):
        scope, _, rest = name[2:].rpartition(".")
        if scope.upper() not in ("", *_SCOPES):
            return name[2:], ""
        name = rest
    elif first in ("GLOBAL", "PERSIST", "PERSIST_ONLY", "TRANSACTION", "PASSWORD", "ROLE"):
        return " ".join((first, *(t.name for t in part[1:2]))), ""
    name = name.strip("`").lower()
    return name, whole if name in _REPEATED else ""
