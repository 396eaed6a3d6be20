"""Flavours, replica status, grants and InnoDB's list of transactions, from recorded rows."""

from __future__ import annotations

import pytest

from slackwater.facts.flavour import Flavour, Vendor
from slackwater.facts.replication import ReplicaStatus
from slackwater.facts.server import ServerAddress, is_on
from slackwater.outside.mysql.account import (
    ALTER_RIGHTS,
    alter_grants,
    parse_grants,
    rights_on,
    rights_to_look,
)
from slackwater.outside.mysql.clients import parse_innodb_status
from slackwater.outside.mysql.dialect import dialect


@pytest.mark.parametrize(
    ("text", "comment", "vendor", "version"),
    [
        ("10.11.19-MariaDB-0+deb12u1-log", "Debian 12", Vendor.MARIADB, (10, 11, 19)),
        ("5.5.5-10.5.29-MariaDB", "", Vendor.MARIADB, (10, 5, 29)),
        ("12.0.2", "mariadb.org binary", Vendor.MARIADB, (12, 0, 2)),
        ("9.7.4-2", "(Debian)", Vendor.MYSQL, (9, 7, 4)),
        ("8.0.36-28", "Percona Server (GPL)", Vendor.MYSQL, (8, 0, 36)),
        ("5.7.29-log", "MySQL Community Server (GPL)", Vendor.MYSQL, (5, 7, 29)),
    ],
)
def test_flavours(text, comment, vendor, version):
    found = Flavour.parse(text, comment)
    assert (found.vendor, found.version) == (vendor, version)
    assert found.unsupported_reason() is None


def test_old_servers_are_refused_with_the_reason():
    assert "at least 10.5" in (Flavour.parse("10.4.30-MariaDB").unsupported_reason() or "")
    assert "5.7.8" in (Flavour.parse("5.6.24").unsupported_reason() or "")


def test_mysql_5_6_is_served_one_way_only():
    old = Flavour.parse("5.6.24-log")
    assert old.unsupported_reason(one_way=True) is None
    assert "docs/howto/leave-mysql-5.6.md" in (old.unsupported_reason() or "")
    for other in ("5.6.23", "5.5.62", "5.7.7", "10.4.1-MariaDB"):
        refused = Flavour.parse(other).unsupported_reason(one_way=True) or ""
        assert "too old" in refused and "leave-mysql" not in refused, other
    newer = {"5.6.51": True, "5.7.29": True, "8.0.36": False, "9.7.4": False}
    assert {v: Flavour.parse(v).next_to(old) for v in newer} == newer


def test_min_version_is_of_one_vendor():
    assert not Flavour.parse("10.11.19-MariaDB").min_mysql(8)
    assert Flavour.parse("8.0.22").min_mysql(8, 0, 22)


OLD = {
    "Slave_IO_Running": "Yes", "Slave_SQL_Running": "Yes", "Master_Host": "h", "Master_Port": 3307,
    "Master_User": "repl", "Master_Server_Id": 7, "Seconds_Behind_Master": 0, "SQL_Delay": 0,
    "Last_IO_Errno": 0, "Last_IO_Error": "", "Last_SQL_Errno": 1062, "Last_SQL_Error": "dup",
    "Replicate_Do_DB": "a,b", "Exec_Master_Log_Pos": 12, "Relay_Master_Log_File": "bin.2",
    "Master_Log_File": "bin.3", "Read_Master_Log_Pos": 99,
}  # fmt: skip


def test_replica_status_by_old_and_new_names_is_the_same():
    new = {
        k.replace("Slave", "Replica").replace("Master", "Source"): v for k, v in OLD.items()
    }
    assert ReplicaStatus.parse(OLD) == ReplicaStatus.parse(dict(reversed(new.items())))


