"""Members in etcd: for several balancers, each with its registry, that share what they know.

`members/POOL/ID` says what a member is and stays; `alive/POOL/ID` says that a registry hears it,
and is bound to a lease of that registry: it goes when the registry has not heard the member for as
long as its own lease, or is gone itself. So that a lease that ends is a suspicion here too
(rules/registry/leases.py), and etcd never empties a pool by itself.

What is there is read once and then watched (etcd_mirror.py). Changes that come while one is on
its way go into one next transaction together. A renewal of who is known to be alive costs etcd
nothing: members whose leases are alike share one of etcd's, which is kept alive for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slackwater import clock
from slackwater.errors import OutsideError
from slackwater.facts.members import Record, Shares, why_stale
from slackwater.outside.registry import etcd
from slackwater.outside.registry.etcd import MOST_PARTS, Done, Etcd, KeyValue, Part
from slackwater.outside.registry.etcd_mirror import Kept, Key, Mirror
from slackwater.outside.registry.store import Image, Stale

_TRIES = 4  # of a change that others change at the same time
_TEND_EVERY_S = 0.5
_NO_LEASE = "lease not found"


@dataclass(frozen=True)
class _Change:
    """One that waits for the next transaction. `make` is told the lease for its `alive` key."""

    key: Key
    lease_s: float
    make: Callable[[int], Part]
    done: asyncio.Future[Done]


@dataclass
class _Heard:
    """A member that this registry hears. `lease`: etcd's, if we bound its `alive` key to it."""

    at: float  # clock.mono()
    lease_s: float
    lease: int


