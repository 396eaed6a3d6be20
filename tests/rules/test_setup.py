"""What stands between servers that shall replicate, and whose data counts: pure decisions."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from slackwater.facts.gtid import MariadbGtids, MysqlGtids
from slackwater.facts.replication import ReplicaStatus
from slackwater.facts.server import server_facts
from slackwater.facts.setup import (
    Marker,
    OwnFile,
    Schema,
    ServerSetup,
    parse_settings,
    settings_text,
)
from slackwater.rules.setup import data, settings, together
from slackwater.rules.setup.data import Means, Target, Ways
from slackwater.rules.setup.replica_errors import explain
from slackwater.rules.setup.settings import How

U1, U2 = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
DUMP = Ways({"clone": "not here", "dump": ""})
SHOP = (Schema("shop", 3, 1000),)


def server(name: str, number: int, *, mysql: bool = False, **more: Any) -> ServerSetup:
    """A server whose settings are right, and that is empty."""
    variables = {
        "version": "9.7.4" if mysql else "10.11.19-MariaDB-log", "server_id": str(number),
        "log_bin": "ON", "read_only": "ON", "binlog_format": "ROW", "sync_binlog": "1",
        "log_slave_updates": "ON", "innodb_flush_log_at_trx_commit": "1", "time_zone": "SYSTEM",
        "system_time_zone": "UTC", "lower_case_table_names": "0", "relay_log_recovery": "ON",
        **({"gtid_mode": "ON", "enforce_gtid_consistency": "ON", "super_read_only": "ON",
            "server_uuid": (U1, U2)[number % 2]} if mysql else {"gtid_strict_mode": "ON"}),
        **more.pop("variables", {}),
    }
    facts = server_facts(name, variables, {}, more.pop("replication", ()))
    made = ServerSetup(
        name=name, facts=facts, variables=variables, clock_s=0.01, schemas=(), untransactional=(),
        versioned=(), accounts=frozenset(), filters=(), purged=type(facts.executed)(),
        logged=variables.get("gtid_binlog_state", ""), marker=None, clients=(), tls=True,
        login="", lacks=(), own_file=OwnFile("/etc/x/zz-slackwater.cnf", None, True),
    )
    return dataclasses.replace(made, **more)


def mariadb(name: str, number: int, own: str = "", replicated: str = "", **more: Any
            ) -> ServerSetup:
    return server(name, number, variables={
        "gtid_binlog_pos": own, "gtid_slave_pos": replicated, "gtid_binlog_state": own}, **more)


def refusals(one: ServerSetup, other: ServerSetup, **more: Any) -> str:
    asked = {"ring": True, "require_tls": False, **more}
    return "\n".join(together.refusals({s.name: s for s in (one, other)}, one.name, **asked))


def test_two_servers_that_are_right_are_refused_nothing() -> None:
    a, b = server("a", 1), server("b", 2)
    assert refusals(a, b) == ""
    assert settings.faults({"a": a, "b": b}) == ()
    assert together.notes({"a": a, "b": b}, "a") == []


@pytest.mark.parametrize(("version", "method", "buffering", "noted"), [
    ("10.11.19-MariaDB", "fsync", "", "innodb_flush_method is fsync"),
    ("10.11.19-MariaDB", "littlesync", "", "innodb_flush_method is littlesync"),
    ("10.11.19-MariaDB", "O_DIRECT", "", ""),
    ("10.11.19-MariaDB", "O_DSYNC", "", ""),
    ("10.5.29-MariaDB", "O_DSYNC", "", "innodb_flush_method is O_DSYNC"),
    ("5.7.44", "", "", "innodb_flush_method is fsync"),
    ("9.7.4", "O_DSYNC", "", "innodb_flush_method is O_DSYNC"),
    ("11.8.6-MariaDB", "O_DSYNC", "OFF", ""),
    ("11.8.6-MariaDB", "fsync", "ON", "innodb_flush_method is fsync"),
    ("11.8.6-MariaDB", "fsync", "OFF", ""),
    ("11.8.6-MariaDB", "O_DIRECT", "ON", "innodb_data_file_buffering is ON"),
    ("10.11.19-MariaDB", None, "", ""),
])
def test_a_target_that_flushes_by_way_of_the_page_cache_is_noted(
    version: str, method: str | None, buffering: str, noted: str
) -> None:
    has = {"version": version}
    has |= {} if method is None else {"innodb_flush_method": method}
    has |= {"innodb_data_file_buffering": buffering} if buffering else {}
    a, b = server("a", 1, variables=has), server("b", 2, variables=has)
    said = "\n".join(together.notes({"a": a, "b": b}, "a"))
    assert f"b: {noted}, so what InnoDB writes" in said if noted else "page cache" not in said
    assert "a: innodb" not in said


@pytest.mark.parametrize(("more", "says"), [
    ({"clock_s": 90.0}, "b: its clock is 90 s ahead of this machine's"),
    ({"clock_s": -3.0}, "b: its clock is 3 s behind"),
    ({"filters": ("replicate_do_db = x",)}, "a replication filter is set (replicate_do_db = x)"),
    ({"variables": {"lower_case_table_names": "1"}}, "lower_case_table_names is 1, and 0 on a"),
    ({"variables": {"version": "10.5.29-MariaDB"}}, "a replica must not be older than its source"),
    ({"variables": {"version": "11.8.6-MariaDB"}}, "which is newer: in a pair"),
    ({"variables": {"version": "9.7.4"}}, "cannot replicate from each other"),
])
def test_each_obstacle_has_its_own_words(more: dict[str, Any], says: str) -> None:
    full = server("a", 1, schemas=(Schema("shop", 1, 10**9),))
    assert says in refusals(full, server("b", 2, **more))


@pytest.mark.parametrize(("means", "method", "free", "own", "says"), [
    (Means.COPY, "dump", 1000, 0, "0 MiB are free beside its data, and a has"),
    (Means.COPY, "dump", 1000, 2 * 10**9, ""),  # which is thrown away first
    (Means.COPY, "clone", 1000, 10**9, "954 MiB will be, and a has 954 MiB"),
    (Means.COPY, "backup", 1000, 2 * 10**9, "are free beside its data"),  # which is kept
    (Means.COPY, "backup", 2 * 10**9, 0, ""), (Means.COPY, "dump", None, 0, ""),
    (Means.NOTHING, "", 1000, 10**9, ""), (Means.FOLLOW, "", 1000, 10**9, ""),
])
def test_only_a_copy_needs_room(
    means: Means, method: str, free: int | None, own: int, says: str
) -> None:
    full = server("a", 1, schemas=(Schema("shop", 1, 10**9),))
    empty = server("b", 2, disk_free=free, schemas=(Schema("shop", 1, own),))
    said = together.room(empty, full, Target("b", means, method))
    assert bool(said) == bool(says) and says in "".join(said), said


def test_a_newer_replica_of_one_source_is_fine() -> None:
    newer = server("b", 2, variables={"version": "11.8.6-MariaDB"})
    assert refusals(server("a", 1), newer, ring=False) == ""


def test_tls_that_a_server_does_not_have() -> None:
    assert "b: accounts.replication.require_tls" in refusals(
        server("a", 1), server("b", 2, tls=False), require_tls=True)


def test_a_copied_data_directory_is_known_by_its_uuid() -> None:
    a, b = server("a", 1, mysql=True), server("b", 3, mysql=True)
    assert "delete auto.cnf" in refusals(a, b)


@pytest.mark.parametrize(("name", "value", "wanted", "how"), [
    ("log_bin", "OFF", "bin", How.RESTART), ("binlog_format", "MIXED", "ROW", How.NOW),
    ("log_slave_updates", "OFF", "ON", How.RESTART), ("sync_binlog", "0", "1", How.NOW),
    ("innodb_flush_log_at_trx_commit", "2", "1", How.NOW),
    ("relay_log_recovery", "OFF", "ON", How.LATER), ("gtid_strict_mode", "OFF", "ON", How.NOW),
    ("expire_logs_days", "1", "7", How.NOW), ("server_id", "1", "2", How.NOW),
])
def test_each_setting(name: str, value: str, wanted: str, how: How) -> None:
    b = server("b", 2, variables={name: value})
    (fault,) = settings.faults({"a": server("a", 1), "b": b})
    assert (fault.server, fault.name, fault.wanted, fault.how) == ("b", name, wanted, how)
    text = settings_text(settings.file_settings(b, (fault,)))
    assert parse_settings(text) == {"read_only": "ON", name: wanted}


def test_what_the_file_says_already_stays() -> None:
    own = OwnFile("/x", settings_text({"server_id": "9", "read_only": "ON"}), True)
    assert settings.file_settings(server("b", 2, own_file=own), ()) == {
        "server_id": "9", "read_only": "ON"}


def decide(b: ServerSetup, a: ServerSetup, *overwrite: str) -> Target | str:
    return data.decide(b, a, DUMP, overwrite)


def test_whose_data_counts() -> None:
    a, b = server("a", 1, schemas=SHOP), server("b", 2)
    assert data.choose_source({"a": a, "b": b}, ("b", "a"), None) == "a"
    assert data.choose_source({"a": a, "b": b}, ("a", "b"), "b") == "b"
    both = data.choose_source({"a": a, "b": server("b", 2, schemas=SHOP)}, ("a", "b"), None)
    assert isinstance(both, list) and "--active" in both[0]
    half = server("b", 2, schemas=SHOP, marker=Marker("a", "then"))
    assert data.choose_source({"a": a, "b": half}, ("b", "a"), None) == "a"


def test_a_copy_of_a_set_up_that_was_cut_off_is_known() -> None:
    """Its source had no GTIDs when it was copied, so that the data itself does not tell."""
    a, b = server("a", 1, schemas=SHOP), server("b", 2, schemas=SHOP)
    assert data.choose_source({"a": a, "b": b}, ("a", "b"), None, {"b": "a"}) == "a"
    found = data.decide(b, a, DUMP, (), copy=True)
    assert isinstance(found, Target) and found.means is Means.COPY and not found.overwrite
    # Somebody may have written to one that is open, and nothing would tell.
    open_ = server("b", 2, schemas=SHOP, variables={"read_only": "OFF"})
    assert "name it with --overwrite b" in str(data.decide(open_, a, DUMP, (), copy=True))
    own = mariadb("b", 2, own="0-2-9", schemas=SHOP)
    assert "--overwrite b" in str(data.decide(own, a, DUMP, (), copy=True))


def test_an_empty_target_is_copied_to_whatever_gtids_it_has() -> None:
    found = decide(mariadb("b", 2, own="0-2-9"), mariadb("a", 1, own="0-1-50", schemas=SHOP))
    assert isinstance(found, Target) and (found.means, found.method) == (Means.COPY, "dump")
    assert not found.overwrite and "0-2-9" in found.note


def test_equal_numbers_of_strangers_are_no_kinship() -> None:
    """Both fresh with the same server id: 0-1-9 of one says nothing of the other's data."""
    a = mariadb("a", 1, own="0-1-50", schemas=SHOP)
    b = mariadb("b", 1, own="0-1-9", schemas=SHOP)
    found = decide(b, a)
    assert isinstance(found, str) and "--overwrite b" in found
    named = decide(b, a, "b")
    assert isinstance(named, Target) and named.overwrite


