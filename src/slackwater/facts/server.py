"""What is known of one server and of its client sessions: addresses, settings, positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slackwater.facts import gtid
from slackwater.facts.flavour import Flavour
from slackwater.facts.gtid import MariadbGtids, MysqlGtids
from slackwater.facts.replication import ReplicaStatus

# Settings that `look` reads; a server gives those it has.
VARIABLES = (
    "binlog_format", "binlog_gtid_index", "binlog_row_image", "bind_address", "connect_timeout",
    "datadir",
    "enforce_gtid_consistency", "event_scheduler", "extra_port", "gtid_binlog_pos",
    "gtid_binlog_state", "gtid_current_pos", "gtid_domain_id", "gtid_executed", "gtid_mode",
    "group_replication_group_name", "gtid_purged", "gtid_slave_pos", "gtid_strict_mode", "hostname",
    "innodb_flush_log_at_trx_commit", "lock_wait_timeout", "log_bin", "log_replica_updates",
    "log_slave_updates", "lower_case_table_names", "max_allowed_packet", "max_connections",
    "max_user_connections",
    "offline_mode", "performance_schema", "port", "read_only", "replica_parallel_workers",
    "replica_type_conversions", "require_secure_transport",
    "rpl_semi_sync_master_enabled", "rpl_semi_sync_slave_enabled",
    "rpl_semi_sync_replica_enabled", "rpl_semi_sync_source_enabled", "server_id", "server_uuid",
    "slave_parallel_mode", "slave_parallel_threads", "slave_parallel_workers",
    "slave_type_conversions", "sql_mode",
    "super_read_only", "sync_binlog", "thread_handling", "transaction_read_only",
    "tx_read_only", "version", "version_comment",
    "wait_timeout", "wsrep_on",
)  # fmt: skip


@dataclass(frozen=True)
class ServerAddress:
    """Where a server is and who asks. The repr has no password."""

    name: str
    user: str
    password: str = field(default="", repr=False)
    host: str = ""
    port: int = 3306
    socket: str = ""  # a unix socket; used to connect when it is given
    tls: str = "preferred"  # off | preferred | required; a unix socket never uses it
    ca: str = ""  # file; with it the server's certificate must be signed by this authority

    @property
    def where(self) -> str:
        """For messages: `server a (127.0.0.1:3306)`."""
        return f"server {self.name} ({self.socket or f'{self.host}:{self.port}'})"


@dataclass(frozen=True)
class BinlogPosition:
    """Coordinates of the server's own binary log."""

    file: str
    position: int

    def __str__(self) -> str:
        return f"{self.file}:{self.position}"


@dataclass(frozen=True)
class ServerFacts:
    """One look at one server. `variables` has the raw values of VARIABLES, lower-case names."""

    name: str
    flavour: Flavour
    version_text: str
    server_id: int
    server_uuid: str | None  # MySQL only
    hostname: str
    port: int
    read_only: bool
    super_read_only: bool | None  # None: this server has no such setting
    log_bin: bool
    log_replica_updates: bool
    gtid_mode: str  # MySQL: ON, OFF, …; MariaDB: always ON
    gtid_strict: bool | None  # MariaDB only
    binlog_format: str
    sync_binlog: int
    flush_log_at_commit: int
    event_scheduler: str
    max_connections: int
    connect_timeout_s: int  # for a client that does not log in, as our pin; 0: not told
    threads_connected: int
    uptime_s: int
    semi_sync_source: bool
    semi_sync_replica: bool
    executed: MariadbGtids | MysqlGtids
    replication: tuple[ReplicaStatus, ...]
    variables: Mapping[str, str]

    @property
    def writable(self) -> bool:
        return not self.read_only


@dataclass(frozen=True)
class ClientSession:
    """A client's session as the server sees it, at the moment of the look."""

    id: int
    user: str
    host: str  # "10.0.0.7:53412"; "localhost" over a unix socket
    db: str
    command: str  # "Sleep" when it waits for its client
    state: str
    info: str  # start of the running statement, at most 100 characters
    idle_ms: float | None  # time since its last command ended; None: busy or not known
    last_command: str = ""  # "Ping", "begin", "insert", …; "" where the server does not tell
    in_transaction: bool | None = None  # None: not looked at
    transaction_age_s: float | None = None
    program: str | None = None

    running_s: float | None = None  # of the statement it runs; None: none, or not known

    @property
    def sleeping(self) -> bool:
        return self.command == "Sleep"

    def who(self) -> str:
        """For people: user@host, the program where it is known, and the session's id."""
        program = f" ({self.program})" if self.program else ""
        return f"{self.user}@{self.host}{program} [session {self.id}]"


def is_on(value: str | None) -> bool:
    """A setting's truth in any spelling: ON, 1, YES, and MariaDB 12's read_only values."""
    return (value or "").upper() not in ("", "OFF", "0", "NO", "FALSE", "DISABLED")


def executed_from(variables: Mapping[str, str], flavour: Flavour) -> MariadbGtids | MysqlGtids:
    """All that the server has, its own writes and replicated ones.

    MariaDB: gtid_binlog_pos has both only with log_slave_updates, gtid_slave_pos has only
    replicated ones; so the further of both in each domain.
    """
    if not flavour.mariadb:
        return gtid.parse(variables.get("gtid_executed"), flavour)
    own = MariadbGtids.read(variables.get("gtid_binlog_pos", ""))
    return own.union(MariadbGtids.read(variables.get("gtid_slave_pos", "")))


def server_facts(
    name: str,
    variables: Mapping[str, str],
    status: Mapping[str, str],
    replication: tuple[ReplicaStatus, ...],
) -> ServerFacts:
    """Put one look together. `variables` and `status` as SHOW GLOBAL gives them, lower-case."""
    flavour = Flavour.parse(variables["version"], variables.get("version_comment", ""))
    either = variables.get

    def enabled(*names: str) -> bool:
        return any(is_on(variables.get(n)) for n in names)

    return ServerFacts(
        name=name,
        flavour=flavour,
        version_text=f"{variables['version']} {variables.get('version_comment', '')}".strip(),
        server_id=int(variables["server_id"]),
        server_uuid=variables.get("server_uuid"),
        hostname=either("hostname", ""),
        port=int(either("port", "0")),
        read_only=is_on(variables["read_only"]),
        super_read_only=_maybe_on(variables.get("super_read_only")),
        log_bin=enabled("log_bin"),
        log_replica_updates=enabled("log_replica_updates", "log_slave_updates"),
        gtid_mode="ON" if flavour.mariadb else either("gtid_mode", "OFF"),
        gtid_strict=_maybe_on(variables.get("gtid_strict_mode")),
        binlog_format=either("binlog_format", "ROW"),  # the setting goes away; ROW stays
        sync_binlog=int(either("sync_binlog", "1")),
        flush_log_at_commit=int(either("innodb_flush_log_at_trx_commit", "1")),
        event_scheduler=either("event_scheduler", "OFF"),
        max_connections=int(either("max_connections", "0")),
        connect_timeout_s=int(either("connect_timeout", "0")),
        threads_connected=int(status.get("threads_connected", "0")),
        uptime_s=int(status.get("uptime", "0")),
        semi_sync_source=enabled("rpl_semi_sync_master_enabled", "rpl_semi_sync_source_enabled"),
        semi_sync_replica=enabled("rpl_semi_sync_slave_enabled", "rpl_semi_sync_replica_enabled"),
        executed=executed_from(variables, flavour),
        replication=replication,
        variables=dict(variables),
    )


def _maybe_on(value: str | None) -> bool | None:
    return None if value is None else is_on(value)