class EtcdStore:
    """A store (outside/registry/store.py)."""

    def __init__(self, endpoints: Sequence[str], prefix: str = "/slackwater/registry/", *,
                 user: str = "", password: str = "", ca: str = "") -> None:
        self._etcd = Etcd(endpoints, user=user, password=password, ca=ca)
        self.name = self._etcd.where
        self._prefix = prefix.rstrip("/") + "/"
        self._mirror = Mirror()
        self._in_step = False  # the mirror was read, and every change since was heard
        self._heard: dict[Key, _Heard] = {}
        self._leases: dict[int, tuple[int, float]] = {}  # by seconds: etcd's, and when kept alive
        self._waiting: list[_Change] = []
        self._writing: asyncio.Task[None] | None = None
        self._tending: asyncio.Task[None] | None = None

    async def load(self) -> Image:
        """Everything: read if it was not yet, or if changes were missed."""
        if not self._in_step:
            revision, pairs = await self._etcd.range(self._prefix, prefix=True)
            self._mirror = Mirror()
            for each in pairs:
                self._take(each)
            self._mirror.heard(revision)
            self._in_step = True
        now = clock.mono()
        return self._mirror.image({key: now - h.at for key, h in self._heard.items()})

    async def put(self, record: Record) -> None:
        """Agreed by the cluster before the return."""
        key, at = record.member.key, self._at("members", *record.member.key)
        alive = self._at("alive", *key)
        said = json.dumps(record.as_json())
        for _ in range(_TRIES):
            kept = await self._kept(key)
            if kept.record != record and (why := why_stale(kept.record, record)):
                raise Stale(why)

            def part(lease: int, changed: int = kept.changed) -> Part:
                heard = etcd.put(alive, "", lease) if lease else etcd.delete(alive)
                return Part([etcd.unchanged(at, changed)], [etcd.put(at, said), heard],
                            [etcd.look(at)])

            done = await self._change(key, record.lease_s, part)
            if done.succeeded:
                self._take(KeyValue(at, said, done.revision))
                self._take(KeyValue(alive, "", done.revision, there=bool(record.lease_s)))
                return
            for each in done.found or (KeyValue(at, "", done.revision, there=False),):
                self._take(each)
        raise OutsideError(self.name, f"others change {at} all the time", sent=True)

    async def renew(self, record: Record) -> None:
        """Nothing where it is known to be alive; else that it is, or all of it if it was wiped."""
        key = record.member.key
        if not record.lease_s:
            return
        heard = self._heard.get(key)
        if heard is not None:
            heard.at = clock.mono()
        if self._in_step and key in self._mirror.alive and key in self._mirror.members:
            return
        at, alive = self._at("members", *key), self._at("alive", *key)
        done = await self._change(key, record.lease_s, lambda lease: Part(
            [etcd.there(at)], [etcd.put(alive, "", lease)]))
        if done.succeeded:
            self._take(KeyValue(alive, "", done.revision))
        else:
            self._take(KeyValue(at, "", done.revision, there=False))
            await self.put(record)

    async def remove(self, pool: str, member: str, *, silent_s: float = 0.0) -> None:
        """Agreed by the cluster before the return."""
        key = (pool, member)
        at, alive = self._at("members", *key), self._at("alive", *key)
        both = [etcd.delete(at), etcd.delete(alive)]
        part = Part((), both)
        heard = self._heard.get(key)
        if silent_s:
            # Who is said to be alive is so by another's word, if not by ours, which is old.
            ours = heard.lease if heard and clock.mono() - heard.at >= silent_s else 0
            own = [etcd.either(Part([etcd.bound(alive, ours)], both))] if ours else []
            part = Part([etcd.unchanged(alive, 0)], both, own)
        else:
            self._heard.pop(key, None)
        done = await self._change(key, 0.0, lambda lease: part)
        if done.succeeded:
            self._heard.pop(key, None)
            for each in (at, alive):
                self._take(KeyValue(each, "", done.revision, there=False))

    async def put_shares(self, pool: str, shares: Shares) -> bool:
        """Agreed by the cluster before the return."""
        at = self._at("shares", pool)
        _, found = await self._etcd.range(at)
        for each in found:
            self._take(each)
        old = self._mirror.shares.get(pool, Shares()) if found else Shares()
        if old == shares:
            return True  # the answer to the first attempt was lost
        if shares.revision != old.revision + 1:
            return False
        said = json.dumps({"revision": shares.revision, "parts": dict(shares.parts)})
        done = (await self._etcd.parts([Part(
            [etcd.unchanged(at, found[0].changed if found else 0)], [etcd.put(at, said)])]))[0]
        if done.succeeded:
            self._take(KeyValue(at, said, done.revision))
        return done.succeeded

    async def wait(self, limit_s: float) -> bool:
        """A watch from what was last heard on, so that nothing is missed in between."""
        if not self._in_step:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                return await self._watch()
        # Silence of a member that was cut off is not silence of the cluster.
        revision, _ = await self._etcd.range(self._prefix, prefix=True, limit=1)
        if revision < self._mirror.revision:
            self._in_step = False  # another etcd, or an older state of it: what we know is not so
        return not self._in_step

    async def close(self) -> None:
        """Close all connections. Who was heard stays alive for what is left of the leases."""
        for task in (self._tending, self._writing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._etcd.close()

    async def _watch(self) -> bool:
        async with contextlib.aclosing(
            self._etcd.watch(self._prefix, self._mirror.revision)
        ) as changes:
            async for events in changes:
                if events is None:
                    self._in_step = False
                    return True
                # All of them, before any answer: own changes are heard of too, and are no news.
                news = [self._take(each) for each in events]
                self._mirror.heard(max(each.changed for each in events))
                if any(news):
                    return True
        return True

    def _take(self, each: KeyValue) -> bool:
        kind, _, rest = each.key.removeprefix(self._prefix).partition("/")
        pool, _, member = rest.partition("/")
        return self._mirror.take(kind, pool, member, each)

    async def _kept(self, key: Key) -> Kept:
        """The member as etcd has it, by the mirror where it is in step."""
        if not self._in_step:
            _, found = await self._etcd.range(self._at("members", *key))
            if not found:
                return Kept()
            self._take(found[0])
        return self._mirror.members.get(key, Kept())

    async def _change(self, key: Key, lease_s: float, make: Callable[[int], Part]) -> Done:
        """In the next transaction, with all others that wait."""
        change = _Change(key, lease_s, make, asyncio.get_running_loop().create_future())
        self._waiting.append(change)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write())
        if self._tending is None or self._tending.done():
            self._tending = asyncio.ensure_future(self._tend())
        return await change.done

    async def _write(self) -> None:
        while self._waiting:
            batch: dict[Key, _Change] = {}
            rest = []
            for change in self._waiting:
                if change.done.cancelled():
                    continue  # who asked has given up
                if len(batch) < MOST_PARTS and change.key not in batch:
                    batch[change.key] = change
                else:
                    rest.append(change)
            self._waiting = rest
            if not batch:
                continue
            try:
                await self._write_one(list(batch.values()))
            except BaseException as error:
                for change in batch.values():
                    if not change.done.done():
                        change.done.set_exception(
                            error if isinstance(error, OutsideError) else
                            OutsideError(self.name, f"cut off: {error!r}", sent=True))
                if not isinstance(error, OutsideError):
                    raise

    async def _write_one(self, batch: list[_Change]) -> None:
        for attempt in range(2):
            leases = [await self._lease(c.lease_s) for c in batch]
            try:
                done = await self._etcd.parts(
                    [c.make(lease) for c, lease in zip(batch, leases, strict=True)])
            except OutsideError as error:
                if _NO_LEASE not in str(error) or attempt:
                    raise
                self._leases.clear()  # etcd was away for longer than they last
                continue
            for change, lease, each in zip(batch, leases, done, strict=True):
                if lease and each.succeeded:
                    self._heard[change.key] = _Heard(clock.mono(), change.lease_s, lease)
                if not change.done.done():
                    change.done.set_result(each)
            return

    async def _lease(self, lease_s: float) -> int:
        """etcd's lease for members with this one: a power of two, so that there are few."""
        if not lease_s:
            return 0
        ttl_s = 1 << (math.ceil(lease_s) - 1).bit_length()
        if ttl_s not in self._leases:
            self._leases[ttl_s] = await self._etcd.grant(ttl_s), clock.mono()
        return self._leases[ttl_s][0]

    async def _tend(self) -> None:
        """For ever: keep the leases, and let go of whom we do not hear any more."""
        while True:
            await asyncio.sleep(_TEND_EVERY_S)
            with contextlib.suppress(OutsideError):  # they end then, which is a suspicion only
                await self._keep_leases()
                await self._let_go()

    async def _keep_leases(self) -> None:
        for ttl_s, (lease, at) in list(self._leases.items()):
            begun = clock.mono()
            if begun - at < ttl_s / 4:
                continue
            if await self._etcd.keep_alive(lease):
                self._leases[ttl_s] = lease, begun
            else:
                self._leases.pop(ttl_s, None)

    async def _let_go(self) -> None:
        now = clock.mono()
        silent = [(k, h.lease) for k, h in self._heard.items()
                  if now - h.at > h.lease_s]
        for begin in range(0, len(silent), MOST_PARTS):
            part = silent[begin:begin + MOST_PARTS]
            done = await self._etcd.parts([
                Part([etcd.bound(self._at("alive", *key), lease)],
                     [etcd.delete(self._at("alive", *key))]) for key, lease in part])
            for (key, lease), each in zip(part, done, strict=True):
                if each.succeeded:  # else another registry hears it
                    self._take(KeyValue(self._at("alive", *key), "", each.revision, there=False))
                heard = self._heard.get(key)
                if heard is not None and heard.lease == lease:
                    del self._heard[key]

    def _at(self, *parts: str) -> str:
        return self._prefix + "/".join(parts)
