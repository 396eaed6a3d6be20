"""What etcd has of a registry, as last heard: read once, then kept by a watch and by own changes.

Each key is remembered with the revision of its last change, so that what comes late or twice (an
own change is also heard of by the watch) changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from slackwater.facts.members import Record, Shares
from slackwater.outside.registry.etcd import KeyValue
from slackwater.outside.registry.store import Image

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """A member's key. `changed` 0: it is not there. `record` None: nothing usable is in it."""

    changed: int = 0
    record: Record | None = None


@dataclass
class Mirror:
    """All keys of one registry in etcd, by kind."""

    revision: int = 0  # up to here everything was heard
    members: dict[Key, Kept] = field(default_factory=dict)
    alive: set[Key] = field(default_factory=set)
    shares: dict[str, Shares] = field(default_factory=dict)
    _faults: dict[str, str] = field(default_factory=dict)
    _changed: dict[str, int] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)

    def take(self, kind: str, pool: str, member: str, each: KeyValue) -> bool:
        """A key as it was at its revision; whether that is news."""
        if self._changed.get(each.key, 0) >= each.changed:
            return False
        self._changed[each.key] = each.changed
        self._faults.pop(each.key, None)
        (self._gone.discard if each.there else self._gone.add)(each.key)
        key = (pool, member)
        try:
            if kind == "alive":
                was = key in self.alive
                (self.alive.add if each.there else self.alive.discard)(key)
                return was != each.there
            if kind == "members" and each.there:
                self.members[key] = Kept(each.changed)
                self.members[key] = Kept(each.changed, _record(each, pool, member))
            elif kind == "members":
                self.members.pop(key, None)
            elif kind == "shares" and each.there:
                self.shares[pool] = shares_of(each.value)
            elif kind == "shares":
                self.shares.pop(pool, None)
        except ValueError as error:
            self._faults[each.key] = f"key {each.key}: {error}"
        return True

    def heard(self, revision: int) -> None:
        """Everything up to there was taken: what is gone since need not be remembered."""
        self.revision = max(self.revision, revision)
        for key in [k for k in self._gone if self._changed[k] <= self.revision]:
            self._gone.discard(key)
            del self._changed[key]

    def image(self, ages: dict[Key, float]) -> Image:
        """As stores tell it. `ages`: of those whom this registry itself heard."""
        records = tuple(k.record for k in self.members.values() if k.record is not None)
        found = {}
        for record in records:
            key = record.member.key
            if record.lease_s and key in self.alive:
                found[key] = min(ages.get(key, 0.0), record.lease_s)
            elif record.lease_s:
                found[key] = record.lease_s + 0.001
        return Image(records, dict(self.shares), found, tuple(self._faults.values()))


def _record(each: KeyValue, pool: str, member: str) -> Record:
    said = json.loads(each.value)
    if not isinstance(said, dict):
        raise ValueError("not a member")
    record = Record.read(said)
    if record.member.key != (pool, member):
        raise ValueError("its name is not the key's")
    return record


def shares_of(text: str) -> Shares:
    """From a key's value. Raises ValueError."""
    try:
        said = json.loads(text)
        return Shares(tuple(said["parts"].items()), said["revision"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not shares: {error}") from None
