"""The lock of a snapshot, on every server: what it keeps out, what it waits for, how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually
from tests.snapshot.real import Busy, Reader, Writer, address, writable, write

from slackwater.errors import OutsideError, StepFailed
from slackwater.facts.backup import Coordinates, LockKind
from slackwater.lab.instance import Instance
from slackwater.operations.snapshot import backup_moment
from slackwater.operations.snapshot.backup_moment import (
    YOUNG_S,
    YOUNG_SHARE,
    Wanted,
    take_within,
)
from slackwater.outside.mysql import backup_lock
from slackwater.outside.mysql.backup_lock import BackupLock
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.session import Session

pytestmark = pytest.mark.servers


@pytest.fixture
def it(every: Instance) -> Instance:
    return every


Act = Callable[[BackupLock, Session], Awaitable[None]]


def under(it: Instance, kind: LockKind, act: Act | None = None, *, hold_s: float = 60.0,
          grace_s: float = 5.0) -> Coordinates:
    """Take a lock, act, free it."""

    async def run() -> Coordinates:
        async with await Session.open(address(it)) as control:
            lock = await backup_lock.take(address(it), kind, hold_s=hold_s, early_s=5.0,
                                          grace_s=grace_s, control=control)
            try:
                if act is not None:
                    await act(lock, control)
                return lock.coordinates
            finally:
                await lock.release()

    return asyncio.run(run())


def exact_kind(it: Instance) -> LockKind:
    return LockKind.COMMITS if it.program.is_mariadb else LockKind.TABLES


def test_a_young_select_that_lasts_is_not_met(
    it: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows that it will last; yet readers of its table never wait behind a FLUSH."""
    monkeypatch.setattr(backup_moment, "OLDER_THAN_S", 60.0)  # by this alone, it would be met
    with Busy(it, f"SELECT SLEEP({2 * PATIENCE:g}) FROM t.x LIMIT 1") as busy, Reader(it) as reader:

        async def run() -> int:
            wanted = Wanted(exact_kind(it), 4 * PATIENCE / YOUNG_SHARE, 5.0, 0.2)
            async with await Session.open(address(it)) as control:
                while not any(s.id == busy.id and s.running_s > YOUNG_S
                              for s in await backup_lock.statements(control)):
                    assert not busy.ended
            lock, attempts = await take_within(address(it), wanted)
            await lock.release()
            return attempts.tried

        assert asyncio.run(run()) == 1
        eventually(lambda: reader.done > 3, "reads")
    assert reader.longest_s < PATIENCE


def test_exact_lock_stops_writes_and_knows_the_position(it: Instance) -> None:
    async def act(lock: BackupLock, control: Session) -> None:
        assert await asyncio.to_thread(write, it)
        assert await asyncio.to_thread(write, it, "t.m")
        # reads go on, of the tables in use too
        assert await control.value("SELECT COUNT(*) FROM t.x", limit_s=5) >= 4
        assert await lock.why_not_held() == ""
        again = await backup_lock.read_coordinates(control, exact=True)
        assert again == lock.coordinates

    before = sql(it.socket, "SHOW BINARY LOGS")
    found = under(it, exact_kind(it), act)
    assert found.exact
    assert found.file == before[-1]["Log_name"]
    assert found.gtids
    assert writable(it)


def test_every_kind_that_is_offered_works_and_is_freed(it: Instance) -> None:
    async def flavour() -> list[LockKind]:
        async with await Session.open(address(it)) as session:
            speaks = dialect(session.flavour)
            return [k for k in LockKind if speaks.backup_lock(k)]

    kinds = asyncio.run(flavour())
    assert exact_kind(it) in kinds
    for kind in kinds:
        assert under(it, kind).exact == kind.exact
        assert writable(it)
    missing = set(LockKind) - set(kinds)
    assert LockKind.NONE in missing
    for kind in missing:
        with pytest.raises(StepFailed, match="no lock of the kind"):
            under(it, kind)


def test_instance_lock_lets_writes_through(it: Instance) -> None:
    async def act(lock: BackupLock, _: Session) -> None:
        assert await asyncio.to_thread(write, it) == ""
        assert await lock.why_not_held() == ""
        with pytest.raises(Exception, match=r"1205|Lock wait timeout"):
            await asyncio.to_thread(
                sql, it.socket, "SET STATEMENT lock_wait_timeout=1 FOR CREATE TABLE t.n (i INT)"
                if it.program.is_mariadb else
                "CREATE /*+ SET_VAR(lock_wait_timeout=1) */ TABLE t.n (i INT)")

    if it.program.name == "mysql-5.7":
        pytest.skip("MySQL 5.7 has no such lock")
    if not it.program.is_mariadb:
        sql(it.socket, "SET GLOBAL lock_wait_timeout = 1")
    try:
        assert not under(it, LockKind.INSTANCE, act).exact
    finally:
        sql(it.socket, "SET GLOBAL lock_wait_timeout = DEFAULT")


