"""Which database server this is: vendor and version, and whether slackwater serves it."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

_NUMBER = re.compile(r"(\d+)\.(\d+)\.(\d+)")
# Replication clients once choked on versions above 9, so MariaDB prefixes its own with this.
_MARIADB_PREFIX = "5.5.5-"


class Vendor(enum.StrEnum):
    """Whose dialect the server speaks. Percona Server speaks MySQL's."""

    MARIADB = "mariadb"
    MYSQL = "mysql"


OLDEST = {Vendor.MARIADB: (10, 5, 0), Vendor.MYSQL: (5, 7, 8)}
# The oldest that was tried of the one series that is served as a source of one-way replication, or
# a replica in it, and as nothing else.
OLDEST_ONE_WAY = (5, 6, 24)
LEAVE_5_6 = "docs/howto/leave-mysql-5.6.md"
_OLDEST_WHY = {
    Vendor.MARIADB: "10.5 (named replica privileges, GTID strict mode in its present form)",
    Vendor.MYSQL: "5.7.8 (super_read_only, WAIT_FOR_EXECUTED_GTID_SET)",
}


@dataclass(frozen=True, order=True)
class Flavour:
    """A vendor and a version, such as MySQL 9.7.4."""

    vendor: Vendor
    version: tuple[int, int, int]

    @classmethod
    def parse(cls, version: str, comment: str = "") -> Flavour:
        """Read `@@version` (and `@@version_comment`, which names MariaDB when a build's version
        string does not). Raises ValueError when there is no version number in it."""
        vendor = Vendor.MYSQL
        if "mariadb" in version.lower() or "mariadb" in comment.lower():
            vendor = Vendor.MARIADB
            version = version.removeprefix(_MARIADB_PREFIX)
        found = _NUMBER.search(version)
        if found is None:
            raise ValueError(f"no version number in {version!r}")
        return cls(vendor, (int(found[1]), int(found[2]), int(found[3])))

    @property
    def mariadb(self) -> bool:
        return self.vendor is Vendor.MARIADB

    def min_mysql(self, *version: int) -> bool:
        """True for MySQL of at least this version: ``min_mysql(8, 0, 22)``."""
        return self.vendor is Vendor.MYSQL and self.version >= version

    def min_mariadb(self, *version: int) -> bool:
        """True for MariaDB of at least this version: ``min_mariadb(12, 0, 1)``."""
        return self.vendor is Vendor.MARIADB and self.version >= version

    def older_series_than(self, other: Flavour) -> bool:
        """True when its release series (first two numbers) came before the other's."""
        return self.version[:2] < other.version[:2]

    def next_to(self, older: Flavour) -> bool:
        """True for MySQL 5.6's own series and the one after it, 5.7."""
        return self.vendor is older.vendor and self.version[0] == older.version[0] and (
            0 <= self.version[1] - older.version[1] <= 1)

    def same_series(self, other: Flavour) -> bool:
        """True for the same vendor and release series."""
        return self.vendor is other.vendor and self.version[:2] == other.version[:2]

    def nearest(self, others: Iterable[Flavour]) -> Flavour | None:
        """That of the same vendor whose release series is next to this one."""
        same = [o for o in others if o.vendor is self.vendor]
        return min(same, key=self._distance, default=None)

    def _distance(self, other: Flavour) -> tuple[int, int, int]:
        one, two, three = zip(self.version, other.version, strict=True)
        return abs(one[0] - one[1]), abs(two[0] - two[1]), abs(three[0] - three[1])

    @property
    def o_dsync_is_direct(self) -> bool:
        """True where InnoDB opens its data files past the page cache with O_DSYNC too."""
        return self.min_mariadb(10, 6, 0)

    @property
    def one_way_only(self) -> bool:
        """True for MySQL 5.6: served in replication that goes one way, without a switchover."""
        return (self.vendor is Vendor.MYSQL and self.version[:2] == OLDEST_ONE_WAY[:2]
                and self.version >= OLDEST_ONE_WAY)

    def unsupported_reason(self, *, one_way: bool = False) -> str | None:
        """Why slackwater does not serve this server, or None when it does. `one_way`: as a source
        or replica that no switchover ever concerns."""
        if self.version >= OLDEST[self.vendor] or (one_way and self.one_way_only):
            return None
        why = f"{self} is too old: slackwater needs at least {_OLDEST_WHY[self.vendor]}"
        if self.one_way_only:
            why += (" for this; it can be the source of a newer server in a [sources.…] of the "
                    f"configuration, which is the way off it ({LEAVE_5_6})")
        return why

    def __str__(self) -> str:
        name = "MariaDB" if self.mariadb else "MySQL"
        return f"{name} {'.'.join(map(str, self.version))}"
