"""What the lock on a row is for: a row that is never seen with the same value on both sides."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pymysql
import pytest
from tests.compare.scene import QUICK, connection
from tests.servers.fixtures import arrives, sql
from tests.servers.patience import PATIENCE

from slackwater import config
from slackwater.facts.compare import Bounds, Hash, KeyValues, Proof
from slackwater.lab.facts import LabFacts
from slackwater.operations.compare.rows import Rows, Settled
from slackwater.operations.compare.sides import Meeting, Side
from slackwater.operations.servers_world import server_address
from slackwater.outside.mysql import compare_sql
from slackwater.outside.mysql.compare import Reader
from slackwater.outside.mysql.session import Session
from slackwater.outside.mysql.tables import tables

pytestmark = pytest.mark.servers
TABLE = "shop.sandwich"


class Sandwiched(Reader):
    """Reads of the reference, each between two writes: the row is 0 whenever it is read here, and
    1 as soon as it was read, so 1 is what a copy that has caught up says each time."""

    socket = ""
    refused = 0  # writes that met the lock

    async def rows(self, after: KeyValues | None, to: KeyValues | None) -> dict[KeyValues, str]:
        self._write(0)
        found = await super().rows(after, to)
        self._write(1)
        return found

    async def these(self, keys: Sequence[KeyValues]) -> dict[KeyValues, str]:
        self._write(0)
        found = await super().these(keys)
        self._write(1)
        return found

    async def one(self, key: KeyValues, *, lock: bool = False) -> list[str]:
        self._write(0)
        found = await super().one(key, lock=lock)
        self._write(1)
        return found

    def using(self, session: Session) -> Sandwiched:
        return Sandwiched(session, self.table, Hash.SHA2, self.values, limit_s=self.limit_s)

    def _write(self, value: int) -> None:
        with connection(Sandwiched.socket) as cursor:
            cursor.execute("BEGIN")
            try:
                cursor.execute(f"SELECT 1 FROM {TABLE} WHERE id = 1 FOR UPDATE NOWAIT")
            except pymysql.err.MySQLError:  # 1205 of MariaDB, 3572 of MySQL
                Sandwiched.refused += 1
                return
            cursor.execute(f"UPDATE {TABLE} SET flag = {value} WHERE id = 1")
            cursor.execute("COMMIT")


def settled(lab: LabFacts, *, may_lock: bool) -> Settled:
    """The row, settled while it is written between all reads."""
    settings = config.load(Path(lab.config))
    password = settings.password()
    Sandwiched.socket, Sandwiched.refused = str(lab.servers["a"]["socket"]), 0

    async def run() -> Settled:
        sides = [Side(n, server_address(settings, n, password)) for n in ("a", "b")]
        try:
            for side in sides:
                await side.open()
                side.writable = side.name == "a"
            meeting = Meeting(sides[0], sides[1:], QUICK, 60 * PATIENCE, lambda text: None,
                              asyncio.Event(), may_lock=may_lock)
            table = (await tables(sides[0].data))[TABLE]
            values = compare_sql.values(Hash.SHA2, table.columns, [True] * len(table.columns))
            mine, theirs = (
                kind(s.data, table, Hash.SHA2, values, limit_s=30 * PATIENCE)
                for kind, s in zip((Sandwiched, Reader), sides, strict=True))
            whole: Bounds = (None, None)
            return await Rows(meeting, sides[1], mine, theirs).settle([whole], prove=10)
        finally:
            for side in sides:
                await side.close()

    return asyncio.run(run())


def test_without_the_lock_it_would_be_a_false_alarm_and_with_it_the_row_is_equal(
    two: LabFacts,
) -> None:
    for statement in (f"CREATE TABLE {TABLE} (id INT PRIMARY KEY, flag INT)",
                      f"INSERT INTO {TABLE} VALUES (1, 0)"):
        sql(two.servers["a"]["socket"], statement)
    try:
        arrives(two.servers["b"]["socket"], f"SELECT 1 FROM {TABLE}")
        false = settled(two, may_lock=False)
        told = [(d.key, d.proof) for d in false.differences]
        assert told == [("id=1", Proof.STABLE)], false
        assert Sandwiched.refused == 0
        true = settled(two, may_lock=True)
        assert (true.differences, true.undecided, true.rechecked) == ([], [], 1)
        assert Sandwiched.refused > 0  # the lock kept the last write out
    finally:
        sql(two.servers["a"]["socket"], f"DROP TABLE {TABLE}")
