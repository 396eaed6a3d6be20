"""What a server can be asked quickly: Performance Schema is optional, and its parts are too."""

from __future__ import annotations

from dataclasses import dataclass

from slackwater.outside.mysql.session import MysqlError, Session

# Not there, or not for us.
_DENIED = frozenset({1044, 1142, 1143, 1146, 1109, 1227})

# The instruments that a client's last command can be: if one were off, an older one would seem
# to be its last, and the session to rest.
_STATEMENTS = """
SELECT t.THREAD_ID,
  (SELECT COUNT(*) = 3 FROM performance_schema.setup_consumers WHERE ENABLED = 'YES' AND NAME IN
    ('global_instrumentation', 'thread_instrumentation', 'events_statements_current'))
  AND (SELECT COUNT(*) = 0 FROM performance_schema.setup_instruments WHERE NAME LIKE
    'statement/%' AND SUBSTRING_INDEX(NAME, '/', 2) IN
    ('statement/sql', 'statement/com', 'statement/abstract') AND (ENABLED = 'NO' OR TIMED = 'NO'))
    AS STATEMENTS,
  (SELECT COUNT(*) = 3 FROM performance_schema.setup_consumers WHERE ENABLED = 'YES' AND NAME IN
    ('global_instrumentation', 'thread_instrumentation', 'events_transactions_current'))
  AND (SELECT COUNT(*) = 1 FROM performance_schema.setup_instruments WHERE NAME = 'transaction'
    AND ENABLED = 'YES' AND TIMED = 'YES') AS TRANSACTIONS
FROM performance_schema.threads t WHERE t.PROCESSLIST_ID = CONNECTION_ID()
"""
_TRANSACTION_EVENTS = (
    "UPDATE performance_schema.setup_instruments SET ENABLED = %s, TIMED = %s"
    " WHERE NAME = 'transaction';"
    "UPDATE performance_schema.setup_consumers SET ENABLED = %s"
    " WHERE NAME = 'events_transactions_current'"
)
_READABLE = (
    "SELECT 1 FROM performance_schema.events_statements_current LIMIT 0;"
    "SELECT 1 FROM performance_schema.events_transactions_current LIMIT 0"
)


@dataclass(frozen=True)
class Abilities:
    """For one session. `own_thread`: its Performance Schema thread id, when idle times of
    sessions can be read there in milliseconds; `transactions`: open ones can be read there."""

    own_thread: int | None = None
    transactions: bool = False


async def abilities(session: Session, *, limit_s: float = 5.0) -> Abilities:
    """Probe once, then remember in the session. Call it early: it costs a few milliseconds."""
    known = session.abilities
    if isinstance(known, Abilities):
        return known
    found = Abilities()
    if not session.flavour.mariadb:
        try:
            rows = (await session.many(_STATEMENTS + ";" + _READABLE, limit_s=limit_s))[0]
        except MysqlError as error:
            if error.code not in _DENIED:
                raise
            rows = []
        if rows and rows[0]["STATEMENTS"]:
            found = Abilities(int(rows[0]["THREAD_ID"]), bool(rows[0]["TRANSACTIONS"]))
    session.abilities = found
    return found


async def watch_transactions(session: Session, *, limit_s: float = 5.0) -> bool:
    """Switch Performance Schema's transaction events on where they are off, as in MySQL 5.7.

    Without them MySQL does not show, live, a transaction that has only read. True when this
    changed the server: then `unwatch_transactions` puts it back (a restart does too). Only
    transactions that begin afterwards are seen. Where it is not possible nothing happens.
    """
    able = await abilities(session, limit_s=limit_s)
    if session.flavour.mariadb or able.transactions or able.own_thread is None:
        return False
    return await _transaction_events(session, "YES", limit_s)


async def unwatch_transactions(session: Session, *, limit_s: float = 5.0) -> None:
    """Take back what `watch_transactions` changed."""
    await _transaction_events(session, "NO", limit_s)


async def _transaction_events(session: Session, to: str, limit_s: float) -> bool:
    try:
        await session.run(_TRANSACTION_EVENTS, to, to, to, limit_s=limit_s)
    except MysqlError as error:
        if error.code not in _DENIED:
            raise
        return False
    session.abilities = None  # probed anew, also when another session changes it
    await abilities(session, limit_s=limit_s)
    return True
