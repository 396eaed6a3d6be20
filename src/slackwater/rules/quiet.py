"""Who still stands in the way of a quiet moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slackwater.facts.server import ClientSession

GONE = ("killed",)
INFO_SHOWN = 60


@dataclass(frozen=True)
class Left:
    """One session that is still there, and what is known of it. Ages in seconds."""

    session: ClientSession
    transaction_s: float | None = None  # None: in no transaction that the server shows

    def __str__(self) -> str:
        """For people: who, with which program, and what it does since when."""
        found, does = self.session, []
        if found.running_s is not None:
            statement = " ".join(found.info.split())[:INFO_SHOWN]
            does.append(f"a statement for {found.running_s:.0f} s: {statement}")
        elif found.sleeping:
            rest = "" if found.idle_ms is None else f" for {found.idle_ms / 1000:.1f} s"
            does.append(f"idle{rest}")
        else:
            does.append(found.command.lower())
        if self.transaction_s is not None:
            does.append(f"a transaction open for {self.transaction_s:.0f} s")
        return f"{found.who()}: {', '.join(does)}"


def left(
    sessions: Sequence[ClientSession],
    transactions: Mapping[int, float],
    *,
    older_than_s: float,
    clients_gone: bool,
) -> tuple[Left, ...]:
    """Those whose statement or transaction is older than asked; with `clients_gone`, everybody.

    Who is being ended is gone, unless it still has a transaction to roll back.
    """
    found = []
    for session in sessions:
        age = transactions.get(session.id)
        if session.command.lower() in GONE and age is None:
            continue
        oldest = max(age or 0.0, session.running_s or 0.0)
        if clients_gone or oldest > older_than_s:
            found.append(Left(session, age))
    return tuple(found)
