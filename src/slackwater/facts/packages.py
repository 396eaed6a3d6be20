"""What the package manager says: Debian versions, and what it would do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from slackwater.facts.flavour import Flavour, Vendor

_INST = re.compile(r"^Inst (\S+)(?: \[([^\]]+)\])? \((\S+)(?:.*\[(\w+)\]\))?")
_REMV = re.compile(r"^(?:Remv|Purg) (\S+)(?: \[([^\]]+)\])?")
_NUMBER = re.compile(r"(\d+)\.(\d+)\.(\d+)")
# Packages that belong to a database server; anything else lengthens the outage for nothing.
_FAMILY = re.compile(r"^(mariadb|mysql|percona|galera|libmariadb|libmysql|libperconaserver)")
# Of these, what a running server has no use for: programs and libraries of clients, backup tools.
_BESIDE = re.compile(
    r"^(mariadb|mysql|mysql-community|percona)(-server)?-(client|backup|common)(-core|-plugins)?"
    r"(-[\d.]+)?$|^lib(mariadb|mysqlclient|perconaserverclient)\d*$"
)
_SERVER = re.compile(r"^(mariadb|mysql|percona)\S*server")


@dataclass(frozen=True)
class Change:
    """One package: from `old` ("" when it is not installed) to `new` ("" when it is removed)."""

    name: str
    old: str
    new: str
    architecture: str = ""

    @property
    def file(self) -> str:
        """The name of its file in the package manager's cache."""
        return f"{self.name}_{self.new.replace(':', '%3a')}_{self.architecture}.deb"

    @property
    def of_the_server(self) -> bool:
        return bool(_FAMILY.match(self.name))

    @property
    def beside_the_server(self) -> bool:
        """Whether a running server has no use for it."""
        return bool(_BESIDE.match(self.name))

    @property
    def downgrade(self) -> bool:
        return bool(self.old and self.new) and compare(self.new, self.old) < 0


def parse_simulation(text: str) -> tuple[Change, ...]:
    """The changes in the output of `apt-get --simulate install`."""
    found = []
    for line in text.splitlines():
        if inst := _INST.match(line):
            found.append(Change(inst[1], inst[2] or "", inst[3], inst[4] or ""))
        elif removed := _REMV.match(line):
            found.append(Change(removed[1], removed[2] or "", ""))
    return tuple(found)


def flavour_of(change: Change) -> Flavour | None:
    """Which server the new version is: its vendor by the name, its number without the epoch."""
    number = _NUMBER.search(change.new.partition(":")[2] or change.new)
    if number is None:
        return None
    vendor = Vendor.MARIADB if "mariadb" in change.name else Vendor.MYSQL
    return Flavour(vendor, (int(number[1]), int(number[2]), int(number[3])))


def server_of(changes: tuple[Change, ...]) -> Change | None:
    """The package among them that has the server's program, or its number."""
    servers = [c for c in changes if c.new and _SERVER.match(c.name)]
    return next((c for c in servers if "core" in c.name), servers[0] if servers else None)


def compare(one: str, other: str) -> int:
    """-1, 0 or 1: how two Debian versions stand (deb-version(7))."""
    (epoch, upstream, revision), (epoch2, upstream2, revision2) = _parts(one), _parts(other)
    if epoch != epoch2:
        return -1 if epoch < epoch2 else 1
    return _compare(upstream, upstream2) or _compare(revision, revision2)


def _parts(version: str) -> tuple[int, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return int(epoch), upstream, revision


def _compare(one: str, other: str) -> int:
    left, right = _pieces(one), _pieces(other)
    for at in range(max(len(left), len(right))):
        mine = left[at] if at < len(left) else ([0], 0)
        theirs = right[at] if at < len(right) else ([0], 0)
        if mine != theirs:
            return -1 if mine < theirs else 1
    return 0


def _pieces(text: str) -> list[tuple[list[int], int]]:
    """Pairs of what is not digits and what is: ~ before the end, letters before other signs."""
    return [
        ([*(_order(sign) for sign in words), 0], int(digits or 0))
        for words, digits in re.findall(r"(\D*)(\d*)", text) if words or digits
    ]


def _order(sign: str) -> int:
    if sign == "~":
        return -1
    return ord(sign) if sign.isalpha() else ord(sign) + 256