def test_the_server_ends_it_by_itself(it: Instance) -> None:
    """The holder says no word for `hold_s`: the lock is gone, and it is known that it is."""

    async def act(lock: BackupLock, _: Session) -> None:
        assert lock.hold_s == 1
        await asyncio.to_thread(eventually, lambda: writable(it), "the end of the lock")
        assert "is lost" in await lock.why_not_held()

    under(it, exact_kind(it), act, hold_s=1)


def test_a_killed_session_is_noticed(it: Instance) -> None:
    async def act(lock: BackupLock, control: Session) -> None:
        await control.run(f"KILL {lock.session.connection_id}")
        await asyncio.to_thread(eventually, lambda: writable(it), "the end of the lock")
        assert "is lost" in await lock.why_not_held()

    under(it, exact_kind(it), act)


def test_what_was_committed_under_it_is_noticed(it: Instance) -> None:
    """Somebody freed the lock in the very session: the position tells."""

    async def act(lock: BackupLock, _: Session) -> None:
        await lock.session.run(dialect(lock.session.flavour).backup_unlock(lock.kind))
        await asyncio.to_thread(write, it)
        assert "committed under the lock" in await lock.why_not_held()

    under(it, exact_kind(it), act)


def test_a_rotated_log_is_no_write(it: Instance) -> None:
    if not it.program.is_mariadb:
        pytest.skip("FLUSH LOGS waits for this server's lock")

    async def act(lock: BackupLock, control: Session) -> None:
        await control.run("FLUSH BINARY LOGS")
        assert await lock.why_not_held() == ""

    under(it, exact_kind(it), act)


def test_long_statements_and_what_is_left_after_giving_up(it: Instance) -> None:
    """A long UPDATE of a MyISAM table holds every exact lock up; giving up leaves nothing."""
    with Busy(it, "UPDATE t.m SET v = v + SLEEP(20) LIMIT 1"), pytest.raises(OutsideError):
        under(it, exact_kind(it), grace_s=0.3)
    assert writable(it)
    locks = "SELECT COUNT(*) AS N FROM information_schema.PROCESSLIST WHERE STATE LIKE '%lock%'"
    eventually(lambda: sql(it.socket, locks)[0]["N"] == 0, "no one waits")


def test_idle_transactions_hold_nothing_up(it: Instance) -> None:
    with Busy(it, "BEGIN", "UPDATE t.x SET v = 7 WHERE id = 1", last_is_slow=False):
        assert under(it, exact_kind(it)).exact


def test_a_long_select(it: Instance) -> None:
    """MariaDB's lock does not wait for it; MySQL's does, and a reader behind it waits too."""
    select = "SELECT SLEEP(20) FROM t.x LIMIT 1"
    with Busy(it, select) as busy:
        seen = asyncio.run(_statements(it))
        assert any(s.id == busy.id and s.text.startswith("SELECT SLEEP") for s in seen)
        if it.program.is_mariadb:
            assert under(it, exact_kind(it)).exact
        else:
            with pytest.raises(OutsideError):
                under(it, exact_kind(it), grace_s=0.3)
            assert write(it, "t.m") == ""  # writers are free; readers of x wait for the SELECT
    eventually(lambda: writable(it), "writes")


async def _statements(it: Instance) -> list[backup_lock.Statement]:
    async with await Session.open(address(it)) as session:
        return await backup_lock.statements(session)


def test_a_crashed_server_is_noticed(it: Instance) -> None:
    async def act(lock: BackupLock, _: Session) -> None:
        await asyncio.to_thread(it.kill)
        assert "is lost" in await lock.why_not_held()

    try:
        under(it, exact_kind(it), act)
    finally:
        it.start()


def test_many_in_a_row_under_load(it: Instance) -> None:
    """Each position is one at which the writer was between two writes."""
    with Writer(it) as writer:
        for _ in range(5):
            writer.wait_more()
            assert under(it, exact_kind(it)).exact
        assert writer.error is None
