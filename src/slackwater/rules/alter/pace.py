"""Of how many rows the next chunk of a data statement is to be."""

from __future__ import annotations

FIRST_ROWS = 200
MOST_ROWS = 5000  # a transaction that a replica applies at once, and a balance of locks
GOAL_S = 0.1  # so long a client waits for a row at most, as a rule


def next_rows(rows: int, took_s: float) -> int:
    """Toward GOAL_S, at most twice or half as many."""
    wanted = rows * GOAL_S / max(took_s, 0.001)
    return int(min(max(wanted, rows / 2, 1), rows * 2, MOST_ROWS))


def fewer_rows(rows: int) -> int:
    """After a lock that was not to be had: less is less likely to meet it."""
    return max(rows // 4, 1)
