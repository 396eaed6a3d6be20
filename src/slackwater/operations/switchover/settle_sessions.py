"""Let the sessions on the old server end, and close those that rest, between transactions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.errors import StepFailed
from slackwater.facts.server import ClientSession
from slackwater.operations.pair_world import PairWorld
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.dialect import NOT_OURS
from slackwater.outside.mysql.greeting import KNOCK_LIMIT_S, knock
from slackwater.outside.mysql.session import MysqlError, Session
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

    async def do(self, world: PairWorld) -> Seen:
        server = world.servers[self.old]
        sessions = _Settling(world, self.old, await server.session())
        try:
            # A connection that a balancer had opened before the hold may still wait to be accepted.
            # Ours, made after it and accepted in turn, tells when none of those is left. Until
            # then requests under way are being served: two cores have no time for ours.
            knocked = await knock(
                server.at.host, server.at.port, limit_s=min(KNOCK_LIMIT_S, world.hold_left_s())
            )
            while True:
                await sessions.look(but=knocked)
                if world.hold_left_s() <= 0:  # they are let in again: those are not to be cut
                    raise StepFailed("the hold ended before the sessions did")
                if not sessions.left:
                    break
                if sessions.elapsed_ms() >= self.grace_s * 1000:
                    cut = await _cut(sessions.session, sessions.left)
                    world.figures["sessions_cut"] = [s.who() for s in cut]
                    break
                if await sessions.close_resting():
                    continue  # look at once: was that all?
                await sessions.pause()
                await sessions.close_resting()  # who only went on resting needs no second look
        finally:
            world.figures["sessions_closed"] = len(sessions.closed)  # also where it then failed
        return Seen.DONE

    async def verify(self, world: PairWorld) -> Seen:
        found = await mysql_server.client_sessions(await world.session(self.old))
        return Seen.NOT_DONE if _not_ours(world, self.old, found) else Seen.DONE


def _not_ours(world: PairWorld, old: str, found: list[ClientSession]) -> list[ClientSession]:
    ours, user = world.own_ids(old), world.servers[old].at.user
    return [
        s for s in found
        if s.id not in ours and s.user != user and s.command.lower() not in settle.GONE
    ]


class _Settling:
    """The clients' sessions on the old server: looked at again and again, closed when they rest."""

    def __init__(self, world: PairWorld, old: str, session: Session) -> None:
        self.session = session
        self.left: list[ClientSession] = []
        self.closed: set[int] = set()
        self._world, self._old = world, old
        self._young_from = min(world.servers[old].own_ids())
        self._transactions: dict[int, float] = {}
        self._begun = self._looked = clock.mono()
        self._look_ms = self._late_ms = 0.0  # how slow our looks are, how late our pauses end
        self._soonest_ms = 0.0  # how long after the last look somebody may have rested enough

    def elapsed_ms(self) -> float:
        return (clock.mono() - self._begun) * 1000

    async def look(self, *, but: int) -> None:
        """See who is left, without the session `but`."""
        self._looked = clock.mono()
        found, self._transactions = await mysql_server.clients_and_transactions(self.session)
        self._look_ms = (clock.mono() - self._looked) * 1000
        self.left = [s for s in _not_ours(self._world, self._old, found) if s.id != but]

    async def close_resting(self) -> bool:
        """Close those that rest; True when that was all of them."""
        age_ms = (clock.mono() - self._looked) * 1000
        rest_ms = settle.rest_needed_ms(self.elapsed_ms(), max(self._look_ms, self._late_ms))
        found = settle.decide(self.left, self._transactions, rest_ms, self._young_from, age_ms)
        if found.close:
            # The server looks again. Asking for a rest at least as long as our look is old makes
            # it still true in the moment of closing: who had no transaction has begun none since.
            closed = await mysql_server.close_idle(
                self.session, found.close, max(rest_ms, age_ms),
                after_ping_ms=settle.YOUNG_REST_MS,
            )
            self.closed.update(closed)
            self.left = [s for s in self.left if s.id not in closed]
        self._soonest_ms = found.soonest_ms
        return not self.left

    async def pause(self) -> None:
        """Until somebody may have rested for long enough: each look costs those two cores."""
        paused = clock.mono()
        pause_s = max(PAUSE_S, self._soonest_ms / 1000 - (paused - self._looked))
        await asyncio.sleep(pause_s)
        self._late_ms = (clock.mono() - paused - pause_s) * 1000


async def _cut(session: Session, sessions: list[ClientSession]) -> list[ClientSession]:
    """The grace is over: close who is left, wherever they are."""
    not_ours = []
    for left in sessions:
        try:
            await mysql_server.kill(session, left.id)
        except MysqlError as error:
            if error.code != NOT_OURS:
                raise
            not_ours.append(left.who())
    if not_ours:
        raise StepFailed(
            f"may not end {', '.join(not_ours)} (an account with SYSTEM_USER)",
            hint="end it yourself, or GRANT SYSTEM_USER ON *.* to slackwater's account",
        )
    for _ in range(500):
        found = await mysql_server.client_sessions(session, set())
        ids = {s.id for s in found}
        if not any(s.id in ids for s in sessions):
            return sessions
        await asyncio.sleep(PAUSE_S)
    raise StepFailed(f"sessions do not end: {', '.join(s.who() for s in sessions)}")

