"""What a server tells of lost connections, by SQL. Looks only; what is refused is told as such."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from slackwater import clock
from slackwater.errors import OutsideError
from slackwater.facts.doctor.server import (
    ERRORS,
    STATUS,
    VARIABLES,
    ErrorCount,
    HostCount,
    KillCount,
    Sample,
)
from slackwater.outside.mysql.session import MysqlError, Row, Session

_LIST = ",".join(f"'{n}'" for n in STATUS)
_STATUS = f"SHOW GLOBAL STATUS WHERE Variable_name IN ({_LIST})"
_VARIABLES = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})".format(
    ",".join(f"'{n}'" for n in VARIABLES))
_ERRORS = (
    "SELECT USER, HOST, ERROR_NUMBER, SUM_ERROR_RAISED,"
    " TIMESTAMPDIFF(MICROSECOND, LAST_SEEN, NOW(6)) / 1e6 AS AGO"
    " FROM performance_schema.events_errors_summary_by_account_by_error"
    f" WHERE SUM_ERROR_RAISED > 0 AND ERROR_NUMBER IN ({','.join(map(str, ERRORS))})"
)
_KILL_DIGESTS = (
    "SELECT DIGEST_TEXT, COUNT_STAR, TIMESTAMPDIFF(SECOND, LAST_SEEN, NOW()) AS AGO"
    " FROM performance_schema.events_statements_summary_by_digest WHERE DIGEST_TEXT LIKE 'KILL%'"
)
_KILL_ACCOUNTS = (
    "SELECT USER, HOST, COUNT_STAR"
    " FROM performance_schema.events_statements_summary_by_account_by_event_name"
    " WHERE EVENT_NAME = 'statement/sql/kill' AND COUNT_STAR > 0"
)
_HOSTS = (
    "SELECT *, TIMESTAMPDIFF(SECOND, LAST_ERROR_SEEN, NOW()) AS AGO"
    " FROM performance_schema.host_cache"
)
_LIMITED = (
    "SELECT CONCAT(User, '@', Host) AS ACCOUNT FROM mysql.user"
    " WHERE max_user_connections > 0 OR max_connections > 0"
)
# Newest first, so that a limit cuts off the oldest.
_LOG = (
    "SELECT DATE_FORMAT(LOGGED, '%Y-%m-%dT%H:%i:%s.%fZ') AS AT, PRIO, ERROR_CODE, DATA"
    " FROM performance_schema.error_log ORDER BY LOGGED DESC LIMIT 2000"
)
_ABSENT = frozenset({1049, 1109, 1146})  # this server has no such table
_DENIED = frozenset({1044, 1142, 1143, 1227})


@dataclass
class Told:
    """What one server told. `blind` grows with each refusal."""

    variables: dict[str, str] = field(default_factory=dict)
    kills: list[KillCount] = field(default_factory=list)
    hosts: list[HostCount] = field(default_factory=list)
    limited: list[str] = field(default_factory=list)
    log: str | None = None  # from its own table, in the form of its file; None: it has none
    error_summary: bool = False
    blind: list[str] = field(default_factory=list)


async def sample(session: Session, told: Told, *, limit_s: float = 5.0) -> Sample:
    """The counters now. Errors by account where the server keeps them."""
    status = {row["Variable_name"].lower(): int(row["Value"])
              for row in await session.rows(_STATUS, limit_s=limit_s)
              if str(row["Value"]).isdigit()}
    rows = await _may(session, _ERRORS, "errors by account", told, limit_s)
    told.error_summary = rows is not None
    errors = [ErrorCount(_account(r), int(r["ERROR_NUMBER"]), int(r["SUM_ERROR_RAISED"]),
                         float(r["AGO"] or 0)) for r in rows or ()]
    return Sample(clock.unix(), status, tuple(errors))


async def ask(session: Session, told: Told, *, limit_s: float = 5.0) -> None:
    """All that need be asked only once."""
    told.variables = {row["Variable_name"].lower(): str(row["Value"])
                      for row in await session.rows(_VARIABLES, limit_s=limit_s)}
    with suppress(MysqlError):  # few may read it, and it is only a hint
        told.limited = [r["ACCOUNT"] for r in await session.rows(_LIMITED, limit_s=limit_s)]
    if told.variables.get("performance_schema") == "ON":
        digests = await _may(session, _KILL_DIGESTS, "KILL statements", told, limit_s)
        told.kills += [KillCount(r["DIGEST_TEXT"], int(r["COUNT_STAR"]), float(r["AGO"] or 0))
                       for r in digests or ()]
        accounts = await _may(session, _KILL_ACCOUNTS, "who used KILL", told, limit_s)
        told.kills += [KillCount(f"KILL by {_account(r)}", int(r["COUNT_STAR"]), None)
                       for r in accounts or ()]
        hosts = await _may(session, _HOSTS, "the host cache", told, limit_s)
        told.hosts = [_host(r) for r in hosts or ()]
        lines = await _may(session, _LOG, "the error log by SQL", told, limit_s)
        if lines:
            told.log = "\n".join(
                f"{r['AT']} 0 [{r['PRIO']}] [{r['ERROR_CODE']}] {r['DATA']}"
                for r in reversed(lines))


async def _may(
    session: Session, sql: str, what: str, told: Told, limit_s: float
) -> Sequence[Row] | None:
    try:
        return await session.rows(sql, limit_s=limit_s)
    except MysqlError as error:
        if error.code in _DENIED:
            note = f"{session.at.where}: {what}: this account may not read it ({error.code})"
            if note not in told.blind:
                told.blind.append(note)
            return None
        if error.code in _ABSENT:
            return None
        raise


def _account(row: Row) -> str:
    return f"{row['USER']}@{row['HOST']}" if row["USER"] else ""


def _host(row: Row) -> HostCount:
    counts = {name: int(value) for name, value in row.items()
              if name.startswith(("COUNT_", "SUM_")) and value}
    ago = row["AGO"]
    return HostCount(row["IP"], counts, None if ago is None else float(ago))


async def two_samples(
    session: Session, told: Told, between_s: float, *, limit_s: float = 5.0
) -> tuple[Sample, Sample]:
    """Counters now and `between_s` later. Raises OutsideError when the server is lost meanwhile."""
    first = await sample(session, told, limit_s=limit_s)
    await asyncio.sleep(between_s)
    try:
        return first, await sample(session, told, limit_s=limit_s)
    except OutsideError as error:
        told.blind.append(f"the second sample: {error}")
        return first, first