def test_a_copy_follows_where_it_was_left() -> None:
    a = mariadb("a", 1, own="0-1-50", schemas=SHOP)
    b = mariadb("b", 2, own="0-1-40", replicated="0-1-40", schemas=SHOP)
    found = decide(b, a)
    assert isinstance(found, Target) and found.means is Means.FOLLOW


def test_purged_and_ahead() -> None:
    a = mariadb("a", 1, own="0-1-50", schemas=SHOP)
    b = mariadb("b", 2, own="0-1-40", replicated="0-1-40", schemas=SHOP)
    gone = dataclasses.replace(a, purged=data.MariadbGtids.read("0-1-45"))
    said = decide(b, gone)
    assert isinstance(said, str) and "purged" in said
    assert isinstance(decide(b, gone, "b"), Target)
    ahead = dataclasses.replace(b, logged="0-1-40,0-2-41")
    for overwrite in ((), ("b",)):
        said = decide(ahead, a, *overwrite)
        assert isinstance(said, str) and "might be ahead" in said


def test_mysql_knows_its_errant_transactions() -> None:
    a = server("a", 1, mysql=True, schemas=SHOP, variables={"gtid_executed": f"{U1}:1-50"})
    b = server("b", 2, mysql=True, schemas=SHOP,
               variables={"gtid_executed": f"{U1}:1-40,{U2}:1"})
    said = decide(b, a, "b")
    assert isinstance(said, str) and f"{U2}:1" in said
    own = server("b", 2, mysql=True, schemas=SHOP, variables={"gtid_executed": f"{U2}:1-9"})
    assert isinstance(decide(own, a), str) and isinstance(decide(own, a, "b"), Target)


