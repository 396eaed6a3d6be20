"""Let the sessions on the old server end, and close those that rest, between transactions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.errors import StepFailed
from slackwater.facts.server import ClientSession
from slackwater.operations.pair_world import Looked, PairWorld
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.dialect import NOT_OURS
from slackwater.outside.mysql.greeting import KNOCK_LIMIT_S, knock
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.plan.step import Seen, Step
from slackwater.rules import settle

PAUSE_S = 0.001
MARGIN_MS = 1.0  # a request of ours may take so much longer than the one before


async def look(world: PairWorld, old: str) -> Looked:
    """Who is on the old server."""
    asked = clock.mono()
    session = await world.servers[old].session()
    found, transactions = await mysql_server.clients_and_transactions(session)
    took_s = clock.mono() - asked
    return Looked(asked, asked, took_s, _not_ours(world, old, found), transactions)


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
                await sessions.close_resting_and_look(but=knocked)
                if world.hold_left_s() <= 0:  # they are let in again: those are not to be cut
                    raise StepFailed("the hold ended before the sessions did")
                if not sessions.left:
                    break
                if sessions.elapsed_ms() >= self.grace_s * 1000:
                    cut = await _cut(sessions.session, sessions.left)
                    world.figures["sessions_cut"] = [s.who() for s in cut]
                    break
                await sessions.pause()
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
        self.closed: set[int] = set()
        self._world, self._old = world, old
        self._young_from = min(world.servers[old].own_ids())
        self._begun = clock.mono()
        # Before the hold: who rested then, and still does, needs no look that makes others wait.
        assert world.looked is not None
        self._last = world.looked
        self._late_ms = 0.0  # how late our pauses end

    @property
    def left(self) -> list[ClientSession]:
        """The clients' sessions at the last look."""
        return self._last.sessions

    def elapsed_ms(self) -> float:
        return (clock.mono() - self._begun) * 1000

    async def close_resting_and_look(self, *, but: int) -> None:
        """Close those that rest, and see who is left, without the session `but`."""
        rest_ms, found = self._decide()
        asked = clock.mono()
        closed, sessions, transactions = await mysql_server.close_idle_and_look(
            self.session, found.close, max(rest_ms, self._age_ms()),
            after_ping_ms=settle.YOUNG_REST_MS,
        )
        took_s = clock.mono() - asked
        self.closed.update(closed)
        left = [s for s in _not_ours(self._world, self._old, sessions)
                if s.id != but and s.id not in self.closed]
        if found.close:  # closing took a part of it
            took_s = min(took_s, self._last.took_s)
        self._last = Looked(asked, clock.mono() - took_s, took_s, left, transactions)

    def _age_ms(self) -> float:
        """How old our last look will be when the server looks again. Who has rested for so long
        has begun nothing since: no transaction, if there was none."""
        return (clock.mono() - self._last.asked + self._last.took_s) * 1000 + MARGIN_MS

    async def pause(self) -> None:
        """Until somebody may have rested for long enough: each look costs those two cores."""
        _, found = self._decide()
        if found.close:
            return
        paused = clock.mono()
        pause_s = max(PAUSE_S, (found.soonest_ms - self._rested_ms()) / 1000)
        await asyncio.sleep(pause_s)
        self._late_ms = (clock.mono() - paused - pause_s) * 1000

    def _rested_ms(self) -> float:
        return (clock.mono() - self._last.read) * 1000

    def _decide(self) -> tuple[float, settle.Settling]:
        rest_ms = settle.rest_needed_ms(
            self.elapsed_ms(), max(self._last.took_s * 1000, self._late_ms))
        return rest_ms, settle.decide(self.left, self._last.transactions, rest_ms,
                                      self._young_from, self._rested_ms())


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

