"""The keys of nodes: one small JSON file, for nobody but the registry to read."""

from __future__ import annotations

import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slackwater.errors import ConfigError
from slackwater.facts.members import MAX_WEIGHT, lies_in, member_id, network, pool_name, whole
from slackwater.outside import state_file

ROLES = ("member", "admin")


@dataclass(frozen=True)
class Key:
    """What a key is good for. A member's key registers the member of its own name, or of
    `name.anything`, unless `any_member`. The repr has no secret."""

    name: str
    secret: str
    role: str = "member"
    pools: tuple[str, ...] = ()  # none: all
    networks: tuple[str, ...] = ()  # where it may be used from, and which addresses it registers
    max_weight: int = MAX_WEIGHT
    any_member: bool = False

    def __repr__(self) -> str:
        return f"Key({self.name!r}, {self.role})"

    def __post_init__(self) -> None:
        member_id(self.name)
        if self.role not in ROLES:
            raise ValueError(f"role: one of {', '.join(ROLES)}")
        for pool in self.pools:
            pool_name(pool)
        for each in self.networks:
            network(each)
        whole("max_weight", self.max_weight, 1, MAX_WEIGHT)

    def may_come_from(self, address: str) -> bool:
        """Whether requests from this address are taken."""
        return not self.networks or lies_in(address, self.networks)

    def why_not(self, pool: str, member: str) -> str:
        """Why it may not speak for this member, or ""."""
        if self.pools and pool not in self.pools:
            return f"the key {self.name} is not for the pool {pool}"
        own = member == self.name or member.startswith(f"{self.name}.")
        if self.role == "admin" or self.any_member or own:
            return ""
        return f"the key {self.name} is not for the member {member}"


def new_secret() -> str:
    """A fresh secret: 256 bits, as text."""
    return secrets.token_urlsafe(32)


def add(path: Path, key: Key) -> None:
    """Put a key into the file, in place of one of its name. Raises OSError, ConfigError."""
    known: dict[str, Key] = read(path) if path.exists() else {}
    known[key.name] = key
    _write(path, known)


def drop(path: Path, name: str) -> bool:
    """Take a key out; whether it was there."""
    known = read(path)
    found = known.pop(name, None)
    _write(path, known)
    return found is not None


def read(path: Path) -> dict[str, Key]:
    """All keys by name. Raises ConfigError."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"cannot read the keys in {path}: {error.strerror}",
                          hint="make one with `slackwater registry key new NAME`") from error
    if mode & 0o077:
        raise ConfigError(f"{path} may be read by others", hint=f"chmod 600 {path}")
    said = state_file.read(path)
    try:
        if said is None:
            raise ValueError("it is not a JSON object")
        return {name: _key(name, each) for name, each in said.items()}
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: not a file of keys: {error}") from None


def _key(name: str, said: dict[str, Any]) -> Key:
    fields: dict[str, Any] = dict(said)
    for each in ("pools", "networks"):
        fields[each] = tuple(said.get(each, ()))
    return Key(name, **fields)


def _write(path: Path, known: dict[str, Key]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    entries: dict[str, Any] = {}
    for name, key in known.items():
        entries[name] = asdict(key)
        del entries[name]["name"]
    owner = path.parent.stat()
    state_file.write(path, entries)
    if os.geteuid() == 0:  # root made the key; the service, which owns the directory, reads it
        os.chown(path, owner.st_uid, owner.st_gid)


class KeyRing:
    """The keys as the file has them now: read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._keys: dict[str, Key] = {}
        self._looked = float("-inf")
        self.trouble = ""

    def find(self, name: str, now: float) -> Key | None:
        """The key of that name. A file that cannot be read leaves the known keys in force."""
        # A name that is not known may have been made just now.
        if now >= self._looked + (1.0 if name in self._keys else 0.05):
            self._looked = now
            self._refresh()
        return self._keys.get(name)

    def _refresh(self) -> None:
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_ino) != self._seen:
                self._keys = read(self._path)
                self._seen = stat.st_mtime_ns, stat.st_ino
            self.trouble = ""
        except (OSError, ConfigError) as error:
            self.trouble = str(error)
