"""Members in etcd: for several balancers, each with its registry, that share what they know.

`members/POOL/ID` says what a member is and stays; `alive/POOL/ID` is bound to a lease of etcd's
and goes with it. So that a lease that ends is a suspicion here too (rules/registry/leases.py), and
etcd never empties a pool by itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from slackwater.errors import OutsideError
from slackwater.facts.members import Record, Shares, why_stale
from slackwater.outside.registry import etcd
from slackwater.outside.registry.etcd import Etcd, KeyValue
from slackwater.outside.registry.store import Image, Stale

_TRIES = 4  # of a change that others change at the same time


class EtcdStore:
    """A store (outside/registry/store.py)."""

    def __init__(self, endpoints: Sequence[str], prefix: str = "/slackwater/registry/", *,
                 user: str = "", password: str = "", ca: str = "") -> None:
        self._etcd = Etcd(endpoints, user=user, password=password, ca=ca)
        self.name = self._etcd.where
        self._prefix = prefix.rstrip("/") + "/"
        self._revision = 0
        self._leases: dict[tuple[str, str], int] = {}

    async def load(self) -> Image:
        """One look at everything."""
        self._revision, pairs = await self._etcd.range(self._prefix, prefix=True)
        alive: set[tuple[str, str]] = set()
        records: list[Record] = []
        shares: dict[str, Shares] = {}
        faults: list[str] = []
        for each in pairs:
            kind, _, rest = each.key.removeprefix(self._prefix).partition("/")
            pool, _, member = rest.partition("/")
            try:
                if kind == "alive":
                    alive.add((pool, member))
                elif kind == "members":
                    records.append(_record(each, pool, member))
                elif kind == "shares":
                    shares[pool] = _shares(each.value)
            except ValueError as error:
                faults.append(f"key {each.key}: {error}")
        ages = {r.member.key: 0.0 if r.member.key in alive else r.lease_s + 0.001
                for r in records if r.lease_s}
        return Image(tuple(records), shares, ages, tuple(faults))

    async def put(self, record: Record) -> None:
        """Agreed by the cluster before the return."""
        key = self._at("members", *record.member.key)
        for _ in range(_TRIES):
            _, found = await self._etcd.range(key)
            old = _old(found, *record.member.key)
            if old != record and (why := why_stale(old, record)):
                raise Stale(why)
            lease = await self._lease(record)
            done = await self._etcd.txn(
                [etcd.unchanged(key, found[0].changed if found else 0)],
                [etcd.put(key, json.dumps(record.as_json())), self._alive(record, lease)])
            if done:
                return
        raise OutsideError(self.name, f"others change {key} all the time", sent=True)

    async def renew(self, record: Record) -> None:
        """Its lease; a new one where it has ended, or another registry granted it."""
        if not record.lease_s:
            return
        known = self._leases.get(record.member.key)
        if known is not None and await self._etcd.keep_alive(known):
            return
        self._leases.pop(record.member.key, None)
        lease = await self._lease(record)
        key = self._at("members", *record.member.key)
        _, found = await self._etcd.range(key)
        if not found:  # wiped: it is known again by its renewal
            await self.put(record)
            return
        await self._etcd.txn([], [self._alive(record, lease)])

    async def remove(self, pool: str, member: str, *, silent_s: float = 0.0) -> None:
        """Agreed by the cluster before the return."""
        alive = self._at("alive", pool, member)
        compare = [etcd.unchanged(alive, 0)] if silent_s else []
        self._leases.pop((pool, member), None)
        await self._etcd.txn(compare, [etcd.delete(self._at("members", pool, member)),
                                       etcd.delete(alive)])

    async def put_shares(self, pool: str, shares: Shares) -> bool:
        """Agreed by the cluster before the return."""
        key = self._at("shares", pool)
        _, found = await self._etcd.range(key)
        old = _shares(found[0].value) if found else Shares()
        if old == shares:
            return True  # the answer to the first attempt was lost
        if shares.revision != old.revision + 1:
            return False
        said = json.dumps({"revision": shares.revision, "parts": dict(shares.parts)})
        return await self._etcd.txn([etcd.unchanged(key, found[0].changed if found else 0)],
                                    [etcd.put(key, said)])

    async def wait(self, limit_s: float) -> bool:
        """A watch from what was last read on, so that nothing is missed in between."""
        return await self._etcd.changed(self._prefix, self._revision, limit_s)

    async def close(self) -> None:
        """Close all connections."""
        await self._etcd.close()

    def _at(self, *parts: str) -> str:
        return self._prefix + "/".join(parts)

    def _alive(self, record: Record, lease: int) -> dict[str, object]:
        return etcd.put(self._at("alive", *record.member.key), f"{record.boot}.{record.seq}", lease)

    async def _lease(self, record: Record) -> int:
        if not record.lease_s:
            return 0
        lease = await self._etcd.grant(math.ceil(record.lease_s))
        self._leases[record.member.key] = lease
        return lease


def _old(found: list[KeyValue], pool: str, member: str) -> Record | None:
    try:
        return _record(found[0], pool, member) if found else None
    except ValueError:
        return None  # nobody can use it: anything is better


def _record(each: KeyValue, pool: str, member: str) -> Record:
    said = json.loads(each.value)
    if not isinstance(said, dict):
        raise ValueError("not a member")
    record = Record.read(said)
    if record.member.key != (pool, member):
        raise ValueError("its name is not the key's")
    return record


def _shares(text: str) -> Shares:
    try:
        said = json.loads(text)
        return Shares(tuple(said["parts"].items()), said["revision"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not shares: {error}") from None
