"""Let the sessions on the old server end, and close those that rest, between transactions."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.errors import OutsideError, StepFailed
from slackwater.facts.server import ClientSession
from slackwater.operations.pair_world import Looked, PairWorld
from slackwater.operations.switchover.end_by_balancer import end_resting
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.close_resting import NOT_OURS
from slackwater.outside.mysql.greeting import KNOCK_LIMIT_S, knock
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.plan.step import Seen, Step
from slackwater.rules import settle

PAUSE_S = 0.001
LOOK_S = 0.001  # a look takes about so long


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
        session = await world.servers[self.old].session()
        sessions = _Settling(world, self.old, session, _beside(world, self.old, session))
        try:
            # A connection that a balancer had opened before the hold may still wait to be accepted.
            # Ours, made after it and accepted in turn, tells when none of those is left. Until
            # then requests under way are being served: two cores have no time for ours.
            await sessions.knock(limit_s=min(KNOCK_LIMIT_S, world.hold_left_s()))
            while True:
                settled = await sessions.close_resting_and_look()
                if world.hold_left_s() <= 0:  # they are let in again: those are not to be cut
                    raise StepFailed("the hold ended before the sessions did")
                if settled:
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


async def look(world: PairWorld, old: str) -> Looked:
    """Who is on the old server now."""
    session = await world.servers[old].session()
    if beside := _beside(world, old, session):
        with contextlib.suppress(OutsideError):  # without it the other one closes alone
            await mysql_server.abilities(beside)  # learned now, so that no closing has to
    asked = clock.mono()
    found, transactions = await mysql_server.clients_and_transactions(session)
    return Looked(asked, _not_ours(world, old, found), transactions)


def _beside(world: PairWorld, old: str, session: Session) -> Session | None:
    """A second session to close with, where ending one is a wait: two share it, and the other cores
    of that machine rest now."""
    spare = world.servers[old].spare
    usable = spare is not None and spare is not session and not spare.broken
    return spare if usable and mysql_server.kill_waits(session) else None


def _not_ours(world: PairWorld, old: str, found: list[ClientSession]) -> list[ClientSession]:
    ours, user = world.own_ids(old), world.servers[old].at.user
    return [
        s for s in found
        if s.id not in ours and s.user != user and s.command.lower() not in settle.GONE
    ]


class _Settling:
    """The clients' sessions on the old server: looked at again and again, closed when they rest."""

    def __init__(
        self, world: PairWorld, old: str, session: Session, beside: Session | None
    ) -> None:
        self.session, self._beside = session, beside
        self.closed: set[int] = set()
        self._world, self._old = world, old
        self._young_from = min(world.servers[old].own_ids())
        self._knocked = 0
        self._begun = clock.mono()
        # Who rested before the hold, and still does, needs no look for which others wait.
        self._last = world.looked or Looked(self._begun, [], {})
        self._look_s = self._late_s = 0.0  # how slow our looks are, how late our pauses end

    @property
    def left(self) -> list[ClientSession]:
        """The clients' sessions at the last look."""
        return self._last.sessions

    def elapsed_ms(self) -> float:
        return (clock.mono() - self._begun) * 1000

    async def knock(self, *, limit_s: float) -> None:
        """Come after all whom a balancer had let through: then those are in the next look."""
        at = self._world.servers[self._old].at
        self._knocked = await knock(at.host, at.port, limit_s=limit_s)

    async def close_resting_and_look(self) -> bool:
        """Close those that rest by the last look; True when nobody is left."""
        rest_ms, found = self._decide()
        # The server looks again, and only who has rested since our look too is closed: who had no
        # transaction then has begun none since.
        chosen = set(found.close)
        rarely = [s for s in self.left if s.id in chosen and s.id < self._young_from
                  and (s.idle_ms or 0.0) >= settle.RARELY_USED_MS]
        ended = await end_resting(
            self._world, self._old, self.session, rarely,
            max(rest_ms, self._ago_ms(), settle.RARELY_USED_MS))
        to_close = tuple(i for i in found.close if i not in ended)
        asked = clock.mono()
        closed, sessions, transactions, looked = await self._close(
            to_close, max(rest_ms, self._ago_ms()))
        if to_close:  # that comes first, the look at the end
            asked = max(asked, looked - LOOK_S)
        else:
            self._look_s = clock.mono() - asked
        self.closed.update(closed, ended)
        left = [s for s in _not_ours(self._world, self._old, sessions)
                if s.id != self._knocked and s.id not in self.closed]
        self._last = Looked(asked, left, transactions)
        return not left

    async def _close(
        self, ids: tuple[int, ...], rest_ms: float
    ) -> tuple[list[int], list[ClientSession], dict[int, float], float]:
        """Who was closed, who is left, the transactions, and when that was looked at."""
        beside = self._beside
        if beside is None or len(ids) < 2:
            return await self._close_and_look(ids, rest_ms)
        # One that fails must not cut the other short: a session in the middle of a statement is
        # lost with it, and the pair's lock is one of these two's.
        one, other = await asyncio.gather(
            self._close_and_look(ids[::2], rest_ms),
            mysql_server.close_idle(
                beside, ids[1::2], rest_ms, after_ping_ms=settle.YOUNG_REST_MS),
            return_exceptions=True,
        )
        if isinstance(one, BaseException):
            raise one
        if isinstance(other, OutsideError):
            self._beside, other = None, []  # whom it left is still there at the next look
        elif isinstance(other, BaseException):
            raise other
        closed, sessions, transactions, looked = one
        return [*closed, *other], sessions, transactions, looked

    async def _close_and_look(
        self, ids: tuple[int, ...], rest_ms: float
    ) -> tuple[list[int], list[ClientSession], dict[int, float], float]:
        closed, sessions, transactions = await mysql_server.close_idle_and_look(
            self.session, ids, rest_ms, after_ping_ms=settle.YOUNG_REST_MS)
        return closed, sessions, transactions, clock.mono()

    async def pause(self) -> None:
        """Until somebody may have rested for long enough: each look costs those two cores."""
        _, found = self._decide()
        if found.close:
            return
        paused = clock.mono()
        pause_s = max(PAUSE_S, (found.soonest_ms - self._ago_ms()) / 1000)
        await asyncio.sleep(pause_s)
        self._late_s = clock.mono() - paused - pause_s

    def _decide(self) -> tuple[float, settle.Settling]:
        delay_ms = max(self._look_s, self._late_s) * 1000
        rest_ms = settle.rest_needed_ms(self.elapsed_ms(), delay_ms)
        return rest_ms, settle.decide(
            self.left, self._last.transactions, rest_ms, self._young_from, self._ago_ms())

    def _ago_ms(self) -> float:
        return (clock.mono() - self._last.asked) * 1000


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