def test_what_a_server_wrote_of_its_own_since_then() -> None:
    """One transaction; of two nobody knows whose the other is."""
    read = MariadbGtids.read
    for before, now, wrote in (
        ("0-1-9,2-2-1", "0-1-12,2-2-2", "2-2-2"), ("0-1-9", "0-1-9,2-2-1", "2-2-1"),
        ("0-1-9,2-2-1", "0-1-12,2-2-1", ""), ("0-1-9,2-2-1", "0-1-9,2-2-3", ""),
        ("2-7-1", "2-2-2", ""), ("0-1-9", "0-1-9,2-7-1", ""),
    ):
        assert data.written_since(read(before), read(now), 2, "") == wrote
    a, b = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "3e11fa47-71ca-11e1-9e33-c80aa9429563"
    before = MysqlGtids.read(f"{a}:1-9,{b}:1-4")
    for more, wrote in ((f"{a}:10-12,{b}:5", f"{b}:5"), (f"{a}:10", ""), (f"{b}:5-6", ""),
                        (f"{b}:5:7", "")):
        now = before.union(MysqlGtids.read(more))
        assert data.written_since(before, now, 2, b.upper()) == wrote


def test_one_that_replicates_is_left_alone() -> None:
    row = {"Master_Host": "h", "Master_Server_Id": "1", "Slave_IO_Running": "Yes",
           "Slave_SQL_Running": "Yes", "Using_Gtid": "Slave_Pos"}
    b = mariadb("b", 2, own="0-1-40", replicated="0-1-40", schemas=SHOP,
                replication=(ReplicaStatus.parse(row),))
    found = decide(b, mariadb("a", 1, own="0-1-50", schemas=SHOP))
    assert isinstance(found, Target) and found.means is Means.NOTHING


