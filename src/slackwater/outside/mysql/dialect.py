"""SQL that differs between MySQL, MariaDB and their versions. No other place compares versions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from slackwater.facts.alter_link import Traits
from slackwater.facts.backup import LockKind
from slackwater.facts.flavour import Flavour
from slackwater.outside.mysql import close_resting
from slackwater.outside.mysql.close_resting import PICOSECONDS_PER_MS

# Sessions that are no client's: replication, its dump threads, and the server's own.
_OWN_USERS = "'system user','event_scheduler'"
_OWN_COMMANDS = (
    "'Daemon','Binlog Dump','Binlog Dump GTID','Register Slave','Register Replica',"
    "'Slave_IO','Slave_SQL','Slave_worker','Group Replication'"
)
_CLIENTS = f"p.USER NOT IN ({_OWN_USERS}) AND p.COMMAND NOT IN ({_OWN_COMMANDS})"
_COLUMNS = (
    "p.ID, p.USER, p.HOST, p.DB, p.COMMAND, p.STATE, LEFT(p.INFO, 100) AS INFO,"
    " IF(p.COMMAND IN ('Sleep', 'Connect', 'Killed') OR p.INFO IS NULL, NULL, p.TIME) AS RUNNING_S"
)

_READ_LOCK = "FLUSH TABLES WITH READ LOCK"


@dataclass(frozen=True)
class Dialect:
    """The SQL texts for one flavour. Made by `dialect`."""

    flavour: Flavour
    read_only_on: str  # nobody but replication writes afterwards, as far as the server can
    read_only_off: str
    read_only: str  # one row: READ_ONLY, SUPER_READ_ONLY (NULL where there is none)
    read_only_origin: str  # one value: who set it (COMPILED, COMPILE-TIME: nobody); "": not told
    executed: str  # one row: OWN and REPLICATED, to be put together by facts.server.union_text
    replica_status: str
    binlog_status: str
    start_replica: str
    stop_replica: str
    reset_replica: str
    admin_bypasses_read_only: bool  # somebody can still write while read_only_on holds
    bypass_privileges: tuple[str, ...]  # any of which is enough for that
    needs: tuple[str, ...]  # privileges that slackwater's account needs
    substitutes: tuple[tuple[str, tuple[str, ...]], ...]  # privilege: others that include it
    alter_needs: tuple[str, ...] = ()  # further ones, for schema changes
    sees: tuple[str, ...] = ("EVENT",)  # without it a server hides events, and does not say so
    reads: tuple[str, ...] = ()  # schemas; without SELECT there it hides others' privileges

    @property
    def mariadb(self) -> bool:
        return self.flavour.mariadb

    @property
    def stops_late_with_replicas(self) -> bool:
        """MySQL stops some 12 s later while it serves a replica."""
        return not self.mariadb

    @property
    def kill_waits(self) -> bool:
        """KILL turns in a loop until the thread has woken (viosocket.cc: vio_wait_until_woken)."""
        return self.flavour.min_mysql(8, 0, 0)

    @property
    def one_lock_a_session(self) -> bool:
        """In MySQL 5.6 a session that takes an advisory lock loses the one that it had."""
        return not self.mariadb and not self.flavour.min_mysql(5, 7, 5)

    @property
    def has_super_read_only(self) -> bool:
        """Whether a server can keep administrators out too."""
        return self.flavour.min_mysql(5, 7, 8)

    @property
    def has_generated_columns(self) -> bool:
        """Whether columns can be computed; and COLUMNS has GENERATION_EXPRESSION."""
        return self.mariadb or self.flavour.min_mysql(5, 7, 6)

    @property
    def takes_sockets(self) -> bool:
        """MariaDB listens on sockets that its parent hands over (LISTEN_FDS, MDEV-5536)."""
        return self.flavour.min_mariadb(10, 6)

    @property
    def upgrade_programs(self) -> tuple[str, ...]:
        """What has to be run after an upgrade to this version. MySQL 8.0.16 and newer does it by
        itself when it starts."""
        if self.mariadb:
            return ("mariadb-upgrade", "mysql_upgrade")
        return () if self.flavour.min_mysql(8, 0, 16) else ("mysql_upgrade",)

    def look(self, variables: Sequence[str]) -> str:
        """One packet, three results: settings, status, replica status. Nothing that waits while
        commits do: SHOW MASTER STATUS does so where they wait for a replica's word (semi-sync)."""
        names = ",".join(f"'{v}'" for v in variables)
        return (
            f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names});"
            "SHOW GLOBAL STATUS WHERE Variable_name IN ('Threads_connected', 'Uptime');"
            + self.replica_status
        )

    def clients(self, own_thread: int | None) -> str:
        """All client sessions with IDLE_MS. `own_thread`: our Performance Schema thread id, when
        statement events are there; without it MySQL knows idle times only in whole seconds."""
        if self.mariadb:
            return (
                f"SELECT {_COLUMNS}, p.TIME_MS AS IDLE_MS, '' AS LAST_COMMAND"
                f" FROM information_schema.PROCESSLIST p WHERE {_CLIENTS}"
                " AND p.ID <> CONNECTION_ID()"
            )
        if own_thread is None:
            return (
                # TIME counts begun seconds: 1 may be a millisecond.
                f"SELECT {_COLUMNS}, GREATEST(p.TIME - 1, 0) * 1000 AS IDLE_MS, '' AS LAST_COMMAND"
                f" FROM information_schema.PROCESSLIST p WHERE {_CLIENTS}"
                " AND p.ID <> CONNECTION_ID()"
            )
        return (
            f"SELECT {_COLUMNS}, {close_resting.idle_for(own_thread)} AS IDLE_MS,"
            f" IF({close_resting.OF_ITS_OWN}, e.EVENT_NAME, '') AS LAST_COMMAND"
            " FROM information_schema.PROCESSLIST p"
            " LEFT JOIN performance_schema.threads t ON t.PROCESSLIST_ID = p.ID"
            " LEFT JOIN performance_schema.events_statements_current e"
            " ON e.THREAD_ID = t.THREAD_ID AND e.NESTING_EVENT_LEVEL = 0"
            f" WHERE {_CLIENTS} AND p.ID <> CONNECTION_ID()"
        )

    @property
    def appliers(self) -> str:
        """Replication's own threads that apply a statement now, as `clients` gives sessions."""
        return (
            f"SELECT {_COLUMNS}, NULL AS IDLE_MS, '' AS LAST_COMMAND"
            " FROM information_schema.PROCESSLIST p WHERE p.USER = 'system user'"
            " AND p.INFO IS NOT NULL AND p.COMMAND NOT IN ('Daemon', 'Slave_IO')"
        )

    @property
    def busy_appliers(self) -> str:
        """How many threads of replication have something at hand (its I/O thread apart)."""
        return (
            "SELECT COUNT(*) AS BUSY FROM information_schema.PROCESSLIST"
            " WHERE USER = 'system user' AND COMMAND NOT IN ('Daemon', 'Slave_IO')"
            " AND STATE NOT LIKE '%read all relay log%'"
            " AND STATE NOT IN ('Waiting for work from SQL thread',"
            " 'Waiting for an event from Coordinator')"
        )

    @property
    def looking(self) -> str:
        """Goes before a look at transactions: `close_idle` asks for a rest since (MariaDB)."""
        return "SET @sw_looked=SYSDATE(6);" if self.mariadb else ""

    def close_idle(
        self,
        ids: Sequence[int],
        idle_ms: float,
        after_ping_ms: float,
        own_thread: int | None,
        transactions: bool,
    ) -> str:
        """One packet that closes those of `ids` that have been asleep for `idle_ms`, or for
        `after_ping_ms` if their last command was a ping and the server tells.

        The last result is one row, CLOSED: the ids, separated by commas, or NULL. Error 1094 in
        the middle means that a session went away by itself: see mysql_clients.
        """
        if self.mariadb:
            closing = close_resting.by_mariadb(ids, idle_ms)
        else:
            closing = close_resting.by_mysql(
                ids, idle_ms, after_ping_ms, own_thread, transactions, self.kill_waits
            )
        return f"SET @sw_at=0,@sw_closed=NULL;{closing}SELECT @sw_closed AS CLOSED"

    def resting(
        self,
        ids: Sequence[int],
        idle_ms: float,
        after_ping_ms: float,
        own_thread: int | None,
        transactions: bool,
    ) -> str:
        """Those of `ids` that `close_idle` would close: ID."""
        if self.mariadb:
            return close_resting.mariadb_resting(ids, idle_ms)
        return close_resting.mysql_resting(ids, idle_ms, after_ping_ms, own_thread, transactions)

    def backup_lock(self, kind: LockKind) -> tuple[tuple[str, bool], ...]:
        """Statements that take a snapshot's lock, each with whether others wait behind it while it
        waits itself; () where this server has no such lock."""
        if self.mariadb:
            ddl = (
                ("BACKUP STAGE START", False), ("BACKUP STAGE FLUSH", False),
                ("BACKUP STAGE BLOCK_DDL", True),
            )  # fmt: skip
            return {
                LockKind.INSTANCE: ddl,
                LockKind.COMMITS: (*ddl, ("BACKUP STAGE BLOCK_COMMIT", True)),
                LockKind.TABLES: ((_READ_LOCK, True),),
            }.get(kind, ())
        # First the mild one: it waits for DDL, and nobody waits behind it.
        instance = (("LOCK INSTANCE FOR BACKUP", False),) if self.flavour.min_mysql(8, 0) else ()
        if kind is LockKind.TABLES:
            return (*instance, (_READ_LOCK, True))
        return instance if kind is LockKind.INSTANCE else ()

    def backup_unlock(self, kind: LockKind) -> str:
        """One packet that frees what `backup_lock` took."""
        if self.mariadb:
            return "UNLOCK TABLES" if kind is LockKind.TABLES else "BACKUP STAGE END"
        return "UNLOCK TABLES;UNLOCK INSTANCE" if self.flavour.min_mysql(8, 0) else "UNLOCK TABLES"

    @property
    def flush_waits_for_reads(self) -> bool:
        """Whether FLUSH TABLES WITH READ LOCK waits for running SELECTs; new ones then wait behind
        it, even after it has given up, until the old one ends."""
        return not self.mariadb

    @property
    def coordinates(self) -> str:
        """One packet, three results: own binary log, executed GTIDs, replica status."""
        return f"{self.binlog_status};{self.executed};{self.replica_status}"

    def running(self, own_thread: int | None) -> str:
        """Client statements that run now: ID, USER, HOST, INFO, RUNNING_MS. `own_thread` as in
        `clients`; without it MySQL knows whole seconds only, and those rounded up."""
        head = "SELECT p.ID, p.USER, p.HOST, LEFT(p.INFO, 100) AS INFO"
        tail = (
            f" WHERE {_CLIENTS} AND p.ID <> CONNECTION_ID() AND p.INFO IS NOT NULL"
            " AND p.COMMAND NOT IN ('Sleep', 'Connect', 'Killed')"
        )
        if self.mariadb:
            return f"{head}, p.TIME_MS AS RUNNING_MS FROM information_schema.PROCESSLIST p{tail}"
        if own_thread is None:
            at = "p.TIME * 1000 AS RUNNING_MS FROM information_schema.PROCESSLIST p"
            return f"{head}, {at}{tail}"
        return (
            f"{head}, IF(e.END_EVENT_ID IS NULL, e.TIMER_WAIT / {PICOSECONDS_PER_MS}, 0)"
            " AS RUNNING_MS FROM information_schema.PROCESSLIST p"
            " LEFT JOIN performance_schema.threads t ON t.PROCESSLIST_ID = p.ID"
            " LEFT JOIN performance_schema.events_statements_current e"
            f" ON e.THREAD_ID = t.THREAD_ID AND e.NESTING_EVENT_LEVEL = 0{tail}"
        )

    @property
    def visible(self) -> str:
        """One packet, two results: OWNED and MODE, then `executed`. Together they have every
        transaction whose changes could be read before, if each gets a GTID (MODE). MySQL adds one
        to gtid_executed after others can see it, from gtid_owned; MariaDB has it before.
        """
        if self.mariadb:
            return f"SELECT '' AS OWNED, 'ON' AS MODE;{self.executed}"
        return f"SELECT @@GLOBAL.gtid_owned AS OWNED, @@GLOBAL.gtid_mode AS MODE;{self.executed}"

    @property
    def applied(self) -> str:
        """One row: SERVER_ID, OWN, REPLICATED (MariaDB). What is REPLICATED can be read; of OWN
        (the binary log) only this server's own writes are sure to be."""
        return (
            "SELECT @@GLOBAL.server_id AS SERVER_ID, @@GLOBAL.gtid_binlog_pos AS OWN,"
            " @@GLOBAL.gtid_slave_pos AS REPLICATED"
        )

    def statement_limit(self, seconds: float) -> str:
        """From now on the server itself ends a SELECT of this session that takes longer."""
        if self.mariadb:
            return f"SET SESSION max_statement_time={seconds:g}"
        if not self.flavour.min_mysql(5, 7, 8):
            return "DO 0"  # 5.6 has no such limit
        return f"SET SESSION max_execution_time={int(seconds * 1000)}"

    def wait_executed(self) -> str:
        """Arguments: GTID set, seconds (more than 0: in MySQL 0 is for ever). DONE: 0 = reached."""
        if self.mariadb:
            return "SELECT MASTER_GTID_WAIT(%s, %s) AS DONE"
        if not self.flavour.min_mysql(5, 7, 5):
            # Whole seconds; NULL where no replication runs.
            return "SELECT IF(WAIT_UNTIL_SQL_THREAD_AFTER_GTIDS(%s, CEIL(%s)) >= 0, 0, 1) AS DONE"
        return "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s) AS DONE"

    def change_source(self, *, public_key: bool = True) -> str:
        """Arguments: host, port, user, password. Replicate by GTID."""
        if self.mariadb:
            return (
                "CHANGE MASTER TO MASTER_HOST=%s, MASTER_PORT=%s, MASTER_USER=%s,"
                " MASTER_PASSWORD=%s, MASTER_USE_GTID=slave_pos"
            )
        if self.flavour.min_mysql(8, 0, 23):
            key = ", GET_SOURCE_PUBLIC_KEY=1" if public_key else ""
            return (
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST=%s, SOURCE_PORT=%s, SOURCE_USER=%s,"
                f" SOURCE_PASSWORD=%s, SOURCE_AUTO_POSITION=1{key}"
            )
        return (
            "CHANGE MASTER TO MASTER_HOST=%s, MASTER_PORT=%s, MASTER_USER=%s,"
            " MASTER_PASSWORD=%s, MASTER_AUTO_POSITION=1"
        )

    @property
    def start_receiving(self) -> str:
        """Start the I/O thread of all channels, and not the SQL thread."""
        return self.start_replica.replace("ALL SLAVES", "SLAVE") + " IO_THREAD"

    @property
    def stop_receiving(self) -> str:
        """Stop the I/O thread of all channels; what was received is still applied."""
        return self.stop_replica.replace("ALL SLAVES", "SLAVE") + " IO_THREAD"

    @property
    def stop_applying(self) -> str:
        """Stop the SQL thread of all channels."""
        return self.stop_replica.replace("ALL SLAVES", "SLAVE") + " SQL_THREAD"

    def point_source(self) -> str:
        """Arguments: host, port. The (stopped) replica looks there; account and GTID mode stay."""
        if self.flavour.min_mysql(8, 0, 23):
            return "CHANGE REPLICATION SOURCE TO SOURCE_HOST=%s, SOURCE_PORT=%s"
        return "CHANGE MASTER TO MASTER_HOST=%s, MASTER_PORT=%s"

    @property
    def replicated_position(self) -> str:
        """Argument: GTIDs that the (stopped) replica has; "" where it knows by itself."""
        return "SET GLOBAL gtid_slave_pos = %s" if self.mariadb else ""

    @property
    def binlog_programs(self) -> tuple[str, ...]:
        """Programs that read this server's binary log, the best first."""
        return ("mariadb-binlog", "mysqlbinlog") if self.mariadb else ("mysqlbinlog",)


