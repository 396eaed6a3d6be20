"""SQL of setting up replication that differs between MySQL, MariaDB and their versions.

The second half of mysql_dialect, apart because only `pair setup` and `pair rejoin` speak it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from slackwater.facts.backup import LockKind
from slackwater.facts.flavour import Flavour
from slackwater.outside.mysql.dialect import dialect

CONNECT_RETRY_S = 5
RETRIES = 86400  # five days: what MySQL itself has before 8.4


@dataclass(frozen=True)
class SetupDialect:
    """The texts for one flavour. Made by `setup_dialect`."""

    flavour: Flavour
    forget_binlog: str  # deletes all binary logs and every GTID
    replication_rights: tuple[str, ...]  # of the account by which replicas come
    donor_rights: tuple[str, ...]  # of the same account, so that a clone can be made through it
    disabled_event: str  # as SHOW CREATE EVENT writes it: run on the source, not here
    events_off: tuple[str, ...]  # the same for all, by a private start; () where it cannot
    users: str  # rows: USER, HOST, ROLE (1 for MariaDB's roles)
    # MySQL 5.6 has none: what its SHOW GRANTS shows has the password's hash, and makes the account.
    shows_create_user: bool
    print_hashes: str  # statement that makes SHOW CREATE USER give hashes as text, or ""
    clones: bool  # has MySQL's clone plugin
    # Semi-synchronous replication: what settings begin with, as a source and as a replica; and the
    # plugins that they need, with their files (none where it is built in).
    semi_sync: tuple[str, str]
    semi_sync_plugins: tuple[tuple[str, str], ...]
    # After a crash such a server, when its file says that it gives word to others, cuts off its
    # binary log what nobody gave word for, although its replica may have it (MDEV-21117).
    semi_sync_cuts: bool
    backup_in_stages: bool  # its mariadb-backup blocks commits at its very end only (MDEV-32932)
    snapshot_lock: LockKind  # under which several sessions begin the same snapshot

    def seed(self, executed: str, logged: str) -> tuple[str, ...]:
        """Statements, after `forget_binlog`, that have the server begin at these GTIDs."""
        if not self.flavour.mariadb:
            return (f"SET GLOBAL gtid_purged = '{executed}'",) if executed else ()
        return (
            # So that it may itself be asked for what comes after, by its source in a ring.
            f"SET GLOBAL gtid_binlog_state = '{logged or executed}'",
            f"SET GLOBAL gtid_slave_pos = '{executed}'",
        )

    def change_source(self, *, tls: bool) -> str:
        """Arguments: host, port, user, password. Replicate by GTID, over TLS or without.

        By default a replica whose source was restarted asks again after a minute, and MySQL 8.4
        gives up for good after ten times.
        """
        base = dialect(self.flavour).change_source()
        word = "SOURCE" if self.flavour.min_mysql(8, 0, 23) else "MASTER"
        base += f", {word}_CONNECT_RETRY={CONNECT_RETRY_S}, {word}_SSL={int(tls)}"
        if self.flavour.mariadb:
            # 11.4 and newer check certificates by default, and servers make their own ones.
            return f"{base}, MASTER_SSL_VERIFY_SERVER_CERT=0"
        return f"{base}, {word}_RETRY_COUNT={RETRIES}"

    def create_user(self, account: str, *, tls: bool) -> tuple[str, ...]:
        """Statements that make the account and give it its password (the only argument of each
        that has a `%s`)."""
        require = " REQUIRE SSL" if tls else " REQUIRE NONE"
        if not self.shows_create_user:  # nor knows the statements below
            return (f"GRANT USAGE ON *.* TO {account} IDENTIFIED BY %s{require}",)
        return (
            f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY %s",
            f"ALTER USER {account} IDENTIFIED BY %s{require}",
        )


@functools.lru_cache
def setup_dialect(flavour: Flavour) -> SetupDialect:
    """The dialect of this flavour."""
    new = flavour.min_mysql(8, 2)
    old = not flavour.mariadb and not flavour.min_mysql(5, 7, 6)
    words = ("source", "replica") if flavour.min_mysql(8, 0, 26) else ("master", "slave")
    return SetupDialect(
        flavour=flavour,
        forget_binlog="RESET BINARY LOGS AND GTIDS" if new else "RESET MASTER",
        replication_rights=("REPLICATION SLAVE",),
        donor_rights=("BACKUP_ADMIN",) if flavour.min_mysql(8, 0, 17) else (),
        disabled_event="DISABLE ON REPLICA" if new else "DISABLE ON SLAVE",
        events_off=() if flavour.min_mysql(8, 0, 0) else (
            "UPDATE mysql.event SET status = 'SLAVESIDE_DISABLED' WHERE status = 'ENABLED'",),
        users=(
            "SELECT User AS USER, Host AS HOST, is_role = 'Y' AS ROLE FROM mysql.user"
            if flavour.mariadb else "SELECT User AS USER, Host AS HOST, 0 AS ROLE FROM mysql.user"
        ),
        shows_create_user=not old,
        print_hashes=(
            "SET SESSION print_identified_with_as_hex = 1" if flavour.min_mysql(8, 0, 17) else ""
        ),
        clones=flavour.min_mysql(8, 0, 17),
        semi_sync=(f"rpl_semi_sync_{words[0]}_", f"rpl_semi_sync_{words[1]}_"),
        semi_sync_plugins=() if flavour.mariadb else tuple(
            (f"rpl_semi_sync_{word}", f"semisync_{word}.so") for word in words),
        # 10.11.19 and 11.8 were seen not to (MDEV-33465); of those between nothing is known here.
        semi_sync_cuts=flavour.mariadb and (
            (10, 6) <= flavour.version < (10, 11, 19) or (11,) <= flavour.version < (11, 8)),
        backup_in_stages=flavour.mariadb and (
            flavour.version >= (11, 4, 2) or any(
                flavour.version >= v and flavour.version[:2] == v[:2]
                for v in ((10, 11, 8), (11, 0, 6), (11, 1, 5), (11, 2, 4)))),
        snapshot_lock=LockKind.COMMITS if flavour.mariadb else LockKind.TABLES,
    )


def may_clone(source: Flavour, target: Flavour) -> str:
    """Why the clone plugin cannot copy from one to the other, or ""."""
    for each in (source, target):
        if not setup_dialect(each).clones:
            return f"{each} has no clone plugin (MySQL 8.0.17 and newer have)"
    same_series = source.version[:2] == target.version[:2]
    # From 8.0.37 on, releases of one series are enough.
    if source.version == target.version or (same_series and source.min_mysql(8, 0, 37)
                                            and target.min_mysql(8, 0, 37)):
        return ""
    return f"{source} and {target} are not of one series"


def may_copy_files(source: Flavour, target: Flavour) -> str:
    """Why the target cannot run with the source's files, or ""."""
    if not (source.mariadb and target.mariadb):
        return "mariadb-backup is MariaDB's"
    if source.version[:2] != target.version[:2] or target.version < source.version:
        return f"{target} cannot be trusted with the files of {source}"
    return ""


