"""What the registry knows: members with ages and probes, shares, what waits for the store.

Memory is what is acted on; the store is told before an answer is given, and when it is away
what was said waits for it (`pending`). So no store is a single point of failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from slackwater import clock
from slackwater.errors import OutsideError
from slackwater.facts.members import Record, Shares, lies_in, why_stale
from slackwater.facts.pools import Pool
from slackwater.outside.registry.store import Image, Stale, Store
from slackwater.outside.registry.store_file import FileStore
from slackwater.rules.registry.leases import Standing

STORE_LIMIT_S = 3.0
GRACE_LEASES = 3.0
LOOK_EVERY_S = 5.0
CATCH_UP_AT_ONCE = 16
AWAY_PAUSE_S = 1.0
LIST_PAUSE_S = 0.5  # between two writes of the last good list
VANISHED = 0.3  # more of a pool than this gone from the store at once: it was wiped, not left

Key = tuple[str, str]


@dataclass(slots=True)
class Entry:
    """A member with what was seen of it. Times on clock.mono()."""

    record: Record
    heard: float
    admitted: bool = False
    fails: int = 0
    failing_since: float = 0.0
    probe_due: float = 0.0

    def standing(self, now: float) -> Standing:
        """What the rules need."""
        member = self.record.member
        failing = now - self.failing_since if self.fails else 0.0
        return Standing(member.id, member.draining, now - self.heard, self.record.lease_s,
                        self.admitted, self.fails, failing)


@dataclass(frozen=True)
class Answer:
    """What became of something that a member said. `stored`: the store has it already."""

    revision: int
    stored: bool


class Roster:
    """The members of all pools. For stores on other machines two files stand in while they are
    away, also through a restart: `last_good`, all that is known, and `untold`, what they lack."""

    def __init__(
        self, store: Store, pools: Mapping[str, Pool], *, last_good: FileStore | None = None,
        untold: FileStore | None = None,
    ) -> None:
        self.store, self.known_pools = store, pools
        self.pools: dict[str, dict[str, Entry]] = {name: {} for name in pools}
        self.shares: dict[str, Shares] = {}
        self.revision = 0
        self.dirty: set[str] = set(pools)
        self.stirred = asyncio.Event()  # something is dirty
        self.faults: list[str] = []
        self.away = ""  # why the store cannot be reached, or ""
        self.pending: dict[Key, Record | None] = {}
        self._telling: Counter[Key] = Counter()  # what is on its way to the store
        self._told: set[Key] = set()  # since it was last asked what it has
        self.newcomers: Callable[[Key], None] = lambda key: None  # told of who has to be probed
        self._last_good, self._untold = last_good, untold
        self._disturbed = clock.mono()  # the start, or when the store was last away
        self._writes: set[asyncio.Task[Any]] = set()
        self._unwritten = False  # the last good list

    @property
    def count(self) -> int:
        return sum(map(len, self.pools.values()))

    def entry(self, key: Key) -> Entry | None:
        """The member of that pool and id."""
        return self.pools.get(key[0], {}).get(key[1])

    def settled(self, pool: str, now: float) -> bool:
        """Whether silence in this pool means something now: three leases after a disturbance."""
        if self.away and self._last_good is not None:
            return False
        longest = max((e.record.lease_s for e in self.pools[pool].values()), default=0.0)
        return now - self._disturbed > GRACE_LEASES * longest

    async def start(self) -> None:
        """Take up what is known: from the store, else from the last known good list."""
        try:
            async with asyncio.timeout(STORE_LIMIT_S * 2):
                image = await self.store.load()
        except (OutsideError, TimeoutError) as error:
            self._away(error)
            image = await self._last_good.load() if self._last_good else Image()
        if self._untold is not None:
            for record in (await self._untold.load()).records:
                if record.member.pool in self.pools:
                    self.pending[record.member.key] = record
                    self._set(record, clock.mono(), admitted=True)
            for key in self._untold.gone:
                self.pending.setdefault(key, None)
        self._take(image, first=True)
        if self._last_good is not None and not self.away:
            await self._take_wiped(self._last_good)

    async def _take_wiped(self, last_good: FileStore) -> None:
        """A store that lost most of what was known while we were down was wiped: each member is
        kept until its lease and its probes say otherwise."""
        known = await last_good.load()
        for pool, entries in self.pools.items():
            before = [r for r in known.records if r.member.pool == pool and not r.member.draining]
            gone = [r for r in before
                    if r.member.id not in entries and r.member.key not in self.pending]
            if len(gone) > max(1, math.ceil(VANISHED * len(before))):
                self.faults.append(f"{len(gone)} members of {pool} vanished from the store")
                for record in gone:
                    if not unfit(record, self.known_pools[pool]):
                        self._set(record, clock.mono(), admitted=True)

    async def put(self, record: Record) -> Answer:
        """Register or renew. Raises Stale, ValueError."""
        key = record.member.key
        old = self.entry(key)
        if why := why_stale(old.record if old else None, record):
            raise Stale(why)
        if old is not None and old.record.member == record.member and (
            old.record.lease_s == record.lease_s
        ):
            old.record, old.heard = record, clock.mono()
            if self.away:
                if self._last_good is not None:
                    self.pending.setdefault(key, record)
                return Answer(self.revision, key not in self.pending)
            return Answer(self.revision, await self._tell(key, self.store.renew(record), record))
        self._no_twin(record)
        self._set(record, clock.mono())
        stored = await self._tell(key, self.store.put(record), record)
        self._keep_last_good()
        return Answer(self.revision, stored)

    async def remove(self, key: Key, *, silent_s: float = 0.0) -> Answer:
        """Forget a member; one that is not there is no error.

        `silent_s`: because it was not heard for so long; others may have heard it since.
        """
        self._drop(key)
        # Whom others may have heard is not forgotten later on the strength of our silence.
        stored = await self._tell(key, self.store.remove(*key, silent_s=silent_s), None,
                                  later=not silent_s or self._untold is None)
        self._keep_last_good()
        return Answer(self.revision, stored)

    async def put_shares(self, pool: str, shares: Shares) -> bool:
        """Divide a pool among its colours; False when its revision is not one above.

        Raises OutsideError: an operator's change is not taken on trust.
        """
        if self.shares.get(pool, Shares()).revision + 1 != shares.revision:
            return False
        async with asyncio.timeout(STORE_LIMIT_S):
            kept = await self.store.put_shares(pool, shares)
        if kept:
            self.shares[pool] = shares
            self._told.add((pool, ""))
            self.touch(pool)
            self._keep_last_good()
        return kept

    def touch(self, pool: str) -> None:
        """Something in this pool changed that its balancers may have to know."""
        self.revision += 1
        self.dirty.add(pool)
        self.stirred.set()

    async def follow(self) -> None:
        """For ever: what others say in the store, and what waits for it."""
        while True:
            try:
                if self.away or self.pending:
                    await self._catch_up()
                limit_s = self._look_every_s() if not self.pending else AWAY_PAUSE_S
                if not await self.store.wait(limit_s) and self._last_good is None:
                    continue
                # Also where nothing changed: whom others heard is not late here.
                begun = clock.mono()
                self._take(await self._look())
                # With many members this takes long; what others say meanwhile is taken together.
                await asyncio.sleep(min(1.0, 4 * (clock.mono() - begun)))
            except (OutsideError, TimeoutError) as error:
                self._away(error)
                await asyncio.sleep(AWAY_PAUSE_S)

    def _look_every_s(self) -> float:
        leases = (e.record.lease_s for p in self.pools.values() for e in p.values())
        return min(LOOK_EVERY_S, min(filter(None, leases), default=LOOK_EVERY_S) / GRACE_LEASES)

    async def _look(self) -> Image:
        """What the store has. What it is told meanwhile may be in it, or not yet."""
        self._told = set(self._telling)
        async with asyncio.timeout(STORE_LIMIT_S * 3):
            return await self.store.load()

    async def _catch_up(self) -> None:
        waiting = list(self.pending.items())
        for begin in range(0, len(waiting), CATCH_UP_AT_ONCE):
            some = waiting[begin:begin + CATCH_UP_AT_ONCE]
            ended = await asyncio.gather(*(self._catch_up_one(*each) for each in some),
                                         return_exceptions=True)
            for error in ended:
                if isinstance(error, BaseException):
                    raise error
        image = await self._look()
        if self.away:
            self.away, self._disturbed = "", clock.mono()
        self._take(image)

    async def _catch_up_one(self, key: Key, record: Record | None) -> None:
        async with asyncio.timeout(STORE_LIMIT_S):
            with contextlib.suppress(Stale):  # another knows better; it is read after
                await (self.store.put(record) if record else self.store.remove(*key))
        if self.pending.get(key, key) is record:
            del self.pending[key]

    async def _tell(self, key: Key, call: Awaitable[None], record: Record | None, *,
                    later: bool = True) -> bool:
        """Tell the store; when it cannot be told, remember that, on disk before the return."""
        if self.away:
            _close(call)
            return await self._tell_later(key, record, later)
        self._telling[key] += 1
        self._told.add(key)
        try:
            async with asyncio.timeout(STORE_LIMIT_S):
                await call
        except Stale:
            raise
        except (OutsideError, TimeoutError) as error:
            self._away(error)
            return await self._tell_later(key, record, later)
        finally:
            self._telling[key] -= 1
            if not self._telling[key]:
                del self._telling[key]
        return True

    async def _tell_later(self, key: Key, record: Record | None, later: bool) -> bool:
        if later:
            self.pending[key] = record
            await self._keep_untold()
        return False

    def _away(self, error: Exception) -> None:
        self.away = str(error) or f"{self.store.name}: no answer in time"
        self._disturbed = clock.mono()

    def _set(self, record: Record, heard: float, *, admitted: bool = False) -> None:
        key = record.member.key
        old = self.entry(key)
        same_place = old is not None and old.record.member.endpoint == record.member.endpoint
        if old is not None and same_place:
            old.record, old.heard = record, heard
        else:
            # New, or moved: a probe has to pass first. Others serve meanwhile.
            self.pools[key[0]][key[1]] = Entry(record, heard, admitted)
            self.newcomers(key)
        self.touch(key[0])

    def _drop(self, key: Key) -> None:
        if self.pools.get(key[0], {}).pop(key[1], None) is not None:
            self.touch(key[0])

    def _no_twin(self, record: Record) -> None:
        """An address is one member's: a newcomer takes it over from one that is silent."""
        now, new = clock.mono(), record.member
        for entry in list(self.pools[new.pool].values()):
            other = entry.record.member
            if other.endpoint != new.endpoint or other.id == new.id:
                continue
            if not other.draining and now - entry.heard <= entry.record.lease_s:
                raise ValueError(f"{new.endpoint} is the address of member {other.id}")
            self._drop(other.key)
            self.pending[other.key] = None

    def _take(self, image: Image, *, first: bool = False) -> None:
        """Make memory what the store has, but for what it has yet to be told."""
        now, before = clock.mono(), self.revision
        self.faults = list(image.faults)
        for record in image.records:
            self._take_one(record, image.ages.get(record.member.key), now, first)
        for pool, shares in image.shares.items():
            if (pool in self.pools and (pool, "") not in self._told
                    and self.shares.get(pool, Shares()) != shares):
                self.shares[pool] = shares
                self.touch(pool)
        if not first:
            self._take_absence({r.member.key for r in image.records}, now)
            if self.revision != before:
                self._keep_last_good()

    def _take_one(self, record: Record, age: float | None, now: float, first: bool) -> None:
        key = record.member.key
        if key[0] not in self.pools or key in self.pending or key in self._told:
            return
        old = self.entry(key)
        if old is not None and old.record is record and age is None:
            return
        why_not = unfit(record, self.known_pools[key[0]])
        if why_not:
            self.faults.append(f"member {key[1]} of {key[0]}: {why_not}")
            return
        heard = now if age is None else now - age
        if old is None:
            self._set(record, now if first else heard, admitted=first)
        elif old.record.member != record.member:
            self._set(record, max(heard, old.heard))
        else:
            if (record.boot, record.seq) > (old.record.boot, old.record.seq):
                old.record = record
            if age is not None:
                old.heard = max(heard, old.heard)

    def _take_absence(self, there: set[Key], now: float) -> None:
        for pool, entries in self.pools.items():
            gone = [(pool, i) for i in entries
                    if (pool, i) not in there and (pool, i) not in self.pending
                    and (pool, i) not in self._told]
            wiped = len(gone) > max(1, math.ceil(VANISHED * len(entries)))
            if wiped:
                self.faults.append(f"{len(gone)} members of {pool} vanished from the store at "
                                   "once: each stays until a probe fails")
            for key in gone:
                entry = entries[key[1]]
                if wiped and not entry.record.member.draining:
                    # As if its lease had ended: the rules of leases say who is dead.
                    entry.heard = min(entry.heard, now - entry.record.lease_s - 0.001)
                    self.dirty.add(pool)
                else:
                    self._drop(key)

    def _keep_last_good(self) -> None:
        """Write the list down for a start without the store; not waited for."""
        self._unwritten = True
        if self._last_good is None or self._writes:
            return
        task = asyncio.ensure_future(self._write_last_good(self._last_good))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _write_last_good(self, file: FileStore) -> None:
        # The first change at once: a restart may be close. Those that come meanwhile, together.
        while self._unwritten:
            self._unwritten = False
            begun = clock.mono()
            records = [e.record for entries in self.pools.values() for e in entries.values()]
            try:
                await file.replace_all(records, self.shares)
            except OutsideError as error:
                self.faults.append(str(error))
            await self._keep_untold()
            await asyncio.sleep(max(LIST_PAUSE_S, 4 * (clock.mono() - begun)))

    async def _keep_untold(self) -> None:
        """Who was answered must not be forgotten by a restart; many calls share one write."""
        if self._untold is None:
            return
        try:
            await self._untold.replace_all(
                [r for r in self.pending.values() if r is not None], {},
                [key for key, r in self.pending.items() if r is None])
        except OutsideError as error:
            self.faults.append(str(error))


def unfit(record: Record, pool: Pool) -> str:
    """Why this member cannot be in that pool, whoever said so; or ""."""
    if pool.networks and not lies_in(record.member.address, pool.networks):
        return f"{record.member.address} is in none of the pool's networks"
    return ""


def drained(record: Record) -> Record:
    """The same member, about to leave."""
    return replace(record, member=replace(record.member, draining=True))


def _close(call: Awaitable[None]) -> None:
    if asyncio.iscoroutine(call):
        call.close()
