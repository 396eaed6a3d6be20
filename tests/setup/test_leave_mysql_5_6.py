"""MySQL 5.6, by `pair setup`, as the source of a 5.7 (the way off it) or of another 5.6: and what
is lost with it, and refused."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from pathlib import Path
from typing import Any

import pymysql
import pytest
from tests.servers.fixtures import eventually
from tests.setup import full
from tests.setup.file_server import FileServer
from tests.setup.scene import Scene, scene
from tests.setup.stories import equal, killed_at, many, named, verified
from tests.setup.writes import Writes

from slackwater.errors import OutsideError
from slackwater.facts.server import ServerAddress
from slackwater.lab.instance import Instance, Program
from slackwater.outside.mysql.session import Session

pytestmark = pytest.mark.servers
WAY_OUT = "docs/howto/leave-mysql-5.6.md"
# The lab's servers have more, with which a 5.7 below a 5.6 stops now and then (error 1755).
ONE_APPLIER = ("--slave-parallel-workers=0",)


@pytest.fixture
def old() -> Program:
    """MySQL 5.6, which `make setup` does not get: an old package, of one person."""
    return named("mysql-5.6")


def _fill(made: Scene, name: str) -> None:
    """As `full.fill`, but for what 5.6 has not: JSON and generated columns."""
    made.sql(name, "SET GLOBAL sql_mode = ''")
    statements = list(full.STATEMENTS)
    statements.insert(-6, full.VIEW)
    for statement in statements:
        made.sql(name, statement.replace(" j JSON,", " j LONGTEXT,").replace(
            "gen INT AS (ti + 1) STORED", "gen INT"))
    for row in full.ROWS:
        columns, marks = ", ".join(row) or "id", ", ".join(["%s"] * len(row)) or "NULL"
        made.sql(name, f"INSERT INTO shop.kinds ({columns}) VALUES ({marks})", *row.values())
    made.sql(name, "INSERT INTO shop.kinds (da, dt) VALUES ('0000-00-00', '2020-00-00 00:00:00')")


def _compared(made: Scene) -> int:
    return made.run("pair", "compare").returncode


@pytest.mark.parametrize("replica", ["mysql-5.7", "mysql-5.6"])
def test_a_full_source_gets_a_replica(old: Program, replica: str, place: Path) -> None:
    with scene(old, place, source=True, others=named(replica), extra=ONE_APPLIER) as made:
        _fill(made, "a")
        plan = made.run("pair", "setup", "--plan")
        assert plan.returncode == 0, plan.stdout + plan.stderr
        assert "one way only" in plan.stdout and WAY_OUT in plan.stdout
        assert "there is no super_read_only" in plan.stdout
        assert ("there is no way back: it cannot follow b" in plan.stdout) is (
            replica == "mysql-5.7")
        assert "MySQL 5.6.24 has no clone plugin" in plan.stdout
        assert made.sql("b", "SHOW DATABASES LIKE 'shop'") == []
        with Writes(made.servers["a"].socket) as writes:
            eventually(lambda: writes.acked > 20, "writes under way")
            said = made.setup()
        assert not writes.failed
        assert said["proved"] == ["a to b"] and said["copied"]["b"]["method"] == "dump"
        verified(made)
        here, there = full.contents(made, "a"), full.contents(made, "b")
        if replica == "mysql-5.7":  # which shows no hash there; that the login works counts
            here.pop("grants")
            there.pop("grants")
        assert here == there
        _account_works(made, "a")
        _account_works(made, "b")
        assert _compared(made) == 0
        again = made.setup()  # what is right is left alone
        assert [p["operation"] for p in again["parts"]] == ["pair-setup"]
        # What the application does with accounts goes over too.
        made.sql("a", "CREATE USER late@localhost IDENTIFIED BY 'one-Aa1'")
        made.sql("a", "SET PASSWORD FOR late@localhost = PASSWORD('two-Aa1')")
        made.sql("a", "GRANT SELECT ON shop.* TO other@localhost IDENTIFIED BY 'three-Aa1'")
        verified(made)
        if replica == "mysql-5.7":
            made.sql("b", "SET GLOBAL super_read_only = 0")
        made.sql("b", "DELETE FROM shop.child")  # by root, though it is read-only
        assert _compared(made) == 1
        if replica == "mysql-5.7":  # the how-to's last steps
            made.sql("a", "SET GLOBAL read_only = 1")
            made.sql("b", "STOP SLAVE")
            made.sql("b", "RESET SLAVE ALL")
            made.sql("b", "SET GLOBAL read_only = 0")
            made.sql("b", "INSERT INTO shop.log (n) VALUES (9)")


def _account_works(made: Scene, name: str) -> None:
    """The password of an account of the application is what it was."""
    hashes = {row["h"] for row in made.sql(
        name, "SELECT {} AS h FROM mysql.user WHERE User = 'app'".format(
            "Password" if made.servers[name].program.version < (5, 7, 0)
            else "authentication_string"))}
    wanted = {row["h"] for row in made.sql("a", "SELECT PASSWORD('secret-Aa1') AS h")}
    assert hashes == wanted


def test_from_a_server_as_it_was_installed(old: Program, place: Path) -> None:
    """No GTIDs, no binary log: written to its file; restarted as long as nobody is connected."""
    with scene(old, place, source=True, others=named("mysql-5.7"), ids=(7, 7),
               kind=FileServer) as made:
        made.write(source=True, server_lines={
            n: [f'config_dir = "{s.directory / "conf.d"}"'] for n, s in made.servers.items()})
        made.sql("a", "CREATE DATABASE shop")
        made.sql("a", "CREATE TABLE shop.t (n INT PRIMARY KEY)")
        made.sql("a", "INSERT INTO shop.t VALUES (1), (2)")
        made.sql("b", "SET GLOBAL slave_parallel_workers = 8")
        made.sql("b", "SET GLOBAL slave_parallel_type = 'LOGICAL_CLOCK'")
        plan = made.run("pair", "setup", "--plan")
        assert "a: GTIDs take a restart" in plan.stdout and "1786, 1787, 1785" in plan.stdout
        link = made.servers["a"]
        with _client(link):
            refused = made.refusals()
            assert "a has to be restarted for log_bin = bin" in refused
            assert "not restarted behind the gate" in refused
        assert made.setup()["outcome"] == "done"
        ours = (link.directory / "conf.d/zz-slackwater.cnf").read_text()
        for line in ("gtid_mode = ON", "enforce_gtid_consistency = ON", "log_bin = bin",
                     "log_slave_updates = ON", "read_only = ON"):
            assert line in ours
        assert "super_read_only" not in ours  # with it, it would not start
        theirs = (made.servers["b"].directory / "conf.d/zz-slackwater.cnf").read_text()
        assert "slave_parallel_workers = 0" in theirs
        assert made.sql("b", "SELECT @@slave_parallel_workers AS n") == [{"n": 0}]
        verified(made)
        assert _compared(made) == 0


def _client(server: Instance) -> contextlib.closing[Any]:
    """An application that is connected."""
    setup = pymysql.connect(unix_socket=str(server.socket), user="root")
    with setup.cursor() as cursor:
        cursor.execute("CREATE USER app@localhost")
    setup.close()
    return contextlib.closing(pymysql.connect(unix_socket=str(server.socket), user="app"))


def test_killed_under_way_the_same_command_ends_verified(old: Program, place: Path) -> None:
    with scene(old, place, source=True, others=named("mysql-5.7"), extra=ONE_APPLIER) as made:
        many(made)
        for step in ("CopyData.b", "Follow.b"):
            assert killed_at(made, step)
        assert made.setup()["outcome"] == "done"
        verified(made)
        equal(made)


def test_its_tls_is_not_used_unasked(old: Program, place: Path) -> None:
    """5.7.29 cannot speak it: replication would fail once the data is copied."""
    certificate, key = place / "tls.crt", place / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a", "-days", "2",
         "-out", certificate, "-keyout", place / "new.key"], check=True, capture_output=True)
    subprocess.run(  # in the format of then
        ["openssl", "rsa", "-traditional", "-in", place / "new.key", "-out", key], check=True,
        capture_output=True)
    key.chmod(0o644)
    with scene(old, place, source=True, others=named("mysql-5.7"),
               extra=(*ONE_APPLIER, f"--ssl-cert={certificate}", f"--ssl-key={key}")) as made:
        plan = made.run("pair", "setup", "--plan")
        assert "its TLS is used only where" in plan.stdout and "over TLS" not in plan.stdout
        assert made.setup()["proved"] == ["a to b"]
        at = made.servers["a"]
        asyncio.run(_login_by_network(ServerAddress("a", "root", "", "127.0.0.1", at.port)))


async def _login_by_network(at: ServerAddress) -> None:
    """It gets so far as to be told who it is: no TLS that fails is in the way."""
    with pytest.raises(OutsideError, match=r"cannot log in as root: .*1045|Access denied"):
        await Session.open(at)


def test_what_is_refused(old: Program, place: Path) -> None:
    """A pair, its switchover, failover and rejoin, a held restart; `status` and `check` answer."""
    with scene(old, place, source=True, others=named("mysql-5.7"), extra=ONE_APPLIER) as made:
        made.sql("b", "SET GLOBAL slave_parallel_workers = 8")
        assert "does not write what LOGICAL_CLOCK reads" in made.refusals()
        made.sql("b", "SET GLOBAL slave_parallel_workers = 0")
        made.setup()
        assert "held restart" not in made.run("restart", "b", "--plan").stdout
        done = made.run("restart", "a")
        assert done.returncode == 1 and WAY_OUT in done.stdout, done.stdout + done.stderr
        made.write()  # the same two as a pair
        why = "a: MySQL 5.6.24 is too old: slackwater needs at least 5.7.8"
        status = made.run("status")
        assert "MySQL 5.6.24" in status.stdout and "Traceback" not in status.stderr
        for words in (["check"], ["switchover", "--plan"], ["failover", "--plan"],
                      ["pair", "setup", "--plan"]):
            done = made.run(*words)
            assert done.returncode == 1 and why in done.stdout, (words, done.stdout, done.stderr)
            assert WAY_OUT in done.stdout


def test_a_replica_older_than_its_source_is_refused(old: Program, place: Path) -> None:
    with scene(named("mysql-5.7"), place, source=True, others=old) as made:
        said = made.refusals()
        assert "b is MySQL 5.6.24, older than a" in said
        assert "it would stop at the first statement that it does not know" in said


def test_a_replica_two_series_newer_is_refused(old: Program, place: Path) -> None:
    with scene(old, place, source=True, others=named("mysql-9.7")) as made:
        said = made.refusals()
        assert "from one series to the next only" in said and WAY_OUT in said


def test_what_the_plan_says_is_lost(old: Program, place: Path) -> None:
    """The server's own words for it."""
    with scene(old, place, 1, source=True) as made:
        run = made.sql
        run("a", "CREATE DATABASE m")
        with pytest.raises(Exception, match="1786"):
            run("a", "CREATE TABLE m.t AS SELECT 1 AS n")
        with pytest.raises(Exception, match="1238"):
            run("a", "SET GLOBAL gtid_mode = OFF")
        for name in ("super_read_only", "max_execution_time"):
            assert run("a", f"SHOW GLOBAL VARIABLES LIKE '{name}'") == []
        with pytest.raises(Exception, match="1146"):
            run("a", "SELECT 1 FROM performance_schema.events_transactions_current")
        took = "SELECT GET_LOCK('one', 0), GET_LOCK('two', 0), IS_USED_LOCK('one') AS one"
        assert run("a", took)[0]["one"] is None
        run("a", "SET GLOBAL read_only = 1")
        run("a", "CREATE DATABASE past_read_only")  # root has SUPER
        for without in ("--skip-log-bin", "--skip-log-slave-updates"):
            server = Instance.create(old, place / without.strip("-"), server_id=9, mark=place,
                                     extra=(without,))
            try:
                with pytest.raises(OutsideError, match="did not start"):
                    server.start(60)
                log = (server.directory / "error.log").read_text(errors="replace")
                assert "requires --log-bin and --log-slave-updates" in log
            finally:
                server.remove()
