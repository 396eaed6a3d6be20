"""Reading rows for a comparison: digests of chunks, of rows, and the positions they belong to."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from slackwater.errors import OutsideError
from slackwater.facts import gtid
from slackwater.facts.compare import Bounds, Digest, Hash, KeyValues
from slackwater.facts.gtid import MariadbGtids, MysqlGtids
from slackwater.facts.tables import Table
from slackwater.outside.mysql import compare_sql as sql
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.server import executed_of
from slackwater.outside.mysql.session import MysqlError, Row, Session

# A statement that its server ended at its limit: MariaDB, MySQL.
_TOO_LONG = frozenset({1969, 3024})
_LOCK_WAIT, _DEADLOCK = 1205, 1213
_GONE = frozenset({1146, 1054, 1176, 1412})  # no such table, column, index; definition changed
_DENIED = frozenset({1142, 1044, 1143, 1227})
_NO_FUNCTION = frozenset({1305, 1046})  # the second without a current database
_NUMBERED = ("ON", "ON_PERMISSIVE")  # of gtid_mode: what is written there gets a GTID
_HELD_S = 2  # a session with a locked row that is not heard of: its server ends it
_READABLE_PACKET = 1 << 20  # bytes: room for the values of a row that are put together


class NoPosition(OutsideError):
    """Transactions get no GTIDs there, so no position stands for what was read."""


def too_long(error: OutsideError) -> bool:
    """Whether the server ended the statement because it took longer than its limit."""
    return isinstance(error, MysqlError) and error.code in _TOO_LONG


def redefined(error: OutsideError) -> bool:
    """Whether the table was dropped or altered meanwhile."""
    return isinstance(error, MysqlError) and error.code in _GONE


def denied(error: OutsideError) -> bool:
    """Whether the account may not do that."""
    return isinstance(error, MysqlError) and error.code in _DENIED


def busy(error: OutsideError) -> bool:
    """Whether somebody else had the row locked for too long."""
    return isinstance(error, MysqlError) and error.code in (_LOCK_WAIT, _DEADLOCK)


async def prepare(session: Session, *, statement_s: float, limit_s: float = 5.0) -> str | None:
    """Make a session fit for reading: snapshots, a limit that the server keeps. Why it cannot be,
    or None."""
    limit = dialect(session.flavour).statement_limit(statement_s)
    results = await session.many(
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;"
        # A chunk that did not finish in time must not go on in the server; nor wait for locks.
        f"{limit};SET SESSION innodb_lock_wait_timeout=1,lock_wait_timeout=5;"
        "SELECT SHA2('slackwater', 256) AS DIGEST, @@max_allowed_packet AS PACKET",
        limit_s=limit_s,
    )
    row = results[-1][0]
    if not row["DIGEST"]:
        return "SHA2() gives nothing here (a server without TLS?)"
    if int(row["PACKET"]) < _READABLE_PACKET:
        return f"max_allowed_packet is {row['PACKET']}: less than a row may need"
    return None


async def has_sha1(session: Session, *, limit_s: float = 5.0) -> bool:
    """Whether this server has SHA1(), which most compute in half the time of SHA2()."""
    try:
        return bool(await session.value("SELECT SHA1('slackwater')", limit_s=limit_s))
    except MysqlError as error:
        if error.code in _NO_FUNCTION:
            return False
        raise


# --- positions ---------------------------------------------------------------------------------


async def visible(session: Session, *, limit_s: float = 5.0) -> str:
    """A GTID set with every transaction of which this session may have read something till now."""
    results = await session.many(dialect(session.flavour).visible, limit_s=limit_s)
    return _visible(session, results)


def _visible(session: Session, results: list[list[Row]]) -> str:
    if (mode := str(results[-2][0]["MODE"])) not in _NUMBERED:
        raise NoPosition(
            session.at.where,
            f"gtid_mode is {mode}: no GTID set has all that is written, so it cannot be told what "
            "another server lacks", sent=False, hint="`slackwater pair setup` says how to mend it")
    owned, executed = results[-2][0]["OWNED"] or "", executed_of(session, results[-1][0])
    if not owned:
        return executed
    # "uuid:23#12:24#13": each with the number of the thread that commits it.
    under_way = gtid.parse(re.sub(r"(#\d+)+", "", owned), session.flavour)
    done = gtid.parse(executed, session.flavour)
    assert isinstance(under_way, MysqlGtids) and isinstance(done, MysqlGtids)
    return str(done.union(under_way))


async def wait_applied(session: Session, text: str, *, limit_s: float) -> bool:
    """Wait until all of a GTID set can be read here; False when the limit came first.

    Stricter than `mysql_server.wait_executed`: MariaDB has a transaction in gtid_binlog_pos
    before it can be read, by as much as a write to the disk takes. (Its own writes can be read:
    they came from here.)
    """
    wanted = gtid.parse(text, session.flavour)
    if isinstance(wanted, MariadbGtids):
        ends = time.monotonic() + limit_s
        row = (await session.rows(dialect(session.flavour).applied, limit_s=limit_s + 1))[0]
        own, server = MariadbGtids.read(row["OWN"]), int(row["SERVER_ID"])
        wanted = wanted.subtract(MariadbGtids.read(row["REPLICATED"] or ""))
        # Its own writes say nothing of another server's below their number: it may have written
        # some by mistake.
        wanted = MariadbGtids(tuple(
            p for p in wanted.positions
            if p[1] != server or not own.contains(MariadbGtids.of([p]))))
        limit_s = ends - time.monotonic()
    if not wanted:
        return True
    # Never 0 s, which is for ever in MySQL.
    seconds = max(round(limit_s, 3), 0.001)
    done = await session.value(
        dialect(session.flavour).wait_executed(), str(wanted), seconds, limit_s=seconds + 5.0
    )
    return done is not None and int(done) == 0


# --- chunks and rows ---------------------------------------------------------------------------


class Reader:
    """Reads one table on one server. `values`: what a digest is made of, as compare_sql says."""

    def __init__(
        self, session: Session, table: Table, how: Hash, values: Sequence[tuple[str, str]],
        *, limit_s: float,
    ) -> None:
        self.session, self.table, self.limit_s = session, table, limit_s
        self.values = list(values)
        self._how, self._hash = how, sql.row_hash(how, [e for _, e in values])
        self._keys = [
            f"{sql.key_text(table.column(n))} AS k{i}" for i, n in enumerate(table.key)
        ]

    def using(self, session: Session) -> Reader:
        """The same in another session of the same server."""
        return Reader(session, self.table, self._how, self.values, limit_s=self.limit_s)

    async def end_of_chunk(
        self, after: KeyValues | None, rows: int, to: KeyValues | None = None
    ) -> KeyValues | None:
        """The key of the last row of a chunk that begins behind `after`; None: there are fewer rows
        up to `to`, or to the end of the table."""
        found = await self.session.rows(
            f"SELECT {','.join(self._keys)} FROM {sql.source_of(self.table)}"
            f" WHERE {sql.inside(self.table, after, to)}"
            f" ORDER BY {sql.order(self.table)} LIMIT {rows - 1},1",
            limit_s=self.limit_s,
        )
        return self._key(found[0]) if found else None

    async def chunks(self, bounds: Sequence[Bounds]) -> list[Digest]:
        """The digests of several chunks, in one round trip."""
        results = await self.session.many(self._packet(bounds), limit_s=self.limit_s)
        return _digests(results)

    async def chunks_then_position(self, bounds: Sequence[Bounds]) -> tuple[list[Digest], str]:
        """The digests, and a position at which a replica has all that went into them."""
        packet = f"{self._packet(bounds)};{dialect(self.session.flavour).visible}"
        results = await self.session.many(packet, limit_s=self.limit_s)
        return _digests(results[: len(bounds)]), _visible(self.session, results)

    def _packet(self, bounds: Sequence[Bounds]) -> str:
        return ";".join(self._chunk(after, to) for after, to in bounds)

    def _chunk(self, after: KeyValues | None, to: KeyValues | None) -> str:
        return (
            f"SELECT COUNT(*) AS n, BIT_XOR({sql.number(self._hash)}) AS d"
            f" FROM {sql.source_of(self.table)} WHERE {sql.inside(self.table, after, to)}"
        )

    async def rows(self, after: KeyValues | None, to: KeyValues | None) -> dict[KeyValues, str]:
        """The hash of each row of a chunk, by its key."""
        return await self._rows(sql.inside(self.table, after, to))

    async def these(self, keys: Sequence[KeyValues]) -> dict[KeyValues, str]:
        """The same for single rows; those that are not there are left out."""
        found: dict[KeyValues, str] = {}
        for at in range(0, len(keys), 100):
            wanted = " OR ".join(
                f"({sql.exactly(self.table, key)})" for key in keys[at : at + 100])
            found |= await self._rows(wanted)
        return found

    async def one(self, key: KeyValues, *, lock: bool = False) -> list[str]:
        """The hash of a row, then one of each of its values; [] when there is no such row.

        `lock`: nobody may change the row, or insert it, until this session's transaction ends.
        """
        single = ",".join(
            f"{sql.hashed(self._how, expression)} AS e{i}"
            for i, (_, expression) in enumerate(self.values))
        found = await self.session.rows(
            f"SELECT {self._hash} AS h,{single} FROM {sql.source_of(self.table)}"
            f" WHERE {sql.exactly(self.table, key)}{' LOCK IN SHARE MODE' if lock else ''}",
            limit_s=self.limit_s,
        )
        return [str(v) for v in found[0].values()] if found else []

    async def _rows(self, where: str) -> dict[KeyValues, str]:
        found = await self.session.rows(
            f"SELECT {','.join(self._keys)},{self._hash} AS h"
            f" FROM {sql.source_of(self.table)} WHERE {where}",
            limit_s=self.limit_s,
        )
        return {self._key(row): str(row["h"]) for row in found}

    def _key(self, row: Row) -> KeyValues:
        return tuple(_text(row[f"k{i}"]) for i in range(len(self.table.key)))

    # --- tables without a key ---

    async def whole(self) -> dict[str, tuple[int, int]]:
        """Of a table without a key: rows and the sum of their digests, by the first two digits
        of their hashes. (A sum, as in an XOR two equal rows would cancel each other out.)"""
        found = await self.session.rows(
            f"SELECT LEFT({self._hash},2) AS b, COUNT(*) AS n, SUM({sql.number(self._hash)}) AS s"
            f" FROM {self.table.sql_name} GROUP BY b",
            limit_s=self.limit_s,
        )
        return {str(row["b"]): (int(row["n"]), int(row["s"])) for row in found}

    async def hashes(self, parts: Sequence[str]) -> dict[str, int]:
        """How many rows there are of each hash that begins with one of `parts`."""
        wanted = ",".join(f"'{int(part, 16):02x}'" for part in parts)
        found = await self.session.rows(
            f"SELECT {self._hash} AS h, COUNT(*) AS n FROM {self.table.sql_name}"
            f" WHERE LEFT({self._hash},2) IN ({wanted}) GROUP BY h",
            limit_s=self.limit_s,
        )
        return {str(row["h"]): int(row["n"]) for row in found}


def _digests(results: list[list[Row]]) -> list[Digest]:
    return [Digest(int(rows[0]["n"]), int(rows[0]["d"])) for rows in results]


async def begin_hold(session: Session, *, limit_s: float = 5.0) -> None:
    """Begin a transaction in which a row will be locked; the server itself ends it when it has
    not heard of us for two seconds."""
    await session.many(f"SET SESSION wait_timeout={_HELD_S};BEGIN", limit_s=limit_s)


async def end_hold(session: Session, *, limit_s: float = 5.0) -> None:
    """End it: the row is free. The session may rest again."""
    await session.many("ROLLBACK;SET SESSION wait_timeout=600", limit_s=limit_s)


async def running(session: Session, *, limit_s: float = 5.0) -> int:
    """Statements that run now, ours not counted."""
    rows = await session.rows("SHOW GLOBAL STATUS LIKE 'Threads_running'", limit_s=limit_s)
    return max(0, int(rows[0]["Value"]) - 1)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