def test_gtids_of_mariadb_alone_are_no_proof() -> None:
    """Another server with the id 1, whose replica b was, had its 0-1-40 too."""
    a, at = mariadb("a", 1, own="0-1-90", schemas=SHOP), ("h", 3306)
    b = mariadb("b", 2, own="0-1-40", replicated="0-1-40", schemas=SHOP)
    found = decide(b, a)
    assert isinstance(found, Target) and found.means is Means.FOLLOW
    assert "no channel from a" in data.by_gtids_alone(b, a, at)
    for host, unsure in (("h", False), ("other", True)):
        row = {"Master_Host": host, "Master_Port": "3306", "Slave_IO_Running": "No"}
        with_one = dataclasses.replace(b, facts=dataclasses.replace(
            b.facts, replication=(ReplicaStatus.parse(row),)))
        assert bool(data.by_gtids_alone(with_one, a, at)) is unsure
    assert data.by_gtids_alone(mariadb("b", 2), mariadb("a", 1), at) == "", "both are empty"
    mysql = server("b", 2, mysql=True, schemas=SHOP)
    assert data.by_gtids_alone(mysql, server("a", 1, mysql=True, schemas=SHOP), at) == ""


def test_the_roles_of_a_pair_in_use_are_not_swapped() -> None:
    row = {"Master_Host": "h", "Master_Server_Id": "1", "Slave_IO_Running": "Yes",
           "Slave_SQL_Running": "No", "Using_Gtid": "Slave_Pos"}
    from_a, open_ = (ReplicaStatus.parse(row),), {"read_only": "OFF"}
    a, b = server("a", 1, variables=open_), server("b", 2, replication=from_a)
    said = data.in_use(a, b)
    assert "a takes writes now, and b replicates from it" in said and "switchover" in said
    assert data.in_use(b, a) == "", "as it is"
    # Fresh, both closed, or of another server.
    fresh = server("b", 2, variables=open_)
    assert data.in_use(a, fresh) == data.in_use(fresh, a) == data.in_use(a, server("b", 2)) == ""
    assert data.in_use(server("a", 1), b) == ""
    assert data.in_use(server("a", 3, variables=open_), b) == ""
    # Both are open, as after a crash of b, or of a: people say it, but not under clients.
    b = server("b", 2, replication=from_a, variables=open_)
    assert data.in_use(a, b) == ""
    assert "app@h" in data.in_use(dataclasses.replace(a, clients=("app@h",)), b)


def test_half_a_copy_is_no_source() -> None:
    half = server("a", 1, schemas=SHOP, marker=Marker("x", "then"))
    said = decide(server("b", 2), half)
    assert isinstance(said, str) and "was cut off" in said


@pytest.mark.parametrize(("error", "says"), [
    ("1045: Access denied for user 'repl'", "its password is another one"),
    ("1236: Got fatal error: 'Could not find GTID state requested by slave'", "copied anew"),
    ("1236: 'connecting slave requested to start from GTID 0-2-9, which is not in the master's'",
     "errant"),
    ("1593: The slave I/O thread stops because master and slave have equal MySQL server ids",
     "the same server id"),
    ("2003: error connecting to master", "firewalls"),
    ("1062: Duplicate entry", "--overwrite"),
    ("1032: Worker 4 failed executing transaction 'a1a3a743-e6d7-11f1-8a1d-02fc00000001:1045' at "
     "source log bin.000001, end_log_pos 2003; Can't find record in 'many', Error_code: 1032",
     "its data is not what the source's changes are for"),
    ("13114: Got fatal error 1236 from source when reading data from binary log: 'Cannot replicate "
     "because the source purged required binary logs'", "copied"),
])
def test_what_a_replica_says_is_explained(error: str, says: str) -> None:
    assert says in explain("b", "a", error) and error in explain("b", "a", error)


