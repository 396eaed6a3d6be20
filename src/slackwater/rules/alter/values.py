"""Expressions whose value differs from server to server."""

from __future__ import annotations

import re

# Each gives another value on the second server, or at another time.
_NAMES = (
    "uuid", "uuid_short", "sys_guid", "uuid_v4", "uuid_v7", "rand", "now", "sysdate", "curdate",
    "curtime", "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp",
    "unix_timestamp", "utc_date", "utc_time", "utc_timestamp", "connection_id", "user",
    "current_user", "session_user", "system_user", "database", "schema", "last_insert_id",
    "row_count", "found_rows", "version", "random_bytes", "sleep", "get_lock", "release_lock",
    "load_file", "benchmark", "nextval", "lastval", "random",
)
_CALL = re.compile(rf"(?<![\w`$.])({'|'.join(_NAMES)})\s*\(", re.IGNORECASE)
_BARE = re.compile(
    r"(?<![\w`$.@])(current_timestamp|current_date|current_time|localtime|localtimestamp|"
    r"current_user|utc_date|utc_time|utc_timestamp)(?![\w`$])", re.IGNORECASE)
_VARIABLE = re.compile(r"@@?[\w`$.]+|\bnext\s+value\s+for\b", re.IGNORECASE)


def per_server(expression: str) -> list[str]:
    """What in an expression (string literals taken out) differs per server, in capitals."""
    bare = re.sub(r"'(?:[^'\\]|''|\\.)*'", "''", expression, flags=re.DOTALL)
    found = [m[1].upper() for m in _CALL.finditer(bare)]
    found += [m[1].upper() for m in _BARE.finditer(bare)]
    found += [m[0] for m in _VARIABLE.finditer(bare)]
    return list(dict.fromkeys(found))


def names_column(expression: str, column: str) -> bool:
    """Whether an expression, as a server shows it, has a column of this name."""
    return f"`{column}`".lower() in expression.lower()


# One moment for all chunks of a data statement: the session's clock is set to it.
_OF_THE_MOMENT = frozenset({
    "NOW", "CURDATE", "CURTIME", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "LOCALTIME",
    "LOCALTIMESTAMP", "UNIX_TIMESTAMP", "UTC_DATE", "UTC_TIME", "UTC_TIMESTAMP",
})  # fmt: skip
# Drawn once, on the active, and replicated as rows.
_DRAWN = frozenset({"UUID", "UUID_SHORT", "SYS_GUID", "UUID_V4", "UUID_V7", "RAND", "RANDOM_BYTES"})


def of_the_moment(statement: str) -> bool:
    """Whether a data statement asks for the time."""
    return bool(_OF_THE_MOMENT.intersection(per_server(statement)))


def not_kept(statement: str) -> list[str]:
    """What in a data statement means something else in each chunk, or in another session."""
    return [n for n in per_server(statement) if n not in _OF_THE_MOMENT | _DRAWN]