def test_replica_status_of_mariadb():
    row = OLD | {"Connection_name": "", "Using_Gtid": "Slave_Pos", "Gtid_Slave_Pos": "0-1-5"}
    found = ReplicaStatus.parse(row)
    assert found.running
    assert (found.auto_position, found.executed_gtids) == (True, "0-1-5")
    assert found.errors == ("1062: dup",)
    assert found.filters == (("Replicate_Do_DB", "a,b"),)
    assert (found.applied_file, found.applied_position) == ("bin.2", 12)


def test_replica_that_connects_is_not_running_and_its_lag_is_unknown():
    row = OLD | {"Slave_IO_Running": "Connecting", "Seconds_Behind_Master": None}
    found = ReplicaStatus.parse(row)
    assert not found.running
    assert found.seconds_behind is None


def test_read_only_values_of_every_version():
    assert [is_on(v) for v in ("ON", "1", "NO_LOCK", "NO_LOCK_NO_ADMIN")] == [True] * 4
    assert [is_on(v) for v in ("OFF", "0", "", None)] == [False] * 4


def test_dialects():
    assert "super_read_only" in dialect(Flavour.parse("5.7.29")).read_only_on
    assert "NO_LOCK_NO_ADMIN" in dialect(Flavour.parse("12.0.1-MariaDB")).read_only_on
    assert dialect(Flavour.parse("12.0.1-MariaDB")).admin_bypasses_read_only is False
    assert dialect(Flavour.parse("11.8.6-MariaDB")).read_only_on == "SET GLOBAL read_only=1"
    assert dialect(Flavour.parse("8.0.21")).replica_status == "SHOW SLAVE STATUS"
    assert dialect(Flavour.parse("8.4.0")).binlog_status == "SHOW BINARY LOG STATUS"
    assert dialect(Flavour.parse("8.0.36")).binlog_status == "SHOW MASTER STATUS"


def test_the_password_is_not_in_an_address_repr():
    assert "secret" not in repr(ServerAddress("a", "u", "secret"))


def test_grants():
    lines = ["GRANT RELOAD, PROCESS, READ ONLY ADMIN ON *.* TO `s`@`%`", "GRANT SELECT ON x.* TO s"]
    assert {"RELOAD", "PROCESS", "READ_ONLY ADMIN"} <= parse_grants(lines)
    assert "SELECT" not in parse_grants(lines)


OWN = "GRANT CREATE, SELECT, INSERT, DELETE, LOCK TABLES ON `slackwater`.* TO `s`@`%`"
EVENTS = "GRANT RELOAD, EVENT ON *.* TO `s`@`%`"
ACCOUNTS = "GRANT SELECT ON `mysql`.* TO `s`@`%`"


@pytest.mark.parametrize(("version", "lines", "lacks"), [
    ("10.11.6-MariaDB", [EVENTS, OWN, ACCOUNTS], []),
    ("10.11.6-MariaDB", ["GRANT SELECT, EVENT ON *.* TO `s`@`%`", OWN], []),
    ("10.11.6-MariaDB", ["GRANT ALL PRIVILEGES ON *.* TO `s`@`%` WITH GRANT OPTION"], []),
    ("10.11.6-MariaDB", [EVENTS, "GRANT ALL PRIVILEGES ON `slackwater`.* TO `s`@`%`", ACCOUNTS],
     []),
    ("10.11.6-MariaDB", ["GRANT RELOAD ON *.* TO `s`@`%`", OWN],
     ["EVENT", "SELECT on mysql.*"]),
    ("12.0.2-MariaDB", [EVENTS, OWN], []),  # read_only keeps everybody from it
    ("9.7.0", [EVENTS, OWN], []),
    ("9.7.0", [EVENTS, OWN.replace("INSERT, ", "")], ["INSERT on slackwater.*"]),
    ("5.7.29", ["GRANT EVENT ON `shop`.* TO `s`@`%`", OWN], ["EVENT"]),
])  # fmt: skip
def test_rights_without_which_guardrails_would_be_blind(version, lines, lacks):
    flavour = Flavour.parse(version)
    assert rights_to_look(lines, flavour, acts=True) == lacks
    assert rights_to_look([], flavour, acts=False) == ["SELECT on slackwater.*"]
    assert rights_to_look([OWN], flavour, acts=False) == []  # a further replica


