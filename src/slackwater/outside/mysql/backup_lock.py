"""The lock under which a snapshot is taken: one attempt at it, its proof, and its end.

It lives in a session of its own whose end is the server's: when the server has not heard of us
for `hold_s`, it ends the session and frees the lock, whatever has become of us. One attempt, in
one session: MySQL keeps half of the locks of a FLUSH that timed out, until its session ends.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field

from slackwater import clock
from slackwater.errors import OutsideError, StepFailed
from slackwater.facts import statement_text
from slackwater.facts.backup import Coordinates, LockKind, coordinates
from slackwater.facts.replication import ReplicaStatus
from slackwater.facts.server import BinlogPosition, ServerAddress
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.abilities import abilities
from slackwater.outside.mysql.alter import can_hang_with_a_lock
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.session import Row, Session

LOGIN_LIMIT_S = 3.0
PROGRAM = "slackwater backup lock"
LOCK_WAIT_TIMEOUT = 1205


@dataclass
class BackupLock:
    """A lock that is held. `since`: clock.mono() when it was granted."""

    session: Session
    kind: LockKind
    coordinates: Coordinates
    since: float
    hold_s: int
    stages_ms: dict[str, float] = field(default_factory=dict)

    async def why_not_held(self, limit_s: float = 2.0) -> str:
        """Look whether it was held all the time: "" or the reason why not.

        A lock ends only with its session or by this session's own word, so the session's life
        is the proof; that nothing was committed meanwhile is another.
        """
        try:
            seen = await read_coordinates(self.session, exact=self.kind.exact, limit_s=limit_s)
        except OutsideError as error:
            return f"the session that held the lock is lost ({error})"
        moved = self.coordinates.moved_to(seen) if self.kind.exact else ""
        return f"writes were committed under the lock, {moved}" if moved else ""

    async def release(self, limit_s: float = 2.0) -> None:
        """Free it and close its session, which frees it in any case. Never raises."""
        with contextlib.suppress(OutsideError):
            await self.session.run(
                dialect(self.session.flavour).backup_unlock(self.kind), limit_s=limit_s
            )
        await self.session.close()


async def take(
    at: ServerAddress, kind: LockKind, *, hold_s: float, early_s: float, grace_s: float,
    control: Session,
) -> BackupLock:
    """Take the lock in a new session, or raise OutsideError and leave nothing behind.

    `early_s` bounds the stages behind which nobody waits, `grace_s` each of those behind which
    writers (and in MySQL readers) wait; when it is over, `control` ends the session. Whole
    seconds on the server's side, where all of that has a limit too: `hold_s` rounded up.
    """
    session = await Session.open(at, limit_s=LOGIN_LIMIT_S, program=PROGRAM)
    try:
        return await _take(session, kind, hold_s, early_s, grace_s)
    except BaseException:
        # MySQL does not notice that the client of a waiting FLUSH is gone.
        session.drop("its lock was not granted")
        with contextlib.suppress(OutsideError):
            await mysql_server.kill(control, session.connection_id, limit_s=2.0)
        raise


async def _take(
    session: Session, kind: LockKind, hold_s: float, early_s: float, grace_s: float
) -> BackupLock:
    speaks = dialect(session.flavour)
    stages = speaks.backup_lock(kind)
    if not stages:
        raise StepFailed(f"{session.flavour} has no lock of the kind {kind.value!r}")
    if kind is LockKind.TABLES and await can_hang_with_a_lock(session):
        raise StepFailed(
            "FLUSH TABLES WITH READ LOCK and the parallel applier of this replica can wait for each"
            " other for ever, and all writes behind them",
            hint="take --lock commits, or STOP SLAVE SQL_THREAD before",
        )
    held = max(1, math.ceil(hold_s))
    await session.run(f"SET SESSION wait_timeout = {held}", limit_s=2.0)
    took: dict[str, float] = {}
    for number, (sql, blocks) in enumerate(stages):
        limit_s = grace_s if blocks else early_s
        waits = max(1, math.ceil(limit_s))
        packet = f"SET SESSION lock_wait_timeout = {waits};{sql}"
        last = number == len(stages) - 1
        begun = clock.mono()
        results = await session.many(
            f"{packet};{speaks.coordinates}" if last else packet, limit_s=limit_s
        )
        took[sql] = round((clock.mono() - begun) * 1000, 2)
        if last:
            found = _read(session, results[-3:], exact=kind.exact)
            return BackupLock(session, kind, found, clock.mono(), held, took)
    raise AssertionError("a lock has at least one stage")


async def flush_commits(session: Session, *, limit_s: float = 10.0) -> None:
    """While commits are locked out: have the engines' logs say of every transaction that it is
    committed. Till then the binary log alone may say so, and a copy without that log would find
    a transaction in it that is prepared, and no more: MariaDB does not start then."""
    await session.run("FLUSH LOCAL ENGINE LOGS", limit_s=limit_s)


async def read_coordinates(session: Session, *, exact: bool, limit_s: float = 5.0) -> Coordinates:
    """Where the server is now, in one round trip."""
    results = await session.many(dialect(session.flavour).coordinates, limit_s=limit_s)
    return _read(session, results, exact=exact)


def _read(session: Session, results: list[list[Row]], *, exact: bool) -> Coordinates:
    binlog, executed, channels = results
    return coordinates(
        BinlogPosition(binlog[0]["File"], int(binlog[0]["Position"])) if binlog else None,
        mysql_server.executed_of(session, executed[0]),
        tuple(ReplicaStatus.parse(row) for row in channels),
        exact=exact,
    )


@dataclass(frozen=True)
class Statement:
    """A client's statement that runs now."""

    id: int
    user: str
    host: str
    text: str
    running_s: float

    def __str__(self) -> str:
        text = " ".join(self.text.split())[:60]
        return f"{self.user}@{self.host} [session {self.id}] for {self.running_s:.1f} s: {text}"


async def statements(session: Session, *, limit_s: float = 5.0) -> list[Statement]:
    """All client statements that run now, the longest first; replication is not in it."""
    own = (await abilities(session)).own_thread
    rows = await session.rows(dialect(session.flavour).running(own), limit_s=limit_s)
    found = [
        Statement(int(r["ID"]), r["USER"] or "", r["HOST"] or "",
                  statement_text.statement(r["INFO"] or ""),
                  float(r["RUNNING_MS"] or 0) / 1000)
        for r in rows
    ]  # fmt: skip
    return sorted(found, key=lambda s: -s.running_s)

