"""`check` sees on real servers, before anything is touched, what would stop a switchover later."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pymysql
import pytest
from tests.operations.test_locks import locked
from tests.rules.builder import WISH
from tests.servers.command import slackwater
from tests.servers.fixtures import app_session, sql
from tests.servers.patience import PATIENCE, eventually
from tests.servers.replica import add_replica

from slackwater import config
from slackwater.facts.pair import PairSeen
from slackwater.lab.facts import LabFacts
from slackwater.operations.look import look
from slackwater.operations.pair_world import PairWorld
from slackwater.rules import guardrails

pytestmark = [pytest.mark.servers, pytest.mark.one_flavour]


def reasons(lab: LabFacts, *words: str) -> list[str]:
    """Why `check` says that a switchover would be refused."""
    said = slackwater(lab, "check", *words)
    assert (said.code, said.report["outcome"]) in ((0, "done"), (1, "refused")), said
    found: list[str] = said.report["refusals"]
    assert said.code == (1 if found else 0)
    return found


@contextlib.contextmanager
def configured(lab: LabFacts, old: str, new: str) -> Iterator[None]:
    """Another text in slackwater.toml meanwhile."""
    path = Path(lab.config)
    whole = path.read_text()
    assert old in whole
    path.write_text(whole.replace(old, new))
    try:
        yield
    finally:
        path.write_text(whole)


def runtime(lab: LabFacts, command: str) -> str:
    """A command to the balancer's runtime API."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(lab.balancers["lb1"]["runtime"].removeprefix("unix:"))
        link.sendall(command.encode() + b"\n")
        return link.recv(4096).decode()


def test_a_balancer_that_has_another_address_of_the_passive_server(lab: LabFacts) -> None:
    assert reasons(lab) == []
    address = lab.servers["b"]["address"]
    host, _, port = str(address).rpartition(":")
    runtime(lab, f"set server pair/b addr {host} port 1")
    wrong = f"balancer lb1 has server b at {host}:1, but slackwater.toml at {address}"
    [reason] = reasons(lab)
    assert reason.startswith(wrong)
    status = slackwater(lab, "status")
    assert (status.code, status.report["agree"], status.report["active"]) == (1, False, None)
    assert any(d.startswith(wrong) for d in status.report["disagreements"])
    runtime(lab, f"set server pair/b addr {host} port {port}")
    with configured(lab, f'"{address}"', f'"localhost:{port}"'):
        assert reasons(lab) == [], "a name that stands for it too"
    file = Path(lab.balancers["lb1"]["config_file"])
    file.write_text(file.read_text().replace(f" b {address} ", f" b {host}:1 "))
    [reason] = reasons(lab)
    assert reason.startswith(f"the file of balancer lb1 has server b at {host}:1, but")


def test_status_tells_of_clients_that_wait_though_nothing_is_held(lab: LabFacts) -> None:
    host, _, port = str(lab.balancers["lb1"]["frontend"]).rpartition(":")
    runtime(lab, "set maxconn server pair/a 1")
    with socket.create_connection((host, int(port))) as first:
        first.recv(4096)  # its greeting: it is the one that is let in
        with socket.create_connection((host, int(port))):
            status = slackwater(lab, "status")
    assert (status.code, status.report["waiting"]) == (1, [
        "1 client(s) wait at balancer lb1, and nothing is held: a has 1 of the 1 sessions that "
        "this balancer gives it at once"
    ])
    runtime(lab, "set maxconn server pair/a 140")
    status = slackwater(lab, "status")
    assert (status.code, status.report["waiting"]) == (0, [])


def test_an_account_that_the_passive_server_lacks(lab: LabFacts) -> None:
    make = "SET sql_log_bin = 0", "CREATE USER shop@'10.%' IDENTIFIED BY 'x'"
    with contextlib.closing(pymysql.connect(
            unix_socket=str(lab.servers["a"]["socket"]), user="root")) as session:
        for statement in make:
            session.cursor().execute(statement)
    [reason] = reasons(lab)
    assert reason.startswith("b has no account shop, which a has")