@dataclass(frozen=True)
class SkippingReplica:
    """The words for a replica by file and position that skips what it cannot apply."""

    follow: str  # arguments: port, user, password, file, position; on this machine
    wait: str  # arguments: file, position, seconds; NULL when the applier stops
    skip: str


def skipping_replica(flavour: Flavour) -> SkippingReplica:
    """Of this flavour; its server has no GTIDs and one applier."""
    new = flavour.min_mysql(8, 0, 26)
    if flavour.mariadb:
        verb, word, tail = "CHANGE MASTER TO", "MASTER", ", MASTER_USE_GTID=no"
    elif new:
        verb, word = "CHANGE REPLICATION SOURCE TO", "SOURCE"
        tail = ", GET_SOURCE_PUBLIC_KEY=1, SOURCE_AUTO_POSITION=0"
    else:
        verb, word, tail = "CHANGE MASTER TO", "MASTER", ", MASTER_AUTO_POSITION=0"
    return SkippingReplica(
        f"{verb} {word}_HOST='127.0.0.1', {word}_PORT=%s, {word}_USER=%s, {word}_PASSWORD=%s,"
        f" {word}_LOG_FILE=%s, {word}_LOG_POS=%s{tail}",
        f"SELECT {word}_POS_WAIT(%s, %s, %s)",
        f"SET GLOBAL sql_{'replica' if new else 'slave'}_skip_counter = 1",
    )
