"""What one server tells of lost connections: two samples of its counters, and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slackwater.facts.doctor.error_log import LogSeen

STATUS = (
    "Aborted_clients", "Aborted_connects", "Aborted_connects_preauth", "Access_denied_errors",
    "Com_kill", "Connection_errors_accept", "Connection_errors_internal",
    "Connection_errors_max_connections", "Connection_errors_peer_address",
    "Connections", "Max_execution_time_exceeded", "Max_statement_time_exceeded",
    "Max_used_connections", "Ssl_accepts", "Ssl_finished_accepts", "Threads_connected", "Uptime",
)  # fmt: skip
VARIABLES = (
    "connect_timeout", "datadir", "have_ssl", "host_cache_size", "hostname",
    "idle_readonly_transaction_timeout", "idle_transaction_timeout",
    "idle_write_transaction_timeout", "interactive_timeout", "log_error", "log_error_verbosity",
    "log_warnings", "max_allowed_packet", "max_connect_errors", "max_connections",
    "net_read_timeout", "net_write_timeout", "offline_mode", "open_files_limit",
    "performance_schema", "pid_file", "port",
    "require_secure_transport", "skip_name_resolve", "socket", "sql_error_log_filename",
    "tls_version",
    "version", "version_comment", "wait_timeout",
)  # fmt: skip
# The account that does not exist, with which the doctor looks who listens (outside/knock.py).
KNOCKER = "slackwater-knock"
# Errors that tell of a connection, in MySQL 8's summaries.
ERRORS = (1040, 1045, 1129, 1130, 1153, 1156, 1157, 1158, 1159, 1160, 1161, 1203, 1226, 1317, 1835,
          1927, 3024, 3032, 3159, 3169, 4031)


@dataclass(frozen=True)
class ErrorCount:
    """How often an account got an error, and when last (seconds ago, by the server's clock).

    `account` is "" for errors before a login."""

    account: str
    number: int
    count: int
    last_s: float


@dataclass(frozen=True)
class KillCount:
    """KILL statements: by digest with `last_s`, or by `account` without (None)."""

    what: str
    count: int
    last_s: float | None


@dataclass(frozen=True)
class HostCount:
    """A row of performance_schema.host_cache: its counters above zero."""

    ip: str
    counts: Mapping[str, int]
    last_error_s: float | None


@dataclass(frozen=True)
class Sample:
    """Counters at one moment. Lower-case names."""

    at: float  # unix time here
    status: Mapping[str, int]
    errors: tuple[ErrorCount, ...] = ()


@dataclass(frozen=True)
class ServerSession:
    """A session as its server tells it: `host` is address:port, or "localhost" by unix socket;
    `pid` what the client told of itself (0: nothing); `peer` the client's end, an inode."""

    id: int
    user: str
    host: str
    pid: int = 0
    peer: int = 0
    asleep_s: int | None = None  # for how long it has waited for a statement; None: it works


@dataclass(frozen=True)
class ServerSeen:
    """All that was asked of one server. `blind`: what it would not tell, in words."""

    name: str  # for people: `server a (127.0.0.1:3306)`
    flavour: str
    first: Sample
    last: Sample
    variables: Mapping[str, str]
    since_s: float  # how far back "now" goes
    kills: tuple[KillCount, ...] = ()
    hosts: tuple[HostCount, ...] = ()
    log: LogSeen = field(default_factory=LogSeen)
    kernel: tuple[str, ...] = ()  # what the kernel says of killing database servers of this host
    cgroup: str = ""  # what its cgroup counts of such kills, if any: without a time
    blind: tuple[str, ...] = ()
    error_summary: bool = False  # whether errors are counted by account
    sessions: tuple[ServerSession, ...] = ()
    is_here: bool = False  # on this host
    limited: tuple[str, ...] = ()  # accounts with MAX_USER_CONNECTIONS and the like

    @property
    def uptime_s(self) -> int:
        return self.last.status.get("uptime", 0)

    @property
    def young(self) -> bool:
        """Whether all that it has counted since its start is recent."""
        return self.uptime_s <= self.since_s

    def grew(self, name: str) -> int:
        """How much a counter grew between the samples; the whole of it after a restart."""
        before = self.first.status.get(name, 0)
        after = self.last.status.get(name, 0)
        return after - before if after >= before else after

    def recent(self, name: str) -> int:
        """A counter's growth as far as it is known to be recent."""
        return self.last.status.get(name, 0) if self.young else self.grew(name)

    def errors(self, *numbers: int, logged_in: bool = True) -> list[ErrorCount]:
        """Recent errors with these numbers, of accounts or (else) from before a login."""
        return [e for e in self.last.errors if e.number in numbers and e.last_s <= self.since_s
                and bool(e.account) is logged_in]

    def number(self, name: str) -> int | None:
        """A setting as a number; None where this server has none of that name."""
        value = self.variables.get(name, "")
        return int(float(value)) if value.replace(".", "", 1).isdigit() else None
