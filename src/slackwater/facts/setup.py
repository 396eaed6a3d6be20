"""What setting up replication has to know of a server, beyond what every operation looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slackwater.facts.flavour import Flavour
from slackwater.facts.gtid import MariadbGtids, MysqlGtids
from slackwater.facts.replication import ReplicaStatus
from slackwater.facts.server import ServerFacts

OWN_SCHEMA = "slackwater"
SYSTEM_SCHEMAS = ("mysql", "information_schema", "performance_schema", "sys")
OWN_FILE = "zz-slackwater.cnf"


@dataclass(frozen=True)
class Schema:
    """One database: how many tables and other things are in it, and their size in bytes."""

    name: str
    things: int
    size: int


@dataclass(frozen=True)
class Marker:
    """What a copy under way leaves on its target: whose data it is, and when it was begun."""

    source: str
    began: str


@dataclass(frozen=True)
class OwnFile:
    """slackwater's one file of settings on a server. `text` is None where there is none yet.
    `not_taken`: what the server would not take from it at its next start, and why."""

    path: str
    text: str | None
    writable: bool
    not_taken: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, str]:
        """What it says, by name as variables spell it."""
        return parse_settings(self.text or "")


@dataclass(frozen=True)
class ServerSetup:
    """One look. `variables`: all global ones, lower-case names.

    `clock_s`: how far its clock is ahead of ours, to some milliseconds. `purged`: what its binary
    log no longer has. `logged`: the GTIDs that it wrote or passed on, for every server of a domain
    (MariaDB's gtid_binlog_state). `login`: why slackwater's own account cannot be used, or "".
    """

    name: str
    facts: ServerFacts
    variables: Mapping[str, str]
    clock_s: float
    schemas: tuple[Schema, ...]
    untransactional: tuple[str, ...]  # tables that no snapshot of a transaction shows
    versioned: tuple[str, ...]  # tables with a history of their own (MariaDB)
    accounts: frozenset[str]  # as `user@host`
    filters: tuple[str, ...]
    purged: MariadbGtids | MysqlGtids
    logged: str
    marker: Marker | None
    clients: tuple[str, ...]  # who is connected, beside us
    tls: bool
    login: str
    lacks: tuple[str, ...]  # privileges that slackwater's account does not have
    own_file: OwnFile | None  # None: config_dir is not configured
    disk_free: int | None = None  # bytes beside its data; None where nobody can tell
    # What SET PERSIST left there, by lower-case names: read after all option files.
    persisted: Mapping[str, str] = field(default_factory=dict)

    @property
    def flavour(self) -> Flavour:
        return self.facts.flavour

    @property
    def data(self) -> tuple[Schema, ...]:
        """Databases of people that have something in them."""
        return tuple(s for s in self.schemas if s.things)

    @property
    def size(self) -> int:
        """Bytes of all tables of people."""
        return sum(s.size for s in self.schemas)

    def variable(self, *names: str) -> tuple[str, str] | None:
        """The first of these that the server has, with its value."""
        return next(((n, self.variables[n]) for n in names if n in self.variables), None)

    @property
    def channel(self) -> ReplicaStatus | None:
        """How it replicates now; None when it is no replica."""
        return self.facts.replication[0] if self.facts.replication else None


def parse_settings(text: str) -> dict[str, str]:
    """The `name = value` lines of an option file of ours."""
    found = {}
    for line in text.splitlines():
        name, sign, value = line.partition("=")
        if sign and not line.lstrip().startswith(("#", "[")):
            found[name.strip().replace("-", "_")] = value.strip()
    return found


def settings_text(settings: Mapping[str, str]) -> str:
    """The whole file."""
    lines = [
        "# Written by `slackwater pair setup`, and read after the other files here.",
        "# It is written anew as a whole; what you want to keep belongs into a file of your own.",
        "[mysqld]",
        *(f"{name} = {value}" for name, value in settings.items()),
    ]
    return "\n".join(lines) + "\n"
