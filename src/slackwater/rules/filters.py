"""Which tables a replication filter keeps from a replica. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from slackwater.facts.setup import SYSTEM_SCHEMAS

Filter = tuple[str, str]  # as SHOW REPLICA STATUS has them: ("Replicate_Do_DB", "shop,log")


def left_out(table: str, filters: Iterable[Filter]) -> str | None:
    """The filter that keeps the row changes of SCHEMA.TABLE from a replica; None: none does.

    In the servers' own order: databases first, then tables by name, then by pattern; and where any
    names what is replicated, the rest is not. (MySQL manual 19.2.5.1 and 19.2.5.2, MariaDB alike.)
    """
    schema = table.partition(".")[0]
    if table[0] == "`" and "`.`" in table:  # a dot in one of the names
        schema, name = (p.replace("``", "`") for p in table[1:-1].split("`.`", 1))
        table = f"{schema}.{name}"
    of = {name: (value, _parts(value)) for name, value in filters}

    def said(name: str) -> str:
        return f"{name} = {of[name][0]}"

    for kind in ("Binlog", "Replicate"):
        if (name := f"{kind}_Do_DB") in of:
            if schema not in of[name][1]:
                return said(name)
        elif (name := f"{kind}_Ignore_DB") in of and schema in of[name][1]:
            return said(name)
    for name, kept in (
        ("Replicate_Do_Table", True), ("Replicate_Ignore_Table", False),
        ("Replicate_Wild_Do_Table", True), ("Replicate_Wild_Ignore_Table", False),
    ):
        if name in of and any(_matches(p, table, wild="Wild" in name) for p in of[name][1]):
            return None if kept else said(name)
    only = [n for n in ("Replicate_Do_Table", "Replicate_Wild_Do_Table") if n in of]
    return said(only[0]) if only else None


def leaves_out_clients(binlog_filter: Filter) -> bool:
    """Whether a filter of the binary log leaves out more than the server's own databases."""
    name, value = binlog_filter
    return name == "Binlog_Do_DB" or not set(SYSTEM_SCHEMAS).issuperset(_parts(value))


def _parts(value: str) -> Sequence[str]:
    return [part.strip().replace("`", "") for part in value.split(",")]


def _matches(pattern: str, table: str, *, wild: bool) -> bool:
    if not wild:
        return pattern == table
    each = re.findall(r"\\.|.", pattern, re.DOTALL)
    text = "".join(
        ".*" if p == "%" else "." if p == "_" else re.escape(p[-1]) for p in each)
    return re.fullmatch(text, table, re.DOTALL) is not None
