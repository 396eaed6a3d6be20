"""Afterwards: is every acknowledged number there, once, and on both servers?"""

from __future__ import annotations

import time
from dataclasses import dataclass

from slackwater.errors import OutsideError
from slackwater.lab import wire
from slackwater.lab.load_plan import CREATE_TABLE, TABLE, Target
from slackwater.lab.load_record import ACKED, REFUSED
from slackwater.lab.wire_session import Session, SqlError

_CHUNK = 200_000  # rows read at once
_TOLD = 20  # numbers named in a report
_POLL_S = 0.05
_READ_LIMIT_S = 60.0
_UNKNOWN_DATABASE = 1049
_NO_SUCH_TABLE = 1146


@dataclass(frozen=True)
class Verification:
    """What the table holds, compared with what was acknowledged. None: could not be looked at.

    `active` is the server that `lost` and `duplicated` were counted on: the writable one.
    `missing_on_passive` and `extra_on_passive` compare whole rows of this run, on every other
    server together, after the wait for its replication.
    """

    active: str | None
    writable: tuple[str, ...]
    rows: int | None = None
    lost: int | None = None
    lost_numbers: tuple[int, ...] = ()
    duplicated: int | None = None
    duplicated_numbers: tuple[int, ...] = ()
    unacknowledged_present: int | None = None
    refused_present: int | None = None  # of those: answered with an error, yet committed
    refused_numbers: tuple[int, ...] = ()
    missing_on_passive: int | None = None
    extra_on_passive: int | None = None
    catch_up_ms: float | None = None
    problems: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Looked at, nothing lost, doubled, or there though refused, nothing missing on the
        passive, and one server writable."""
        passive = self.missing_on_passive in (0, None) and self.extra_on_passive in (0, None)
        here = self.lost == 0 and self.duplicated == 0 and self.refused_present == 0
        return here and passive and not self.problems


def create_table(target: Target, *, limit_s: float) -> None:
    """Make sure of database and table through the first frontend, as the clients.

    Where they are there, nothing is written: the server may be read only. Raises OutsideError.
    """
    place = target.frontends[0]
    try:
        with Session(place, _credentials(target), limit_s=limit_s) as session:
            if not _has_table(session):
                session.run(CREATE_TABLE)
    except SqlError as error:
        if error.code != _UNKNOWN_DATABASE:
            raise
        with Session(place, _credentials(target, database=""), limit_s=limit_s) as session:
            session.run(f"CREATE DATABASE IF NOT EXISTS {TABLE.split('.')[0]}")
            session.run(CREATE_TABLE)


def _has_table(session: Session) -> bool:
    try:
        session.run(f"SELECT n FROM {TABLE} LIMIT 0")
    except SqlError as error:
        if error.code != _NO_SUCH_TABLE:
            raise
        return False
    return True


def verify(target: Target, base: int, fates: bytes, *, catch_up_s: float) -> Verification:
    """Read the numbers `base` … `base + len(fates)` on every server, and compare.

    Never raises for a server that does not answer: it is one of `problems`.
    """
    problems: list[str] = []
    sessions = _open(target, problems)
    try:
        writable = _writable(sessions, problems)
        if len(writable) > 1:
            problems.append(f"more than one server is writable: {', '.join(writable)}")
        # None is writable: then nothing is known to be the active one; the first says more
        # than nobody.
        active = next(iter(writable or sessions), None)
        if active is None:
            return Verification(None, (), problems=tuple(problems))
        if not writable:
            problems.append(f"no server is writable: counted on {active}")
        try:
            return _compare(sessions, active, writable, base, fates, catch_up_s, problems)
        except OutsideError as error:
            problems.append(f"cannot count on {active}: {error}")
            return Verification(active, writable, problems=tuple(problems))
    finally:
        for session in sessions.values():
            session.close()


def _compare(
    sessions: dict[str, Session],
    active: str,
    writable: tuple[str, ...],
    base: int,
    fates: bytes,
    catch_up_s: float,
    problems: list[str],
) -> Verification:
    here = _counts(sessions[active], base, len(fates))
    lost = [base + i for i, fate in enumerate(fates) if fate == ACKED and not here[i]]
    double = [base + i for i, count in enumerate(here) if count > 1]
    unacked = sum(1 for i, count in enumerate(here) if count and fates[i] != ACKED)
    refused = [base + i for i, count in enumerate(here) if count and fates[i] == REFUSED]
    missing: int | None = None
    extra: int | None = None
    begin = time.monotonic()
    for name, session in sessions.items():
        if name == active:
            continue
        try:
            there = _caught_up(session, base, here, catch_up_s)
        except OutsideError as error:
            problems.append(str(error))
            continue
        missing = (missing or 0) + sum(max(0, a - b) for a, b in zip(here, there, strict=True))
        extra = (extra or 0) + sum(max(0, b - a) for a, b in zip(here, there, strict=True))
    took = None if missing is None else round((time.monotonic() - begin) * 1e3, 1)
    return Verification(
        active=active,
        writable=writable,
        rows=sum(here),
        lost=len(lost),
        lost_numbers=tuple(lost[:_TOLD]),
        duplicated=len(double),
        duplicated_numbers=tuple(double[:_TOLD]),
        unacknowledged_present=unacked,
        refused_present=len(refused),
        refused_numbers=tuple(refused[:_TOLD]),
        missing_on_passive=missing,
        extra_on_passive=extra,
        catch_up_ms=took,
        problems=tuple(problems),
    )


def _open(target: Target, problems: list[str]) -> dict[str, Session]:
    sessions = {}
    for name, place in target.servers:
        try:
            sessions[name] = Session(place, _credentials(target), limit_s=_READ_LIMIT_S)
        except OutsideError as error:
            problems.append(f"server {name}: {error}")
    return sessions


def _credentials(target: Target, database: str | None = None) -> wire.Credentials:
    name = target.database if database is None else database
    return wire.Credentials(target.user, target.password, name, "slackwater lab load (verify)")


def _writable(sessions: dict[str, Session], problems: list[str]) -> tuple[str, ...]:
    """Which servers accept writes. One that does not answer is a problem, and left out."""
    found = []
    for name, session in list(sessions.items()):
        try:
            if _is_writable(session):
                found.append(name)
        except OutsideError as error:
            problems.append(f"server {name}: {error}")
            sessions.pop(name).close()
    return tuple(found)


def _is_writable(session: Session) -> bool:
    # A number on most; MariaDB 12 has words, of which only OFF and 0 mean writable.
    return session.run("SELECT @@global.read_only")[0][0] in (b"0", b"OFF")


def _counts(session: Session, base: int, size: int) -> bytearray:
    """How often (up to 255) each number of the run is in the table."""
    found = bytearray(size)
    for begin in range(0, size, _CHUNK):
        first, last = base + begin, base + min(begin + _CHUNK, size) - 1
        for row in session.rows(f"SELECT n FROM {TABLE} WHERE n BETWEEN {first} AND {last}"):
            i = int(row[0] or 0) - base
            found[i] = min(255, found[i] + 1)
    return found


def _caught_up(session: Session, base: int, here: bytearray, limit_s: float) -> bytearray:
    """The counts on a passive, as soon as it has as many rows, or when the limit is over."""
    wanted, end = sum(here), time.monotonic() + limit_s
    span = f"n BETWEEN {base} AND {base + len(here) - 1}"
    while time.monotonic() < end:
        row = session.run(f"SELECT COUNT(*) FROM {TABLE} WHERE {span}")[0]
        if int(row[0] or 0) >= wanted:
            break
        time.sleep(_POLL_S)
    return _counts(session, base, len(here))