def test_a_better_way_that_is_passed_over_is_told():
    ways = Ways({"backup": "no ssh", "dump": "", "clone": "MySQL's"})
    assert ways.best(10**9) == "dump"
    assert ways.passed_over("dump", 10**9) == "backup: no ssh"
    assert Ways({"backup": "", "dump": ""}).passed_over("backup", 10**9) == ""
    assert "too little data" in Ways({"backup": "", "dump": ""}).passed_over("dump", 10)


def test_a_way_that_is_only_taken_when_asked_for():
    ways = Ways({"backup": "", "dump": ""}, {"backup": "it blocks commits"})
    assert ways.best(10**9) == "dump"
    assert ways.passed_over("dump", 10**9) == "backup: it blocks commits"
    assert Ways({"backup": "", "dump": "MyISAM"}, {"backup": "slow"}).best(10**9) == "backup"


def _old(name: str, number: int, **more: Any) -> ServerSetup:
    old = {"version": "5.6.24-log", **more.pop("variables", {})}
    return server(name, number, mysql=True, variables=old, **more)


def test_what_is_lost_with_mysql_5_6_is_said() -> None:
    new = server("b", 2, mysql=True, variables={"version": "5.7.29"})
    said = "\n".join(together.notes({"a": _old("a", 1), "b": new}, "a"))
    assert "there is no way back: it cannot follow b" in said
    assert "restart, and cannot be had there" not in said
    said = "\n".join(together.notes(
        {"a": _old("a", 1, variables={"gtid_mode": "OFF"}), "b": _old("b", 2)}, "a"))
    assert "a: GTIDs take a restart" in said and "no way back" not in said
    assert "b: administrators (SUPER) can write there although it is read-only" in said
    plain = server("a", 1, mysql=True, variables={"version": "5.7.29"})
    assert not [n for n in together.notes({"a": plain, "b": new}, "a") if "one way" in n]


def test_mysql_5_6_is_refused_in_a_pair_and_below_or_above_others() -> None:
    old, new = _old("a", 1), server("b", 2, mysql=True, variables={"version": "5.7.29"})
    assert refusals(old, new, ring=False) == ""
    assert refusals(old, _old("b", 2), ring=False) == ""
    assert "a: MySQL 5.6.24 is too old" in refusals(old, new)
    assert "a: MySQL 5.6.24 is too old" in refusals(old, _old("b", 2))
    assert "older than b" in refusals(new, old, ring=False)
    far = server("b", 2, mysql=True)
    assert "from one series to the next only" in refusals(old, far, ring=False)


def test_what_is_read_after_our_file_counts() -> None:
    own = {"read_only": "ON", "log_bin": "bin", "max_allowed_packet": "16777216", "server_id": "2"}
    then = {"read_only": "1", "log_bin": "mysql-bin", "max_allowed_packet": "16M", "server_id": "2"}
    assert list(settings.read_after(own, then)) == []
    then |= {"read_only": "OFF", "log_bin": "OFF", "max_allowed_packet": "1M"}
    assert list(settings.read_after(own, then)) == [
        ("read_only", "OFF"), ("log_bin", "OFF"), ("max_allowed_packet", "1M")]
    assert list(settings.read_after({"server_id": "2"}, {})) == [("server_id", "")]


def test_appliers_below_a_mysql_5_6() -> None:
    def found(version: str, **more: str) -> list[tuple[str, str, str, How]]:
        both = {s.name: s for s in (
            server("old", 1, mysql=True, variables={"version": version}),
            server("new", 2, mysql=True, variables={"version": "5.7.29", **more}))}
        return [(f.server, f.name, f.wanted, f.how) for f in settings.faults(both)]

    many = {"slave_parallel_workers": "8", "slave_parallel_type": "LOGICAL_CLOCK"}
    assert found("5.6.24", **many) == [("new", "slave_parallel_workers", "0", How.NOW)]
    for fine in ({}, {"slave_parallel_workers": "8", "slave_parallel_type": "DATABASE"},
                 {**many, "slave_parallel_workers": "0"}):
        assert found("5.6.24", **fine) == []
    assert found("5.7.29", **many) == []
