"""The quiet moment: nothing old runs, or nobody is there at all.

Holds wait for it, and so do snapshots and schema changes. Not counted: our own sessions,
replication and its dump threads, the event scheduler and the server's own threads
(mysql_dialect has the list); with `appliers`, a statement that replication applies counts too.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from slackwater import clock
from slackwater.errors import StepFailed
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import Session
from slackwater.rules import quiet
from slackwater.rules.quiet import Left

PAUSE_S = 0.01
# Looks in a row that find nobody: a request that is just being served may connect once more.
LOOKS = 3


@dataclass(frozen=True)
class Quiet:
    """Who was left at the last look (nobody: it is quiet), and how long was waited."""

    left: tuple[Left, ...]
    waited_s: float

    @property
    def reached(self) -> bool:
        return not self.left

    def who(self) -> str:
        """All who are left, for people."""
        return "; ".join(map(str, self.left))


async def look_for_quiet(
    session: Session,
    *,
    older_than_s: float,
    clients_gone: bool,
    exclude_ids: Collection[int] = (),
    exclude_user: str = "",
    appliers: bool = False,
) -> tuple[Left, ...]:
    """One look: who stands in the way."""
    sessions, transactions = await mysql_server.clients_and_transactions(session)
    theirs = [s for s in sessions if s.id not in exclude_ids and s.user != exclude_user]
    found = quiet.left(
        theirs, transactions, older_than_s=older_than_s, clients_gone=clients_gone
    )
    if appliers:
        found += quiet.left(
            await mysql_server.appliers(session), {}, older_than_s=older_than_s, clients_gone=False
        )
    return found


async def wait_for_quiet(
    session: Session,
    *,
    older_than_s: float,
    limit_s: float,
    clients_gone: bool,
    exclude_ids: Collection[int] = (),
    exclude_user: str = "",
    appliers: bool = False,
    still: Callable[[], Awaitable[int]] | None = None,
) -> Quiet:
    """Wait until nobody stands in the way, at most `limit_s`; then say who is left.

    `still`: how many connections the kernel still has for this server, if it can be asked; they
    have to be gone as well. Never raises for who is left: that is for the caller to judge.
    """
    begun = clock.mono()
    empty = 0
    while True:
        found = await look_for_quiet(
            session, older_than_s=older_than_s, clients_gone=clients_gone,
            exclude_ids=exclude_ids, exclude_user=exclude_user, appliers=appliers,
        )
        connected = await still() if still is not None and not found else 0
        empty = 0 if found or connected else empty + 1
        waited = clock.mono() - begun
        if empty >= (LOOKS if clients_gone else 1):
            return Quiet((), waited)
        if waited >= limit_s and found:
            return Quiet(await with_programs(session, found), waited)
        if waited >= limit_s and connected:
            raise StepFailed(f"{connected} connection(s) to it are open, but not logged in")
        await asyncio.sleep(PAUSE_S)


async def with_programs(session: Session, found: tuple[Left, ...]) -> tuple[Left, ...]:
    """The same, with what the server knows of the clients' programs."""
    names = await mysql_server.programs(session, [one.session.id for one in found])
    return tuple(
        dataclasses.replace(
            one, session=dataclasses.replace(one.session, program=names.get(one.session.id))
        )
        for one in found
    )