def test_an_account_that_is_shut_on_the_passive_server_alone(lab: LabFacts) -> None:
    def on(server: str, statement: str) -> None:
        with contextlib.closing(pymysql.connect(
                unix_socket=str(lab.servers[server]["socket"]), user="root")) as session:
            session.cursor().execute("SET sql_log_bin = 0")
            session.cursor().execute(statement)

    for server in ("a", "b"):
        on(server, "CREATE USER shop@'10.%' IDENTIFIED BY 'x'")
    assert reasons(lab) == []
    for statement, why in (("PASSWORD EXPIRE", "expired"), ("ACCOUNT LOCK", "locked")):
        on("b", f"ALTER USER shop@'10.%' {statement}")
        [reason] = reasons(lab)
        assert reason.startswith(f"b: the account shop@10.% is {why} there, and not on a: who")
        on("a", f"ALTER USER shop@'10.%' {statement}")
        assert reasons(lab) == [], "nothing that the switchover would change"
        on("a", "ALTER USER shop@'10.%' IDENTIFIED BY 'x' ACCOUNT UNLOCK")


def test_a_full_server_is_looked_at_by_its_last_place(lab: LabFacts) -> None:
    with contextlib.ExitStack() as crowd:
        root = crowd.enter_context(contextlib.closing(pymysql.connect(
            unix_socket=str(lab.servers["b"]["socket"]), user="root")))
        root.cursor().execute("SET GLOBAL max_connections = 20")
        address = str(lab.servers["b"]["address"])
        with pytest.raises(pymysql.err.OperationalError, match="Too many connections"):
            for _ in range(20):
                crowd.enter_context(contextlib.closing(app_session(lab, address)))
        assert any(r.startswith("b has 21 of 20 connections in use") for r in reasons(lab))
        status = slackwater(lab, "status")
        assert (status.code, status.report["active"], status.report["agree"]) == (0, "a", True)
        assert status.report["servers"]["b"]["threads_connected"] == 21


def test_a_transaction_left_prepared_on_the_passive_server(lab: LabFacts) -> None:
    with contextlib.closing(pymysql.connect(
            unix_socket=str(lab.servers["b"]["socket"]), user="root")) as session:
        for statement in ("SET sql_log_bin = 0", "CREATE TABLE mysql.xa (i INT) ENGINE=InnoDB",
                          "XA START 'x'", "INSERT INTO mysql.xa VALUES (1)", "XA END 'x'",
                          "XA PREPARE 'x'"):
            session.cursor().execute(statement)
    assert reasons(lab) == ["b has 1 prepared XA transaction(s): XA RECOVER lists them"]


def test_databases_that_the_binary_log_leaves_out(lab: LabFacts) -> None:
    a = lab.instance("a")
    a.stop()
    replace(a, extra=(*a.extra, "--binlog-ignore-db=mysql", "--binlog-ignore-db=log")).start(
        60 * PATIENCE)
    sql(a.socket, "SET GLOBAL read_only = 0")

    def said() -> list[str]:
        found = reasons(lab)
        return found if not any("I/O thread" in r for r in found) else []

    [reason] = eventually(said, "replication from a")
    assert reason.startswith("a leaves databases out of its binary log (Binlog_Ignore_DB = mysql,l")


def test_a_replica_that_hears_late_and_a_channel_beside_the_pairs(lab: LabFacts) -> None:
    replica = add_replica(lab, "c", "a")
    try:
        assert reasons(lab) == []
        for statement in ("STOP SLAVE", "CHANGE MASTER TO MASTER_DELAY = 600", "START SLAVE"):
            sql(replica.socket, statement)
        [reason] = eventually(lambda: reasons(lab), "the delay")
        assert reason.startswith("replica c is a delayed replica (by 600 s): a row would not")
    finally:
        replica.remove()
    with configured(lab, 'replicas = ["c"]\n', ""):
        sql(lab.servers["a"]["socket"], "CHANGE MASTER 'other' TO MASTER_HOST = '127.0.0.1'")
        [reason] = reasons(lab)
        assert reason.startswith("a: its other channel, 'other' from 127.0.0.1:3306, does not")
        sql(lab.servers["a"]["socket"], "RESET SLAVE 'other' ALL")
        sql(lab.servers["b"]["socket"], "SET GLOBAL require_secure_transport = ON")
        [reason] = reasons(lab)
        assert reason.startswith("b: require_secure_transport is on, and not on a: clients without")


