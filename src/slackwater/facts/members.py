"""Members of load-balanced pools: the only form in which anything reaches a balancer's file.

A `Member` that breaks the grammar cannot be made (ValueError says why), so that no renderer has
to quote: names are words of letters, digits, `.`, `_` and `-`; addresses are addresses.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

POOL_FORM = r"^[a-z][a-z0-9_-]{0,31}$"
ID_FORM = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
COLOUR_FORM = r"^([a-z][a-z0-9_-]{0,15})?$"
MAX_WEIGHT = 100  # Apache's largest load factor; the others take more
DEFAULT_WEIGHT = 10
MIN_LEASE_S, MAX_LEASE_S, DEFAULT_LEASE_S = 3.0, 3600.0, 15.0
MAX_COUNTER = 2**53 - 1  # boot and seq are JSON numbers: exact up to here

_POOL = re.compile(POOL_FORM.strip("^$"))
_ID = re.compile(ID_FORM.strip("^$"))
_COLOUR = re.compile(COLOUR_FORM.strip("^$"))


@dataclass(frozen=True, slots=True)
class Member:
    """One server in one pool. `colour` is the version label ("": none)."""

    pool: str
    id: str
    address: str
    port: int
    weight: int = DEFAULT_WEIGHT
    colour: str = ""
    draining: bool = False

    def __post_init__(self) -> None:
        pool_name(self.pool)
        member_id(self.id)
        if plain_address(self.address) != self.address:
            raise ValueError(f"address: write {plain_address(self.address)}")
        whole("port", self.port, 1, 65535)
        whole("weight", self.weight, 1, MAX_WEIGHT)
        if not isinstance(self.colour, str) or not _COLOUR.fullmatch(self.colour):
            raise ValueError("colour: at most 16 of a-z, 0-9, _ and -, beginning with a letter")
        if not isinstance(self.draining, bool):
            raise ValueError("draining: true or false")

    @property
    def key(self) -> tuple[str, str]:
        return self.pool, self.id

    @property
    def endpoint(self) -> str:
        """`10.0.0.7:80` or `[2001:db8::7]:80`."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Record:
    """A member as it is kept. (boot, seq) order what one member says; (0, 0): it does not order.

    `lease_s` 0: it does not renew (a start-up script registered it); probes alone say whether it
    lives.
    """

    member: Member
    lease_s: float = DEFAULT_LEASE_S
    boot: int = 0
    seq: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.lease_s, bool) or not isinstance(self.lease_s, int | float):
            raise ValueError("lease: a number of seconds")
        if self.lease_s and not MIN_LEASE_S <= self.lease_s <= MAX_LEASE_S:
            raise ValueError(f"lease: {MIN_LEASE_S:g} to {MAX_LEASE_S:g} seconds, or 0 for none")
        whole("boot", self.boot, 0, MAX_COUNTER)
        whole("seq", self.seq, 0, MAX_COUNTER)

    def as_json(self) -> dict[str, Any]:
        m = self.member
        return {
            "pool": m.pool, "id": m.id, "address": m.address, "port": m.port, "weight": m.weight,
            "colour": m.colour, "draining": m.draining, "lease": self.lease_s,
            "boot": self.boot, "seq": self.seq,
        }

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Record:
        """From `as_json`'s form, whoever wrote it. Raises ValueError."""
        try:
            member = Member(said["pool"], said["id"], said["address"], said["port"],
                            said["weight"], said["colour"], said["draining"])
            return cls(member, said["lease"], said["boot"], said["seq"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a member: {error}") from None


@dataclass(frozen=True, slots=True)
class Shares:
    """How a pool's traffic is divided among colours, in percent; no parts: colours do not count."""

    parts: tuple[tuple[str, int], ...] = ()
    revision: int = 0  # goes up by one with each change

    def __post_init__(self) -> None:
        for colour, part in self.parts:
            if not colour or not _COLOUR.fullmatch(colour):
                raise ValueError("colour: at most 16 of a-z, 0-9, _ and -, beginning with a letter")
            whole(f"share of {colour}", part, 0, 100)
        if len(dict(self.parts)) != len(self.parts):
            raise ValueError("a colour is named twice")
        if self.parts and sum(p for _, p in self.parts) != 100:
            raise ValueError("the shares of all colours together are 100")

    def of(self, colour: str) -> int:
        """The share of a colour in percent; 0 for one that is not named."""
        return dict(self.parts).get(colour, 0)

    @property
    def text(self) -> str:
        """`blue=90 green=10`, or `no colours`."""
        return " ".join(f"{c}={p}" for c, p in self.parts) or "no colours"


@dataclass(frozen=True, slots=True)
class Target:
    """A member as a balancer shall have it. `idle`: keeps what it has, gets nothing new."""

    id: str
    address: str
    port: int
    weight: int
    idle: bool

    @property
    def endpoint(self) -> str:
        """`10.0.0.7:80` or `[2001:db8::7]:80`."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool as a balancer shall have it; targets sorted by id, no address twice."""

    name: str
    targets: tuple[Target, ...]


def why_stale(old: Record | None, new: Record) -> str:
    """Why `new` must not replace `old`; "" when it may.

    A member numbers its starts (boot) and what it says since (seq), so a renewal that was on its
    way for long cannot undo a drain. Who does not number (boot 0: a start-up script) is taken at
    its word: its requests are fresh and signed.
    """
    if old is None or new.boot == 0 or old.boot == 0:
        return ""
    if (new.boot, new.seq) > (old.boot, old.seq):
        return ""
    return f"it is older than what is known (boot {old.boot}, seq {old.seq})"


def pool_name(text: object) -> str:
    """The text, when it can name a pool. Raises ValueError."""
    if not isinstance(text, str) or not _POOL.fullmatch(text):
        raise ValueError("pool: at most 32 of a-z, 0-9, _ and -, beginning with a letter")
    return text


def member_id(text: object) -> str:
    """The text, when it can name a member. Raises ValueError."""
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise ValueError("id: at most 63 of A-Z, a-z, 0-9, ., _ and -, beginning with one of the "
                         "first three")
    return text


def plain_address(text: object) -> str:
    """An IP address in its shortest form; a server can be there. Raises ValueError."""
    if not isinstance(text, str) or "%" in text:
        raise ValueError("address: an IP address without a zone")
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("address: an IP address, not a name") from None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    no_server = (found.is_unspecified or found.is_multicast or found.is_link_local
                 or (found.is_reserved and not found.is_loopback)
                 or found == ipaddress.ip_address("255.255.255.255"))
    if no_server:
        raise ValueError(f"address: no server can be at {found}")
    return str(found)


def is_loopback(address: str) -> bool:
    """Whether it means "this machine" on every machine."""
    return ipaddress.ip_address(address).is_loopback


def lies_in(address: str, networks: tuple[str, ...]) -> bool:
    """Whether the address is in one of the networks (CIDR)."""
    at = ipaddress.ip_address(address)
    return any(at in ipaddress.ip_network(n) for n in networks)


def network(text: str) -> str:
    """A network in CIDR form. Raises ValueError."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"a network such as 10.0.0.0/24: {error}") from None


def whole(what: str, value: object, least: int, most: int) -> int:
    """The value, when it is a whole number in these bounds. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{what}: a whole number from {least} to {most}")
    return value
