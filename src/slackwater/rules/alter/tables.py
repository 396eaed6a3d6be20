"""Tables that come and go, engines, options, partitions and triggers."""

from __future__ import annotations

import math

from slackwater.facts.alter_diff import Change
from slackwater.facts.alter_link import Link, PairSettings
from slackwater.facts.alter_table import Partition
from slackwater.rules.alter.verdict import (
    SAFE,
    Finding,
    Rule,
    Side,
    comply,
    finding,
    refused,
)

CREATE = Rule(
    "create-table", "A table is created",
    "A write to it stops replication to the server that does not have it yet (1146).",
)
DROP = Rule(
    "drop-table", "A table is dropped",
    "A write to it stops replication to the server that has it no more (1146); its data is gone "
    "on the way back.",
    "rename nothing: release the application that does not use it, wait, then drop it",
)
ENGINE = Rule(
    "engine", "The storage engine changes",
    "Rows replicate between InnoDB, MyISAM and Aria tables. What fails half way InnoDB takes back "
    "as a whole, the others not: a statement that is executed anew on each differs in silence. "
    "Other engines keep only part of what is written, or put it elsewhere.",
    "let no statement fail half way (several rows, one of them a duplicate), and no transaction "
    "write to this table and to another one",
)
OPTION = Rule(
    "table-option", "Comment, default character set, row format and the like change",
    "Replication does not care: columns keep what they have.",
)
NOTHING = Rule(
    "rebuild", "The definition stays as it is",
    "A rebuild, or a change that an empty table does not show, such as AUTO_INCREMENT = n.",
)
PARTITION = Rule(
    "partitioning", "A table is partitioned otherwise",
    "Rows replicate (the manual says: not supported). A row that no partition takes stops "
    "replication (1526).",
    "keep a partition for all other values (MAXVALUE, DEFAULT)",
)
VERSIONING = Rule(
    "system-versioning", "System versioning is added or removed",
    "History is made by each server for itself, and row events carry columns that the other has "
    "not: they differ, or replication stops.",
    "add it with a plain ALTER on the active, through the binary log",
)
TRIGGER = Rule(
    "trigger", "A trigger is created or dropped",
    "For row events the replica fires none: what it does comes as rows, and it begins (or ends) "
    "with the switchover. For statements each server does what its own triggers say: silent "
    "differences.",
    "use binlog_format=ROW, and slave_run_triggers_for_rbr=NO",
)
UNKNOWN = Rule(
    "not-understood", "The definition changes in a way that is not understood",
    "What cannot be judged is refused.",
    "take the statement apart; run what is left with a plain ALTER on the active",
)

RULES = (CREATE, DROP, ENGINE, OPTION, NOTHING, PARTITION, VERSIONING, TRIGGER,
         UNKNOWN)
_STORES = {"innodb", "myisam", "aria"}


def created(change: Change, links: PairSettings) -> list[Finding]:
    """A new table."""
    if change.new.versioned:
        return versioning(change, links)
    gates = [f"must not use {change.table}"]
    return [finding(CREATE, change, f"CREATE TABLE {change.table}", lambda _: SAFE, links,
                    gates=gates)]


def dropped(change: Change, links: PairSettings) -> list[Finding]:
    """A table that is gone."""
    gates = [f"must not use {change.table}, now and later"]
    return [finding(DROP, change, f"DROP TABLE {change.table}",
                    lambda _: comply("nobody may use it any more (1146)"), links, gates=gates,
                    checks=[f"nothing reads or writes {change.table}: performance_schema.table_io_"
                            "waits_summary_by_table, and the general log"])]


def engine(change: Change, links: PairSettings) -> list[Finding]:
    """Another storage engine."""
    new = str(change.new)
    kept = new.lower() in _STORES and str(change.old).lower() in _STORES
    rolls_back = len({n.lower() == "innodb" for n in (new, str(change.old))}) > 1

    def judge(link: Link) -> Side:
        if not kept:
            return refused(f"{change.old} and {new} do not keep the same rows")
        side = SAFE
        if rolls_back and link.statements:
            side = comply("of a statement that fails half way one of the two keeps the first rows")
        if rolls_back and not link.mariadb:
            side = side.worse(comply("with GTIDs a transaction that writes to this table and to "
                                     "another one is refused, and stops replication (1785)"))
        return side

    return [finding(ENGINE, change, f"ENGINE={new}", judge, links)]


def option(change: Change, links: PairSettings) -> list[Finding]:
    """A table option."""
    return [finding(OPTION, change, "table options", lambda _: SAFE, links)]


def nothing(change: Change, links: PairSettings) -> list[Finding]:
    """No difference to be seen."""
    return [finding(NOTHING, change, "no change of the definition", lambda _: SAFE, links)]


def versioning(change: Change, links: PairSettings) -> list[Finding]:
    """System versioning."""
    return [finding(VERSIONING, change, "SYSTEM VERSIONING",
                    lambda _: refused("history is made by each server for itself"), links)]


def trigger(change: Change, links: PairSettings) -> list[Finding]:
    """A trigger that comes or goes."""
    verb = "DROP" if change.new is None else "CREATE"

    def judge(link: Link) -> Side:
        if link.statements:
            return refused("each server does what its own triggers say")
        if link.triggers:
            return refused("slave_run_triggers_for_rbr makes the replica fire its own triggers")
        return SAFE

    return [finding(TRIGGER, change, f"{verb} TRIGGER {change.name}", judge, links)]


def partitions(change: Change, links: PairSettings) -> list[Finding]:
    """Another partitioning."""
    old: tuple[Partition, ...] = change.old
    new: tuple[Partition, ...] = change.new
    what = "partitions: " + (", ".join(p.name for p in new) or "none")
    gates: list[str] = []
    if _narrows(new, old):
        gates = [f"must not write rows to {change.table} that no partition of the old schema takes"]

    def judge(link: Link) -> Side:
        if link.forward and _narrows(old, new):
            return comply("a row that no partition takes stops replication (1526)")
        return SAFE

    checks = [f"every row of {change.table} has its partition, and the application must keep it "
              "so"] if _narrows(old, new) else []
    return [finding(PARTITION, change, what, judge, links, gates=gates, checks=checks)]


def _narrows(wide: tuple[Partition, ...], other: tuple[Partition, ...]) -> bool:
    """Whether `other` may have no place for a row that `wide` takes."""
    if not _bounded(other):
        return False
    same = wide and (wide[0].method, wide[0].expression) == (other[0].method, other[0].expression)
    if not same:
        return True
    kept = {p.description for p in other}
    if other[0].method.startswith("RANGE"):
        return bool(wide[-1].description not in kept and not _top(wide) <= _top(other))
    return not {p.description for p in wide} <= kept


def _top(partitions: tuple[Partition, ...]) -> float:
    last = partitions[-1].description
    try:
        return int(last)
    except ValueError:  # no number is below, or above, what is none: it is not known
        return math.inf if last.upper() == "MAXVALUE" else math.nan


def _bounded(partitions: tuple[Partition, ...]) -> bool:
    """Whether there are values that no partition takes."""
    if not partitions or not partitions[0].method.startswith(("RANGE", "LIST")):
        return False
    return not any(p.description.upper() in ("MAXVALUE", "DEFAULT") for p in partitions)


def unknown(change: Change, links: PairSettings) -> list[Finding]:
    """A difference that nobody understands."""
    return [finding(UNKNOWN, change, "the definition", lambda _: refused("not understood"), links)]