def test_another_slackwater_and_a_state_directory_that_cannot_be(lab: LabFacts) -> None:
    with locked(lab, "b", "slackwater"):
        assert reasons(lab) == ["another slackwater works on this pair (its lock is on b)"]
        assert slackwater(lab, "status").report["agree"], "it only looks"

    async def seen() -> PairSeen:
        world = PairWorld(config.load(lab.config), "lab")
        try:
            return await look(world)
        finally:
            await world.close()

    file = Path(lab.balancers["lb1"]["config_file"])
    state = Path(lab.config).parent / "state"
    with configured(lab, f'"{state}"', f'"{file}/state"'):
        found = asyncio.run(seen())
    assert list(guardrails.it_can_be_recorded(found, WISH)) == [
        f"cannot write in the state directory {file}/state: {file} is not a directory: set [state] "
        "directory in slackwater.toml, or run as a user that may write there"
    ]


def test_check_takes_what_the_switchover_takes(lab: LabFacts) -> None:
    with contextlib.closing(app_session(lab, lab.servers["a"]["address"])):
        [reason] = reasons(lab)
        assert "connected past the balancers" in reason
        assert reasons(lab, "--settle-bypassing", "--hold", "2", "--grace", "1") == []
    assert slackwater(lab, "check", "--hold", "1", "--grace", "2").code == 64
    file = Path(lab.balancers["lb1"]["config_file"])
    file.write_text(file.read_text().replace("timeout queue 60s", "timeout queue 6s"))
    assert reasons(lab) == []
    [reason] = reasons(lab, "--hold", "7")
    assert "`timeout queue` is 6 s" in reason and "in a hold of 7 s" in reason


def test_an_address_at_which_nobody_answers(lab: LabFacts) -> None:
    """slackwater comes in by the socket, and would knock there in the middle of the hold."""
    address = str(lab.servers["a"]["address"])
    host = address.rpartition(":")[0]
    with configured(lab, f'"{address}"', f'"{host}:1"'):
        said = reasons(lab)
    assert any(r.startswith(f"a does not answer at its address {host}:1, though") for r in said)


def test_a_main_file_of_the_balancer_that_haproxy_does_not_take(lab: LabFacts) -> None:
    main, owned = (Path(lab.balancers["lb1"][key]) for key in ("main_config", "config_file"))
    files = set(owned.parent.iterdir())
    with configured(lab, f'"{main}"', f'"{main}.not"'):
        [reason] = reasons(lab)
    assert reason.startswith("balancer lb1: its file could not be written after the switchover: "
                             f"haproxy -c -f {main}.not")
    main.write_text(main.read_text() + "    no-such-word\n")
    said = slackwater(lab, "switchover")
    assert (said.code, said.report["outcome"]) == (1, "refused"), said
    assert "unknown keyword 'no-such-word'" in said.report["reasons"][0]
    assert set(owned.parent.iterdir()) == files, "nothing is left of the check"


def test_who_may_write_past_read_only_by_a_role_is_a_refusal(lab: LabFacts) -> None:
    """MariaDB: also by one that was granted to another."""
    for statement in (
        "CREATE ROLE dba", "CREATE ROLE boss", "GRANT ALL ON *.* TO dba", "GRANT dba TO boss",
        "CREATE ROLE clerk", "GRANT SELECT ON *.* TO clerk", "GRANT clerk TO app@'127.0.0.1'",
    ):
        sql(lab.servers["a"]["socket"], statement)
    with contextlib.closing(app_session(lab, lab.balancers["lb1"]["frontend"])):
        assert reasons(lab) == []
        sql(lab.servers["a"]["socket"], "GRANT boss TO app@'127.0.0.1'")
        assert any("app is connected and may write in spite of read_only" in r
                   for r in reasons(lab))
