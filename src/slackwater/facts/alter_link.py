"""How changes travel from one server of a pair to the other while their schemas differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Traits:
    """What this vendor and version do while tables differ; made by mysql_dialect.alter_traits.

    Each was seen on real servers, by tests/alter/matrix.py.
    """

    name: str  # "MariaDB 10.11.19"
    mariadb: bool
    conversion_setting: str  # slave_type_conversions or replica_type_conversions
    copies_without_lock: bool  # a copying ALTER does not hold up writers (MariaDB 11.2)
    # MariaDB's replica fills what only it has: a TEXT's default, a virtual column to look for.
    fills_added: bool = False


@dataclass(frozen=True)
class Settings:
    """One server's part in replication."""

    traits: Traits
    format: str  # ROW, STATEMENT, MIXED
    image: str  # FULL, MINIMAL, NOBLOB, FULL_NODUP
    metadata: str
    conversions: frozenset[str]
    triggers_for_rows: str  # MariaDB: slave_run_triggers_for_rbr; else NO

    @classmethod
    def read(cls, variables: Mapping[str, str], traits: Traits) -> Settings:
        """From global variables (lower-case names); what a server lacks has its default."""
        said = variables.get(traits.conversion_setting,
                             variables.get("slave_type_conversions", ""))
        return cls(
            traits, variables.get("binlog_format", "ROW").upper(),
            variables.get("binlog_row_image", "FULL").upper(),
            variables.get("binlog_row_metadata", "").upper(),
            frozenset(w for w in said.upper().split(",") if w),
            variables.get("slave_run_triggers_for_rbr", "NO").upper(),
        )


@dataclass(frozen=True)
class Link:
    """One direction of replication. `forward`: from the old schema to the new one."""

    source: Settings
    replica: Settings
    forward: bool

    @property
    def rows(self) -> bool:
        """Changes may come as rows."""
        return self.source.format in ("ROW", "MIXED")

    @property
    def statements(self) -> bool:
        """Changes may come as statements."""
        return self.source.format in ("STATEMENT", "MIXED")

    @property
    def partial(self) -> bool:
        """Rows come without the columns that a statement did not name."""
        return self.rows and self.source.image not in ("FULL", "FULL_NODUP")

    @property
    def mariadb(self) -> bool:
        return self.replica.traits.mariadb

    @property
    def triggers(self) -> bool:
        """The replica fires triggers for rows too."""
        return self.replica.triggers_for_rows != "NO"


@dataclass(frozen=True)
class PairSettings:
    """Both directions of a pair: the server that is altered first, and the other one."""

    first: Settings  # the passive, which gets the new schema first
    other: Settings

    @property
    def forward(self) -> Link:
        """Until the switchover: the active, with the old schema, is the source."""
        return Link(self.other, self.first, True)

    @property
    def back(self) -> Link:
        """After it: the new schema's server is the source of the old one's."""
        return Link(self.first, self.other, False)