@pytest.mark.parametrize(("line", "database", "found"), [
    ("GRANT SELECT, SHOW VIEW ON `shop`.* TO `s`@`%`", "shop", {"SELECT", "SHOW VIEW"}),
    ("GRANT SELECT ON `shop`.* TO `s`@`%`", "shops", set()),
    ("GRANT DROP ON `slackwater\\_lint\\_%`.* TO `s`@`%`", "slackwater_lint_17", {"DROP"}),
    ("GRANT DROP ON `slackwater\\_lint\\_%`.* TO `s`@`%`", "slackwaterXlint_17", set()),
    ("GRANT DROP ON `sh_p`.* TO `s`@`%`", "shop", {"DROP"}),
    ("GRANT DROP ON `a``b.c`.* TO `s`@`%`", "a`b.c", {"DROP"}),
    ("GRANT ALL PRIVILEGES ON *.* TO `s`@`%`", "shop", {"ALL PRIVILEGES"}),
    ("GRANT SELECT ON `shop`.`orders` TO `s`@`%`", "shop", set()),
])  # fmt: skip
def test_rights_on_a_database(line, database, found):
    assert rights_on([line], database) == found


def test_what_alter_takes_is_what_its_grants_give():
    for flavour in (Flavour(Vendor.MARIADB, (10, 11, 0)), Flavour(Vendor.MYSQL, (9, 7, 0))):
        lines = [g.format("`s`@`%`") for g in alter_grants(flavour, "my_shop")]
        for place in ("my_shop", "slackwater_lint_5"):
            assert rights_on(lines, place) >= set(ALTER_RIGHTS)
        assert set(dialect(flavour).alter_needs) <= parse_grants(lines)


INNODB = """
LATEST DETECTED DEADLOCK
*** (1) TRANSACTION:
TRANSACTION 7, ACTIVE 3 sec
MySQL thread id 99, OS thread handle 1
LIST OF TRANSACTIONS FOR EACH SESSION:
---TRANSACTION 421, not started
0 lock struct(s), heap size 1136, 0 row lock(s)
---TRANSACTION 422, not started
MariaDB thread id 5, OS thread handle 1, query id 3 localhost root
---TRANSACTION 8, ACTIVE 12 sec inserting
1 lock struct(s), heap size 1136, 0 row lock(s), undo log entries 1
MySQL thread id 6, OS thread handle 2, query id 4 localhost root
INSERT INTO t
---TRANSACTION 9, ACTIVE (PREPARED) 4 sec
MariaDB thread id 7, OS thread handle 2, query id 4 localhost root
---TRANSACTION 10, ACTIVE (PREPARED) 4 sec recovered trx
--------
FILE I/O
"""


def test_transactions_of_innodb_status():
    assert parse_innodb_status(INNODB) == {6: 12.0, 7: 4.0}


def test_the_nearest_series() -> None:
    """Of the same vendor; first by the first number, then by the second."""
    maria = [Flavour(Vendor.MARIADB, v) for v in ((10, 5, 29), (10, 11, 14), (11, 8, 3))]
    there = [*maria, Flavour(Vendor.MYSQL, (9, 7, 0))]
    assert Flavour(Vendor.MARIADB, (10, 11, 2)).nearest(there) == maria[1]
    assert Flavour(Vendor.MARIADB, (11, 4, 0)).nearest(there) == maria[2]
    assert Flavour(Vendor.MYSQL, (8, 0, 30)).nearest(there) == there[3]
    assert Flavour(Vendor.MYSQL, (8, 0, 30)).nearest(maria) is None
    assert Flavour(Vendor.MARIADB, (10, 11, 2)).same_series(maria[1])
    assert not Flavour(Vendor.MYSQL, (10, 11, 2)).same_series(maria[1])