@functools.lru_cache
def dialect(flavour: Flavour) -> Dialect:
    """The dialect of this flavour."""
    return _mariadb(flavour) if flavour.mariadb else _mysql(flavour)


def _mariadb(flavour: Flavour) -> Dialect:
    super_is_no_bypass = flavour.min_mariadb(10, 11)  # MDEV-29596
    no_admin = flavour.min_mariadb(12, 0, 1)  # MDEV-36425
    split = not flavour.min_mariadb(11, 0)  # MDEV-29668: SUPER stops including the finer ones
    fine = ("CONNECTION ADMIN", "BINLOG MONITOR", "REPLICATION SLAVE ADMIN", "SLAVE MONITOR")
    # sql_log_bin, binlog_format; MySQL's SYSTEM_VARIABLES_ADMIN includes both.
    logging = ("BINLOG ADMIN",)
    substitutes: dict[str, tuple[str, ...]] = dict.fromkeys(
        (*fine, *logging), ("SUPER",)) if split else {}
    if not super_is_no_bypass:
        substitutes["READ_ONLY ADMIN"] = ("SUPER",)
    substitutes["SLAVE MONITOR"] = (*substitutes.get("SLAVE MONITOR", ()), "REPLICA MONITOR")
    substitutes["REPLICATION SLAVE ADMIN"] = (
        *substitutes.get("REPLICATION SLAVE ADMIN", ()),
        "REPLICATION REPLICA ADMIN",
    )
    substitutes["BINLOG MONITOR"] = (*substitutes.get("BINLOG MONITOR", ()), "REPLICATION CLIENT")
    return Dialect(
        flavour=flavour,
        read_only_on=f"SET GLOBAL read_only={'NO_LOCK_NO_ADMIN' if no_admin else '1'}",
        read_only_off="SET GLOBAL read_only=0",
        read_only="SELECT @@GLOBAL.read_only AS READ_ONLY, NULL AS SUPER_READ_ONLY",
        read_only_origin=(
            "SELECT GLOBAL_VALUE_ORIGIN FROM information_schema.SYSTEM_VARIABLES"
            " WHERE VARIABLE_NAME = 'READ_ONLY'"
        ),
        executed="SELECT @@GLOBAL.gtid_binlog_pos AS OWN, @@GLOBAL.gtid_slave_pos AS REPLICATED",
        replica_status="SHOW ALL SLAVES STATUS",
        binlog_status="SHOW MASTER STATUS",
        start_replica="START ALL SLAVES",
        stop_replica="STOP ALL SLAVES",
        reset_replica="RESET SLAVE ALL",
        admin_bypasses_read_only=not no_admin,
        bypass_privileges=(
            ("READ_ONLY ADMIN",) if super_is_no_bypass else ("READ_ONLY ADMIN", "SUPER")
        ),
        needs=("RELOAD", "PROCESS", "READ_ONLY ADMIN", *fine),
        substitutes=tuple(substitutes.items()),
        alter_needs=logging,
        reads=() if no_admin else ("mysql",),
    )


