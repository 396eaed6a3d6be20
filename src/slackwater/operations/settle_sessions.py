"""Let the sessions on the old server end, and close those that rest, between transactions."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.errors import StepFailed
from slackwater.facts.server import ClientSession
from slackwater.operations.pair_world import PairWorld, Server
from slackwater.outside import mysql_server
from slackwater.outside.mysql_session import Session
from slackwater.plan.step import Seen, Step
from slackwater.rules import settle

PAUSE_S = 0.001


@dataclass(frozen=True)
class SettleSessions(Step[PairWorld]):
    """Let transactions on {old} end for at most {grace_s} s, and close sessions between them"""

    old: str
    balancers: tuple[str, ...]
    grace_s: float
    no_undo: ClassVar[str] = "a closed session cannot be reopened; its client connects again"

    @property
    def limit_s(self) -> float:  # type: ignore[override]
        return self.grace_s + 2.0

    async def do(self, world: PairWorld) -> None:
        server = world.servers[self.old]
        session = await server.session()
        begun = clock.mono()
        # A connection that a balancer had opened before the hold may still wait to be accepted.
        # Ours, made after it and accepted in turn, tells when none of those is left.
        barrier = asyncio.ensure_future(_knock(server))
        closed: set[int] = set()
        try:
            while True:
                sessions = await _sessions(session, server)
                accepted = barrier.done()
                if not sessions and accepted and not await _sessions(session, server):
                    break
                if clock.mono() - begun >= self.grace_s:
                    cut = await _cut(session, sessions)
                    world.figures["sessions_cut"] = [_who(s) for s in cut]
                    break
                closed |= await _close_resting(session, sessions, begun)
                await asyncio.sleep(PAUSE_S)
        finally:
            barrier.cancel()
            await asyncio.gather(barrier, return_exceptions=True)
        world.figures["sessions_closed"] = len(closed)

    async def verify(self, world: PairWorld) -> Seen:
        server = world.servers[self.old]
        left = await _sessions(await server.session(), server)
        return Seen.NOT_DONE if left else Seen.DONE


async def _knock(server: Server) -> None:
    session = await Session.open(dataclasses.replace(server.at, socket=""), limit_s=2)
    await session.close()


async def _sessions(session: Session, server: Server) -> list[ClientSession]:
    found = await mysql_server.client_sessions(session, server.own_ids())
    return [
        s for s in found if s.command.lower() not in settle.GONE and s.user != server.at.user
    ]


async def _close_resting(
    session: Session, sessions: list[ClientSession], begun: float
) -> set[int]:
    """Close the sessions that rest outside a transaction; returns their ids."""
    looked = clock.mono()
    if not settle.decide(sessions, {}, (looked - begun) * 1000).close:
        return set()  # nobody rests: spare the server the look at transactions
    transactions = await mysql_server.open_transactions(session)
    elapsed_ms = (clock.mono() - begun) * 1000
    close = settle.decide(sessions, transactions, elapsed_ms).close
    if not close:
        return set()
    # Asking for a rest at least as long as the looks are old makes them still true in the
    # moment of closing: who had no transaction then has begun none since.
    age_ms = (clock.mono() - looked) * 1000
    rest_ms = max(settle.rest_needed_ms(elapsed_ms), age_ms)
    return set(await mysql_server.close_idle(session, list(close), rest_ms))


async def _cut(session: Session, sessions: list[ClientSession]) -> list[ClientSession]:
    """The grace is over: close who is left, wherever they are."""
    for left in sessions:
        await mysql_server.kill(session, left.id)
    for _ in range(500):
        found = await mysql_server.client_sessions(session, set())
        ids = {s.id for s in found}
        if not any(s.id in ids for s in sessions):
            return sessions
        await asyncio.sleep(PAUSE_S)
    raise StepFailed(f"sessions do not end: {', '.join(_who(s) for s in sessions)}")


def _who(session: ClientSession) -> str:
    program = f" ({session.program})" if session.program else ""
    return f"{session.user}@{session.host}{program} [{session.id}]"
