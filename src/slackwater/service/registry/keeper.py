"""Watches the members and decides, by rules/registry, who serves; tells the balancers."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Mapping, Sequence

from slackwater import clock
from slackwater.facts.members import PoolView, Shares
from slackwater.outside.registry import probe
from slackwater.rules.registry import colours
from slackwater.rules.registry.leases import Limits, Verdict, judge
from slackwater.service.registry.applier import Applier
from slackwater.service.registry.roster import Entry, Key, Roster

JUDGE_EVERY_S = 0.5
PROBE_LIMIT_S = 2.0
ILL_EVERY_S = 0.5  # who is new, or did not answer, is asked again soon
PROBES_PER_S = 500.0
PROBES_AT_ONCE = 200


class Keeper:
    """One for a registry. `views` is what balancers shall have; `revision` numbers it."""

    def __init__(
        self, roster: Roster, limits: Mapping[str, Limits], *, probe_s: float
    ) -> None:
        self.roster, self._limits, self._probe_s = roster, limits, probe_s
        self.appliers: list[Applier] = []
        self.views: dict[str, PoolView] = {p: PoolView(p, ()) for p in roster.pools}
        self.verdicts: dict[str, Verdict] = {p: Verdict(frozenset()) for p in roster.pools}
        self.revision = 1  # appliers begin at 0: they look once whatever is known
        self.judged = -1  # the roster's revision that the views have in them
        self.judge_s = 0.0  # how long the last pass took
        self._progress = asyncio.Condition()
        self._due: list[tuple[float, Key]] = []
        self._probing = asyncio.Semaphore(PROBES_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake_probes = asyncio.Event()
        roster.newcomers = self._probe_soon

    def now(self) -> tuple[int, Sequence[PoolView]]:
        """For appliers: the revision and what it is."""
        return self.revision, list(self.views.values())

    def progress(self) -> None:
        """Appliers say that something is in effect, or is not."""
        task = asyncio.ensure_future(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait_applied(self, key: Key, revision: int, limit_s: float) -> bool:
        """Wait until all balancers have what the roster had at that revision."""

        def done() -> bool:
            entry = self.roster.entry(key)
            coming = entry is not None and not entry.record.member.draining and not entry.admitted
            return self.judged >= revision and not coming and self.applied >= self.revision

        try:
            async with asyncio.timeout(limit_s):
                async with self._progress:
                    await self._progress.wait_for(done)
        except TimeoutError:
            return done()
        return True

    @property
    def applied(self) -> int:
        """The revision that every balancer has."""
        return min((a.applied for a in self.appliers), default=self.revision)

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._judge_all())
            group.create_task(self._probe_all())

    async def _notify(self) -> None:
        async with self._progress:
            self._progress.notify_all()

    async def _judge_all(self) -> None:
        while True:
            try:
                async with asyncio.timeout(JUDGE_EVERY_S):
                    await self.roster.stirred.wait()
                every = False
            except TimeoutError:
                every = True
            self.roster.stirred.clear()
            await self.judge(every=every)

    async def judge(self, *, every: bool) -> None:
        """One pass over the pools that changed, or over every one."""
        begun = clock.mono()
        roster = self.roster
        revision, dirty = roster.revision, set(roster.dirty)
        roster.dirty.clear()
        remove: list[Key] = []
        changed = False
        for pool in list(roster.pools) if every else sorted(dirty):
            verdict = self._verdict(pool, begun)
            remove += [(pool, i) for i in verdict.remove]
            if pool in dirty or verdict.serving != self.verdicts[pool].serving:
                changed = self._view(pool, verdict) or changed
            self.verdicts[pool] = verdict
        for key in remove:
            entry = roster.entry(key)
            if entry is not None:
                await roster.remove(key, silent_s=entry.record.lease_s)
        if changed:
            self.revision += 1
        self.judged = revision
        self.judge_s = clock.mono() - begun
        if changed:
            for applier in self.appliers:
                applier.tell()
        await self._notify()

    def _verdict(self, pool: str, now: float) -> Verdict:
        standings = [e.standing(now) for e in self.roster.pools[pool].values()]
        return judge(standings, self._limits[pool], settled=self.roster.settled(pool, now))

    def _view(self, pool: str, verdict: Verdict) -> bool:
        entries = self.roster.pools[pool]
        gone = set(verdict.remove)
        # Who was never seen to answer is not shown to a balancer at all.
        members = [e.record.member for i, e in entries.items() if e.admitted and i not in gone]
        shares = self.roster.shares.get(pool, Shares())
        view = colours.view(pool, members, verdict.serving, shares)
        if view == self.views[pool]:
            return False
        self.views[pool] = view
        return True

    def _probe_soon(self, key: Key) -> None:
        heapq.heappush(self._due, (0.0, key))
        self._wake_probes.set()

    async def _probe_all(self) -> None:
        while True:
            self._wake_probes.clear()
            now = clock.mono()
            while self._due and self._due[0][0] <= now:
                due, key = heapq.heappop(self._due)
                entry = self.roster.entry(key)
                if entry is None or (due and due != entry.probe_due):
                    continue  # gone, or asked for twice
                await self._probing.acquire()
                task = asyncio.ensure_future(self._probe(key, entry))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            pause_s = max(0.0, self._due[0][0] - now) if self._due else 1.0
            try:
                async with asyncio.timeout(min(1.0, pause_s)):
                    await self._wake_probes.wait()
            except TimeoutError:
                pass

    async def _probe(self, key: Key, entry: Entry) -> None:
        try:
            member = entry.record.member
            path = self.roster.known_pools[key[0]].check
            well = await probe.answers(member.address, member.port, path, limit_s=PROBE_LIMIT_S)
        finally:
            self._probing.release()
        if self.roster.entry(key) is not entry:
            return
        now = clock.mono()
        fall = self._limits[key[0]].fall
        was = entry.admitted, entry.fails >= fall
        if well:
            entry.admitted, entry.fails = True, 0
        else:
            entry.failing_since = entry.failing_since if entry.fails else now
            entry.fails += 1
        if (entry.admitted, entry.fails >= fall) != was:
            self.roster.touch(key[0])
        pause_s = max(self._probe_s, self.roster.count / PROBES_PER_S)
        entry.probe_due = now + (pause_s if well else min(ILL_EVERY_S, pause_s))
        heapq.heappush(self._due, (entry.probe_due, key))