def _mysql(flavour: Flavour) -> Dialect:
    replica = "REPLICA" if flavour.min_mysql(8, 0, 22) else "SLAVE"
    dynamic = ("CONNECTION_ADMIN", "SYSTEM_VARIABLES_ADMIN", "REPLICATION_SLAVE_ADMIN")
    needs = (*dynamic, "XA_RECOVER_ADMIN") if flavour.min_mysql(8, 0) else ("SUPER",)
    closes = flavour.min_mysql(5, 7, 8)
    closed = "@@GLOBAL.super_read_only" if closes else "NULL"
    return Dialect(
        flavour=flavour,
        # The first turns read_only on with it.
        read_only_on="SET GLOBAL super_read_only=1" if closes else "SET GLOBAL read_only=1",
        read_only_off="SET GLOBAL read_only=0",  # turns super_read_only off with it
        read_only=f"SELECT @@GLOBAL.read_only AS READ_ONLY, {closed} AS SUPER_READ_ONLY",
        read_only_origin=(
            "SELECT VARIABLE_SOURCE FROM performance_schema.variables_info"
            " WHERE VARIABLE_NAME = 'read_only'"
        ) if flavour.min_mysql(8, 0) else "",
        executed="SELECT @@GLOBAL.gtid_executed AS OWN, '' AS REPLICATED",
        replica_status=f"SHOW {replica} STATUS",
        binlog_status=(
            "SHOW BINARY LOG STATUS" if flavour.min_mysql(8, 2) else "SHOW MASTER STATUS"
        ),
        start_replica=f"START {replica}",
        stop_replica=f"STOP {replica}",
        reset_replica=f"RESET {replica} ALL",
        admin_bypasses_read_only=not closes,
        bypass_privileges=("SUPER", "CONNECTION_ADMIN"),
        needs=("RELOAD", "PROCESS", "REPLICATION CLIENT", *needs),
        substitutes=tuple((p, ("SUPER",)) for p in dynamic),
    )


def alter_traits(flavour: Flavour) -> Traits:
    """What this server does while two versions of a table replicate to each other."""
    new_words = flavour.min_mysql(8, 0, 26)
    return Traits(
        name=str(flavour), mariadb=flavour.mariadb,
        conversion_setting=f"{'replica' if new_words else 'slave'}_type_conversions",
        copies_without_lock=flavour.min_mariadb(11, 2),
        fills_added=flavour.min_mariadb(11, 8, 6),  # 10.11.19 does not; none between was seen
    )
