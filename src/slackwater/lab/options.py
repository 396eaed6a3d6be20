"""What a lab's servers are started with: small in memory, honest about durability."""

from __future__ import annotations

from slackwater.outside.server_programs import Program

# Threads that apply on the passive, chosen so that it stays beside some 1,300 commits a second on
# two cores. Compared in turn, three rounds, on a machine that was busy with other work (load 20);
# worst lag of 6 s in ms: MySQL 9.7 with 4 threads 1,835 to 4,661, 8: 1,585 to 4,333, 16: 127 to
# 1,586 (six runs), 32: 990 to 2,223 and 140 MB more; MySQL 5.7 with 4: 3,070 to 4,434, 8: 1,072 to
# 1,833, 16: 515 to 1,061 (six runs), 32: 348 to 571. MariaDB with 8: 29 to 68. MySQL's coordinator
# turns in a loop while no thread is free: at 1,000 connections and 160 pooled writes a second the
# passive of 9.7 took 58 and 60% of a core with 16, 50 and 48 with 32, 48 and 50 with 64.
MARIADB_APPLIERS = 8
MYSQL_APPLIERS = 32
REDO_MB = 48
MAX_CONNECTIONS = 2000
CLIENTS_AT_ONCE = 300  # what the balancers let in; the others wait there

_COMMON = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    # What makes an acknowledged write survive: never traded for speed here.
    "--sync-binlog=1",
    "--innodb-flush-log-at-trx-commit=1",
    "--log-bin=bin",
    "--relay-log=relay",
    "--binlog-format=ROW",
    "--log-slave-updates=ON",
    "--relay-log-recovery=ON",
    "--slave-net-timeout=10",
    # Thousands of short connections a second, and thousands waiting behind the balancer.
    f"--max-connections={MAX_CONNECTIONS}",
    "--back-log=4000",
    "--thread-cache-size=100",
    "--max-connect-errors=1000000",
    # Small.
    "--innodb-buffer-pool-size=64M",
    "--table-open-cache=400",
    "--table-definition-cache=400",
    "--key-buffer-size=1M",
)
# Pages past the page cache: the default of newer ones. By way of it, what one server flushes holds
# up the commits of the other, which here is on the same disk.
_UNBUFFERED = "--innodb-flush-method=O_DIRECT"
# What it was before 8.4, and is on MariaDB: 10,000, for fast disks, has commits wait for pages that
# are flushed. 9.7, 600 connections a second, p99 of all writes: 13.8 and 22.5 ms, so 6.3 and 7.7.
_IO_CAPACITY = ("--innodb-io-capacity=200", "--innodb-io-capacity-max=400")

# Since 8.0 each allocation is counted by default. At 600 connections a second, both servers of 9.7:
# 99 and 100% of a core with it, 89 and 86 without; p99 of all writes 22 and 27, 13 and 14 ms.
_NO_MEMORY_COUNTS = "--performance-schema-instrument=memory/%=OFF"


def server(program: Program) -> list[str]:
    """The options of a running server, except who and where it is."""
    options = [*_COMMON, *(_mariadb() if program.is_mariadb else _mysql(program))]
    if program.version < ((10, 6, 0) if program.is_mariadb else (8, 4, 0)):
        options.append(_UNBUFFERED)
    if not program.is_mariadb and program.version >= (8, 4, 0):
        # 8.0 renamed these, 9.x removed or warns about the old names.
        renamed = {
            "--log-slave-updates=ON": "--log-replica-updates=ON",
            "--slave-net-timeout=10": "--replica-net-timeout=10",
            "--binlog-format=ROW": "",  # the default, and the option is deprecated
        }
        options = [renamed.get(o, o) for o in options]
    return [o for o in options if o]


def redo(program: Program) -> list[str]:
    """The size of the redo log; also needed when a data directory is initialised."""
    if not program.is_mariadb and program.version >= (8, 0, 30):
        return [f"--innodb-redo-log-capacity={REDO_MB}M"]
    files = 2 if not program.is_mariadb else 1
    return [f"--innodb-log-file-size={REDO_MB // files}M"]


def by_bootstrap(program: Program) -> bool:
    """MySQL 5.6 has no --initialize."""
    return not program.is_mariadb and program.version < (5, 7, 6)


def private_files(program: Program) -> list[str]:
    """MySQL has a folder for LOAD DATA built in and does not start where it is missing. 5.6 has
    none, and takes NULL for a folder."""
    return [] if program.is_mariadb or by_bootstrap(program) else ["--secure-file-priv=NULL"]


def _mariadb() -> list[str]:
    return [
        "--gtid-strict-mode=ON",
        f"--slave-parallel-threads={MARIADB_APPLIERS}",
        "--slave-parallel-mode=optimistic",  # commits in the source's order, always
        "--performance-schema=OFF",
    ]


def _mysql(program: Program) -> list[str]:
    options = [
        "--gtid-mode=ON",
        "--enforce-gtid-consistency=ON",
        "--performance-schema=ON",
        # Small: with room for thousands of connections these are sized for a big machine.
        "--performance-schema-digests-size=200",
        "--performance-schema-events-statements-history-long-size=100",
        "--innodb-log-buffer-size=8M",
    ]
    if program.version >= (8, 0, 0):
        options.append(_NO_MEMORY_COUNTS)
    if program.version >= (8, 4, 0):
        options += [
            "--mysqlx=OFF",
            *_IO_CAPACITY,
            f"--replica-parallel-workers={MYSQL_APPLIERS}",
            "--replica-preserve-commit-order=ON",
        ]
    elif program.version < (5, 7, 0):
        # It applies side by side only what is in different databases.
        options += [
            "--master-info-repository=TABLE",
            "--relay-log-info-repository=TABLE",
            "--explicit-defaults-for-timestamp=ON",
        ]
    else:
        options += [
            f"--slave-parallel-workers={MYSQL_APPLIERS}",
            "--slave-parallel-type=LOGICAL_CLOCK",
            "--slave-preserve-commit-order=ON",
            "--master-info-repository=TABLE",
            "--relay-log-info-repository=TABLE",
            "--transaction-write-set-extraction=XXHASH64",
            "--binlog-transaction-dependency-tracking=WRITESET",
        ]
        if program.version >= (8, 0, 0):
            options.append("--mysqlx=OFF")
        else:
            options.append("--explicit-defaults-for-timestamp=ON")
    return options
