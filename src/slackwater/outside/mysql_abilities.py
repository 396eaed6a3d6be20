"""What a server can be asked quickly: Performance Schema is optional, and its parts are too."""

from __future__ import annotations

from dataclasses import dataclass

from slackwater.outside.mysql_session import MysqlError, Session

# Not there, or not for us.
_DENIED = frozenset({1044, 1142, 1143, 1146, 1109, 1227})

# The instruments that a client's last command can be: if one were off, an older one would seem
# to be its last, and the session to rest.
_STATEMENTS = """
SELECT t.THREAD_ID,
  (SELECT COUNT(*) = 3 FROM performance_schema.setup_consumers WHERE ENABLED = 'YES' AND NAME IN
    ('global_instrumentation', 'thread_instrumentation', 'events_statements_current'))
  AND (SELECT COUNT(*) = 0 FROM performance_schema.setup_instruments WHERE NAME LIKE
    'statement/%' AND NAME NOT LIKE 'statement/scheduler/%' AND (ENABLED = 'NO' OR TIMED = 'NO'))
    AS STATEMENTS,
  (SELECT COUNT(*) = 3 FROM performance_schema.setup_consumers WHERE ENABLED = 'YES' AND NAME IN
    ('global_instrumentation', 'thread_instrumentation', 'events_transactions_current'))
  AND (SELECT COUNT(*) = 1 FROM performance_schema.setup_instruments WHERE NAME = 'transaction'
    AND ENABLED = 'YES' AND TIMED = 'YES') AS TRANSACTIONS
FROM performance_schema.threads t WHERE t.PROCESSLIST_ID = CONNECTION_ID()
"""
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
