"""The packets with which a server looks who rests, and closes those."""

from __future__ import annotations

from collections.abc import Sequence

NO_SUCH_THREAD = 1094
# MySQL 8+: sessions of accounts with SYSTEM_USER are only for others with it to end.
NOT_OURS = 1095

_ID = "{0} AS ID"
_INTO = "GROUP_CONCAT({0}) INTO @sw_rest"
PICOSECONDS_PER_MS = 10**9
# Sessions that a server looks at before it ends them. One where each end is a wait: the look would
# be old for the next.
LOOKED_AT_ONCE = 2

# Whether a joined row of events_statements_current is of that very thread. Until a session's first
# statement there is none, or on MySQL 8+ the last one of a session that had its place before: a
# look-up by index does not compare the ids (measured on 9.7). By that one it seemed to have rested
# for long, when it had just logged in. Not among the conditions of the join, where the optimizer
# takes the two ids for equal.
OF_ITS_OWN = "COALESCE(e.THREAD_ID = t.THREAD_ID, 0)"


def by_mariadb(ids: Sequence[int], idle_ms: float) -> str:
    """A look at LOOKED_AT_ONCE sessions, then their ends, and so on.

    A look costs as much as ten ends; but each end wakes a thread that may take our core, and then
    the look is old for the next: who begins meanwhile is hit. All is parsed before the first.
    """
    rounds = "".join(
        mariadb_resting(part, idle_ms, select=_INTO) + ";"
        + "".join(
            f"IF FIND_IN_SET({i},@sw_rest) THEN SET @sw_at={i};KILL {i};"
            "SET @sw_closed=CONCAT_WS(',',@sw_closed,@sw_at);END IF;"
            for i in part
        )
        for part in _parts(ids, LOOKED_AT_ONCE)
    )
    # One that has just gone by itself, or is not ours to end, was not closed by us.
    gone = f"DECLARE CONTINUE HANDLER FOR {NO_SUCH_THREAD},{NOT_OURS} SET @sw_at=NULL;"
    return f"BEGIN NOT ATOMIC {gone}{rounds}END;"


def mariadb_resting(ids: Sequence[int], idle_ms: float, *, select: str = _ID) -> str:
    """Those of `ids` that rest; {0} in `select` is the column with their ids."""
    # TIME_MS has fractions. Who has rested since the last look (see `looking`) began nothing since.
    since = "COALESCE(TIMESTAMPDIFF(MICROSECOND,@sw_looked,SYSDATE(6))/1000,0)"
    return (
        f"SELECT {select.format('ID')} FROM information_schema.PROCESSLIST"
        f" WHERE ID IN ({','.join(map(str, ids))}) AND COMMAND='Sleep' AND TIME_MS>={idle_ms:f}"
        f" AND TIME_MS>={since}"
    )


def by_mysql(
    ids: Sequence[int],
    idle_ms: float,
    after_ping_ms: float,
    own_thread: int | None,
    transactions: bool,
    kill_waits: bool,
) -> str:
    """The same. KILL takes no list and there are no loops outside of routines; a prepared statement
    can be chosen by a condition. @sw_at tells how far we came if one fails."""
    return "".join(
        mysql_resting(part, idle_ms, after_ping_ms, own_thread, transactions, select=_INTO) + ";"
        + "".join(
            f"SET @sw_at={i},@sw_do=IF(FIND_IN_SET({i},@sw_rest),'KILL {i}','DO 0');"
            "PREPARE sw FROM @sw_do;EXECUTE sw;"
            "SET @sw_closed=IF(@sw_do='DO 0',@sw_closed,CONCAT_WS(',',@sw_closed,@sw_at));"
            for i in part
        )
        for part in _parts(ids, 1 if kill_waits else LOOKED_AT_ONCE)
    )


def idle_for(own_thread: int) -> str:
    """How long a session's last statement is over (ms). Our own running statement has the time now
    as its TIMER_END: the same clock, read in the same statement. NULL while one runs."""
    now = (
        "(SELECT own.TIMER_END FROM performance_schema.events_statements_current own"
        f" WHERE own.THREAD_ID = {own_thread} AND own.NESTING_EVENT_LEVEL = 0)"
    )
    # Signed: a statement may end between the reading of the clock and that of its row.
    idle = f"(CAST({now} AS SIGNED) - CAST(e.TIMER_END AS SIGNED)) / {PICOSECONDS_PER_MS}"
    # Not its own: it logged in and has asked nothing. TIME counts begun seconds: 1 may be 1 ms.
    since_login = "GREATEST(t.PROCESSLIST_TIME - 1, 0) * 1000"
    return f"IF({OF_ITS_OWN}, IF(e.END_EVENT_ID IS NULL, NULL, {idle}), {since_login})"


def mysql_resting(
    ids: Sequence[int],
    idle_ms: float,
    after_ping_ms: float,
    own_thread: int | None,
    transactions: bool,
    *,
    select: str = _ID,
) -> str:
    """The same."""
    wanted = ",".join(map(str, ids))
    if own_thread is None:
        seconds = int(-(-idle_ms // 1000)) + 1  # TIME counts begun seconds
        return (
            f"SELECT {select.format('ID')} FROM information_schema.PROCESSLIST"
            f" WHERE ID IN ({wanted}) AND COMMAND = 'Sleep' AND TIME >= {seconds}"
        )
    rest = (
        f"IF(e.EVENT_NAME = 'statement/com/Ping', {max(idle_ms, after_ping_ms):f}, {idle_ms:f})"
    )
    return (
        f"SELECT {select.format('t.PROCESSLIST_ID')} FROM performance_schema.threads t"
        " LEFT JOIN performance_schema.events_statements_current e"
        " ON e.THREAD_ID = t.THREAD_ID AND e.NESTING_EVENT_LEVEL = 0"
        f" WHERE t.PROCESSLIST_ID IN ({wanted}) AND t.PROCESSLIST_COMMAND = 'Sleep'"
        f" AND {idle_for(own_thread)} >= {rest}{_NO_TRANSACTION if transactions else ''}"
    )


_NO_TRANSACTION = (
    " AND NOT EXISTS (SELECT 1 FROM performance_schema.events_transactions_current x"
    " WHERE x.THREAD_ID = t.THREAD_ID AND x.STATE = 'ACTIVE')"
)


def _parts(ids: Sequence[int], at_once: int) -> list[list[int]]:
    whole = [int(i) for i in ids]
    return [whole[at : at + at_once] for at in range(0, len(whole), at_once)]
