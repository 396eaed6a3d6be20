"""What mysqlbinlog and mariadb-binlog print (with --verbose): transactions, one by one. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

# "#261121 10:59:26 server id 1  end_log_pos 1024 CRC32 0x…  GTID 0-1-7 trans"
_EVENT = re.compile(r"#(\d{6} [ \d]?\d:\d\d:\d\d) server id (\d+) ")
_MARIADB = re.compile(r"\tGTID (\d+-\d+-\d+)")
_MYSQL = re.compile(r"SET @@SESSION\.GTID_NEXT= '([0-9a-fA-F-]{36}:(?:\w+:)?\d+)'")
_GTID_LIST = re.compile(r"\tGtid list \[([^\]]*)\]")  # several lines; each begins with "# "
_ROW = re.compile(r"### (?:INSERT INTO|UPDATE|DELETE FROM) `(.+)`\.`(.+)`$")
_TABLE = re.compile(r"\tTable_map: `(.+?)`\.`(.+?)` mapped")
_ENDED = re.compile(r"\tXid = \d+|^COMMIT\b|\tQuery\t")


@dataclass
class Transaction:
    """One transaction. `at`: the position in its file; `when`: as printed, `yymmdd hh:mm:ss`, in
    UTC. `rows`: changed rows by table. `whole`: its end is there."""

    gtid: str
    at: int
    server_id: int
    when: str
    rows: dict[str, int] = field(default_factory=dict)
    whole: bool = False


def transactions(lines: Iterable[str]) -> list[Transaction]:
    """Every transaction in the output, in its order."""
    found: list[Transaction] = []
    at, server_id, when = 0, 0, ""
    for line in lines:
        if line.startswith("# at "):
            at = int(line[5:].split()[0])
            continue
        if event := _EVENT.match(line):
            server_id, when = int(event[2]), event[1]
        if gtid := _MARIADB.search(line) if line.startswith("#") else _MYSQL.match(line):
            found.append(Transaction(gtid[1], at, server_id, when))
        elif found:
            _add(found[-1], line)
    return found


def _add(to: Transaction, line: str) -> None:
    if row := _ROW.match(line):
        table = f"{row[1]}.{row[2]}"
        to.rows[table] = to.rows.get(table, 0) + 1
    elif table_map := _TABLE.search(line):
        to.rows.setdefault(f"{table_map[1]}.{table_map[2]}", 0)
    elif _ENDED.search(line):
        to.whole = True
    elif line == "BEGIN":
        to.whole = False  # the Query event was none of its own: rows and an end follow


@dataclass(frozen=True)
class Summary:
    """What people want to know of some transactions."""

    count: int
    first: str
    last: str
    since: str
    until: str
    rows: dict[str, int]

    @classmethod
    def of(cls, found: Iterable[Transaction]) -> Summary:
        """Put them together; the empty summary has a count of 0."""
        every = list(found)
        rows: dict[str, int] = {}
        for one in every:
            for table, count in one.rows.items():
                rows[table] = rows.get(table, 0) + count
        if not every:
            return cls(0, "", "", "", "", {})
        first, last = every[0], every[-1]
        return cls(len(every), first.gtid, last.gtid, first.when, last.when, rows)

    def words(self) -> str:
        """One line for people."""
        tables = ", ".join(f"{count} row(s) of {table}" for table, count in self.rows.items())
        span = self.first if self.count == 1 else f"{self.first} to {self.last}"
        return f"{self.count} transaction(s), {span}, {self.since} to {self.until}" + (
            f": {tables}" if tables else "")


def kept(text: str, keep: Callable[[Transaction], bool]) -> list[Transaction]:
    """The transactions of the output for which `keep` holds, without one that is torn."""
    return [t for t in transactions(text.splitlines()) if t.whole and keep(t)]


def begins_after(text: str) -> str | None:
    """MariaDB: the last GTID of each server before the first file in the output, separated by
    commas; None where it does not say so, as MySQL's."""
    found = _GTID_LIST.search(text)
    return re.sub(r"[\s#]", "", found[1]) if found else None
