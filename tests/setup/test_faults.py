"""What stands in the way is found by looking, and each has its own words."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from tests.outside.real_sshd import sshd
from tests.servers.patience import PATIENCE, eventually
from tests.setup.scene import Scene, scene
from tests.setup.stories import journals, named, plugins, verified
from tests.setup.writes import Writes

from slackwater.lab import restart
from slackwater.lab.instance import Instance

pytestmark = pytest.mark.servers


def test_data_that_is_not_to_be_lost(place: Path) -> None:
    """A target with data, then errant transactions, then purged logs: what may be overwritten."""
    with scene(named("mariadb-10.11"), place) as made:
        for name in "ab":
            made.sql(name, "CREATE DATABASE shop")
            made.sql(name, "CREATE TABLE shop.t (id INT PRIMARY KEY)")
            made.sql(name, f"INSERT INTO shop.t VALUES ({ord(name)})")
        assert "say which one takes writes with --active" in made.refusals()
        said = made.refusals("--active", "a")
        assert "b has data (shop) that did not come from a" in said and "--overwrite b" in said
        assert made.sql("b", "SELECT id FROM shop.t") == [{"id": ord("b")}]
        made.setup("--active", "a", "--overwrite", "b")
        assert made.sql("b", "SELECT id FROM shop.t") == [{"id": ord("a")}]
        verified(made)
        _purged(made)
        _errant(made)


def _purged(made: Scene) -> None:
    """The source no longer has what the target needs."""
    made.sql("b", "STOP ALL SLAVES")
    made.sql("a", "STOP ALL SLAVES")
    made.sql("a", "INSERT INTO shop.t VALUES (1)")
    made.sql("a", "FLUSH BINARY LOGS")
    newest = made.sql("a", "SHOW BINARY LOGS")[-1]["Log_name"]
    made.sql("a", "INSERT INTO shop.t VALUES (2)")
    made.sql("a", f"PURGE BINARY LOGS TO '{newest}'")
    said = made.refusals()
    assert "binary log no longer has" in said and "--overwrite b" in said
    made.setup("--overwrite", "b")
    verified(made)


def _errant(made: Scene) -> None:
    """The target has what the source never had: not even by name."""
    made.sql("b", "STOP ALL SLAVES")
    made.sql("a", "STOP ALL SLAVES")
    made.sql("b", "SET GLOBAL read_only = 0")
    made.sql("b", "SET GLOBAL gtid_strict_mode = 0")
    made.sql("b", "INSERT INTO shop.t VALUES (99)")
    made.sql("b", "SET GLOBAL gtid_strict_mode = 1")
    made.sql("b", "SET GLOBAL read_only = 1")
    for more in ((), ("--overwrite", "b")):
        said = made.refusals("--active", "a", *more)
        assert "b has transactions that a has not" in said and "might be ahead" in said
    assert made.sql("b", "SELECT id FROM shop.t WHERE id = 99")


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
def test_the_roles_of_a_pair_in_use_are_not_swapped(name: str, place: Path) -> None:
    """Neither while it replicates nor while it does not; the one that takes writes may be named."""
    with scene(named(name), place) as made:
        made.sql("a", "CREATE DATABASE shop")
        made.setup("--active", "a")
        with Writes(made.servers["a"].socket) as writes:
            eventually(lambda: writes.acked > 5, "writes under way")
            assert "a takes writes now, and b replicates from it" in made.refusals("--active", "b")
            made.sql("b", "STOP SLAVE" if "maria" in name else "STOP REPLICA")
            assert "`slackwater switchover`" in made.refusals("--active", "b")
            assert not journals(made)[2:], "something was begun"
            made.sql("b", "SET GLOBAL read_only = 0")  # as one that crashed may come back
            made.setup("--active", "a")
            after = writes.acked
            eventually(lambda: writes.acked > after, "writes that go on afterwards")
        assert not writes.failed
        verified(made)


def test_gtids_of_another_server_with_the_same_id(place: Path) -> None:
    """The source is made anew: nothing tells, so `pair compare` has to, and it is said."""
    with scene(named("mariadb-10.11"), place, source=True) as made:
        _shop(made, 1, 5)
        old = made.servers["a"]
        host, _, port = old.address.rpartition(":")
        made.sql("a", f"CREATE USER old@'{host}'")
        made.sql("a", f"GRANT REPLICATION SLAVE ON *.* TO old@'{host}'")
        made.sql("b", f"CHANGE MASTER TO MASTER_HOST = '{host}', MASTER_PORT = {port}, MASTER_USER"
                      " = 'old', MASTER_USE_GTID = slave_pos")
        made.sql("b", "START SLAVE")
        position = "SELECT @@gtid_binlog_pos AS p"
        eventually(lambda: made.sql("b", position) == made.sql("a", position), "all of it on b")
        made.sql("b", "STOP SLAVE")
        made.sql("b", "RESET SLAVE ALL")
        old.remove()
        made.servers["a"] = Instance.create(old.program, place / "a", server_id=1, mark=place)
        made.servers["a"].start(60 * PATIENCE)
        made.write(source=True)
        _shop(made, 101, 160)
        said = made.run("pair", "setup", "--plan").stdout
        assert "b: it has no channel from a, and nothing but its GTIDs says" in said
        done = made.run("pair", "setup")
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("b: whether its data is that of its source `slackwater pair compare` tells: it has "
                "no channel from a") in " ".join(done.stdout.split())
        assert made.sql("b", "SELECT MIN(id) AS n FROM shop.t") == [{"n": 1}], "it was copied"
        assert "no channel" not in made.run("pair", "setup").stdout, "it has one now"


def _shop(made: Scene, first: int, last: int) -> None:
    """Each row a transaction."""
    made.sql("a", "CREATE DATABASE shop")
    made.sql("a", "CREATE TABLE shop.t (id INT PRIMARY KEY)")
    for number in range(first, last + 1):
        made.sql("a", f"INSERT INTO shop.t VALUES ({number})")


def test_settings_that_it_may_not_change(place: Path) -> None:
    """Without config_dir: the wrong settings are named, with what to write, and nothing is done."""
    with scene(named("mariadb-10.11"), place, ids=(5, 5), extra=("--skip-log-bin",)) as made:
        said = made.refusals()
        assert "b: server_id is 5, should be 1" in said and "throw the other's changes away" in said
        assert "log_bin is OFF" in said and "write config_dir below [servers.b]" in said
        # A filter, a port that nobody can reach, a replica that is older than its source.
        made.sql("b", "SET GLOBAL replicate_do_db = 'shop'")
        assert "b: a replication filter is set (replicate_do_db = shop)" in made.refusals()


def test_what_set_persist_left_overrules_every_file(place: Path) -> None:
    """It is read after all option files: the passive would come back open for writes."""
    with scene(named("mysql-9.7"), place) as made:
        made.sql("b", "SET PERSIST read_only = OFF")
        made.sql("b", "SET PERSIST sync_binlog = 100")
        made.sql("a", "SET PERSIST_ONLY innodb_flush_log_at_trx_commit = 2")
        made.sql("a", "SET PERSIST max_connections = 200")
        said = made.refusals()
        assert "b: read_only = OFF was set with SET PERSIST" in said
        assert "should be ON: a server that crashed and comes back would accept writes" in said
        assert "RESET PERSIST sync_binlog" in said and "max_connections" not in said
        assert "a: innodb_flush_log_at_trx_commit = 2 was set with SET PERSIST" in said
        for server, name in (("b", "read_only"), ("b", "sync_binlog"),
                             ("a", "innodb_flush_log_at_trx_commit")):
            made.sql(server, f"RESET PERSIST {name}")
        assert "PERSIST" not in made.run("pair", "setup", "--plan").stdout


def test_why_the_better_copy_is_not_made(place: Path) -> None:
    """The plan says which means is used and why not a better one, which is refused by name."""
    with scene(named("mariadb-10.11"), place) as made:
        made.sql("a", "CREATE DATABASE shop")
        made.sql("a", "CREATE TABLE shop.t (id INT PRIMARY KEY)")
        text = made.config.read_text()
        lines = text.splitlines()
        at = [n for n, line in enumerate(lines) if line.startswith("restart = ")][-1]
        made.config.write_text("\n".join(lines[:at] + lines[at + 1:]))
        said = made.run("pair", "setup", "--plan")
        assert said.returncode == 0, said.stdout + said.stderr
        words = " ".join(said.stdout.split())
        assert "b: dump is used for the copy; backup: the target restarts into the copy" in words
        assert "does not say how b is restarted" in made.refusals("--method", "backup")
        assert "it is MySQL's" in made.refusals("--method", "clone")


def test_a_plugin_that_is_not_installed(place: Path) -> None:
    """Found by looking, before the target is closed."""
    empty = place / "plugins"
    empty.mkdir(mode=0o755)
    with scene(named("mysql-9.7"), place, extra=[f"--plugin-dir={empty}"]) as made:
        made.sql("a", "CREATE DATABASE shop")
        made.sql("a", "CREATE TABLE shop.t (id INT PRIMARY KEY)")
        said = made.refusals("--method", "clone")
        assert f"a has no clone plugin: there is no {empty}/mysql_clone.so" in said
        assert not made.sql("a", "SELECT 1 FROM information_schema.PLUGINS"
                                 " WHERE PLUGIN_NAME = 'clone'")


def test_a_port_that_cannot_be_reached(place: Path) -> None:
    """slackwater comes in by the socket; the replica would come by the network."""
    with scene(named("mariadb-10.11"), place) as made:
        text = made.config.read_text()
        made.config.write_text(text.replace(made.servers["a"].address, "127.0.0.1:9"))
        done = made.run("pair", "setup")
        assert done.returncode != 0
        assert "b has to reach a at 127.0.0.1:9" in done.stderr + done.stdout
        assert "firewalls" in done.stderr + done.stdout


def test_an_account_that_is_not_let_in(place: Path) -> None:
    """A replication account with another password is set right again."""
    with scene(named("mariadb-10.11"), place) as made:
        made.setup()
        for name in "ab":
            made.sql(name, "STOP ALL SLAVES")
        (account,) = made.sql("a", "SELECT User AS u, Host AS h FROM mysql.user"
                                   " WHERE User = 'repl' AND Host = '127.0.0.1'")
        name = f"'{account['u']}'@'{account['h']}'"
        made.sql("a", f"SET PASSWORD FOR {name} = PASSWORD('other')")
        made.sql("b", "START ALL SLAVES")
        eventually(lambda: "denied" in made.sql("b", "SHOW SLAVE STATUS")[0]["Last_IO_Error"],
                   "the refusal of the source")
        # The other password is replicated to b too, behind what is done there at first.
        said = made.setup()
        assert "MakeAccounts.a" in str(said["parts"][0]["steps"])
        verified(made)


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
def test_cut_off_while_the_row_of_the_proof_is_on_its_way(name: str, place: Path) -> None:
    """Ctrl-C, or kill -9 and the same command again: the row on the passive alone is no reason to
    take the passive for a server that might be ahead."""
    with scene(named(name), place) as made:
        made.sql("a", "CREATE DATABASE shop")
        made.sql("a", "CREATE TABLE shop.t (id INT PRIMARY KEY)")
        made.setup()
        for how in (signal.SIGINT, signal.SIGKILL):
            _forget_replication(made)
            with _held_in_the_proof(made) as process:
                process.send_signal(how)
                said, _ = process.communicate(timeout=60 * PATIENCE)
                if how == signal.SIGINT:
                    assert json.loads(said.splitlines()[-1])["outcome"] == "undone", said
            assert made.setup()["outcome"] == "done"
            verified(made)


def _forget_replication(made: Scene) -> None:
    word = "SLAVE" if made.servers["a"].program.is_mariadb else "REPLICA"
    for server in "ab":
        made.sql(server, f"STOP {word}")
        made.sql(server, f"RESET {word} ALL")


@contextlib.contextmanager
def _held_in_the_proof(made: Scene) -> Iterator[subprocess.Popen[str]]:
    """A set-up whose row has been written on b, and does not arrive on a."""
    number = "SELECT number FROM slackwater.canary WHERE road = 'setup of b'"
    before, it = made.sql("b", number), made.servers["a"]
    word = "SLAVE" if it.program.is_mariadb else "REPLICA"
    script = made.place / "stop.py"
    script.write_text(f"import pymysql\nlink = pymysql.connect(unix_socket={str(it.socket)!r},"
                      f" user='root')\nlink.cursor().execute('STOP {word} SQL_THREAD')\n")
    stop = f"{sys.executable} {script}"
    process = subprocess.Popen(
        made.words("pair", "setup", "--json"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env={**os.environ, "SLACKWATER_INJECT": f"run:ProveReplication:{stop}"})
    try:
        eventually(lambda: made.sql("b", number) != before, "the row on b")
        assert made.sql("a", number) == before
        yield process
    finally:
        process.kill()
        process.communicate()


def test_accounts_of_a_passive_that_keeps_administrators_out(place: Path) -> None:
    """Missing ones are made, and a password that is another one is set anew; it stays closed."""
    with scene(named("mysql-9.7"), place) as made:
        made.setup()
        closed = "SELECT @@GLOBAL.read_only + @@GLOBAL.super_read_only AS n"
        assert made.sql("b", closed) == [{"n": 2}]
        users = "SELECT User, Host, Grant_priv FROM mysql.user ORDER BY 1, 2"
        before = made.sql("b", users)
        _apart(made, "DROP USER repl@'127.0.0.1'",
               "ALTER USER slackwater@'localhost' IDENTIFIED BY 'other'")
        assert made.setup()["outcome"] == "done"
        assert made.sql("b", users) == before
        assert made.sql("b", closed) == [{"n": 2}]
        verified(made)
        _denied(made)


def test_cut_off_between_a_clone_and_what_follows_it(place: Path) -> None:
    """kill -9 as the target starts with the clone: the same command again has its events be off,
    and unloads the plugin that was loaded for it."""
    program = named("mysql-9.7")
    with scene(program, place, extra=plugins(program, place, "mysql_clone")) as made:
        made.sql("a", "CREATE DATABASE shop")
        made.sql("a", "CREATE TABLE shop.t (id INT PRIMARY KEY)")
        made.sql("a", "CREATE EVENT shop.e ON SCHEDULE EVERY 1 DAY DO DELETE FROM shop.t")
        text, b = made.config.read_text(), made.servers["b"].directory
        real, begun = restart.command(b), place / "begun"
        once = place / "restart"  # the server shuts down to be started with the clone
        once.write_text(f"#!/bin/sh\n{real} || exit\n[ -e {begun} ] && exit\n>{begun}\n"
                        "kill -KILL $(cat $0.pid)\n")
        once.chmod(0o755)
        made.config.write_text(text.replace(f'restart = "{real}"', f'restart = "{once}"'))
        words = made.words("pair", "setup", "--json", "--method", "clone")
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        Path(f"{once}.pid").write_text(str(process.pid))
        assert process.wait(90 * PATIENCE) == -signal.SIGKILL
        on = "SELECT STATUS AS s FROM information_schema.EVENTS"
        eventually(lambda: made.sql("b", on) == [{"s": "ENABLED"}], "the clone on b")
        said = made.setup()
        assert "SettleClone.b" in str(said["parts"][-1]["steps"])
        assert made.sql("a", on) == [{"s": "ENABLED"}]
        assert "DISABLED" in made.sql("b", on)[0]["s"]
        for name in "ab":
            assert not made.sql(name, "SELECT 1 FROM information_schema.PLUGINS"
                                      " WHERE PLUGIN_NAME = 'clone'"), f"left loaded on {name}"
        verified(made)
        assert "SettleClone" not in str(made.setup())


CLOSED = "SELECT @@GLOBAL.read_only + @@GLOBAL.super_read_only AS n"
ROWS = "SELECT COUNT(*) AS n FROM shop.t"


@pytest.mark.parametrize("kept_out", [False, True])
def test_a_clone_that_fails(kept_out: bool, place: Path) -> None:
    """The source does not let the target in: it stays as closed as it was, so nobody writes what
    the next run throws away. That one clones, and needs to be told nothing."""
    program = named("mysql-9.7")
    with scene(program, place, extra=plugins(program, place, "mysql_clone")) as made:
        _to_be_copied(made, kept_out=kept_out)
        said = _copy_fails(made, "clone", "ALTER USER repl@'127.0.0.1' ACCOUNT LOCK")
        assert "Access denied for user 'repl'" in str(said["reasons"])
        assert made.sql("b", CLOSED) == [{"n": 1 + kept_out}]
        assert made.sql("b", ROWS) == [{"n": 0}]
        made.sql("a", "ALTER USER repl@'127.0.0.1' ACCOUNT UNLOCK")
        said = made.setup("--method", "clone")
        assert said["copied"]["b"]["method"] == "clone"
        assert made.sql("b", ROWS) == [{"n": 2}]
        verified(made)


def test_a_clone_plugin_that_cannot_be_loaded(place: Path) -> None:
    """Nothing of the target's data is touched, and it is said so."""
    program = named("mysql-9.7")
    with scene(program, place, extra=plugins(program, place, "mysql_clone")) as made:
        _to_be_copied(made, kept_out=True)
        said = _copy_fails(made, "clone", "INSTALL PLUGIN clone SONAME 'mysql_clone.so'",
                           f"rm {place}/plugins/mysql_clone.so")
        assert "b does not load the clone plugin, so the data of b is not touched" in str(
            said["reasons"])
        assert "once it is marked as a copy" in str(said["stays"])
        assert not made.sql("b", "SELECT 1 FROM information_schema.TABLES"
                                 " WHERE TABLE_SCHEMA = 'slackwater' AND TABLE_NAME = 'copying'")
        assert made.sql("b", CLOSED) == [{"n": 2}]


def test_a_dump_that_fails(place: Path) -> None:
    """A target that kept administrators out does so again."""
    with scene(named("mysql-9.7"), place) as made:
        _to_be_copied(made, kept_out=True)
        said = _copy_fails(made, "dump", "ALTER USER root@localhost ACCOUNT LOCK")
        assert "locked" in str(said["reasons"])
        assert made.sql("b", CLOSED) == [{"n": 2}]


def _to_be_copied(made: Scene, *, kept_out: bool) -> None:
    """b has data, and the source's binary log no longer has what it needs."""
    made.sql("a", "CREATE DATABASE shop")
    made.sql("a", "CREATE TABLE shop.t (id INT PRIMARY KEY)")
    made.setup()
    for name in "ba":
        made.sql(name, "STOP REPLICA")
        made.sql(name, "RESET REPLICA ALL")
    made.sql("a", "INSERT INTO shop.t VALUES (1)")
    made.sql("a", "FLUSH BINARY LOGS")
    made.sql("a", "INSERT INTO shop.t VALUES (2)")
    newest = made.sql("a", "SHOW BINARY LOGS")[-1]["Log_name"]
    made.sql("a", f"PURGE BINARY LOGS TO '{newest}'")
    made.sql("b", f"SET GLOBAL super_read_only = {int(kept_out)}")


def _copy_fails(
    made: Scene, method: str, statement: str, command: str = "true"
) -> dict[str, Any]:
    """A set-up that as it begins to copy finds the source after a statement; what it said."""
    script = made.place / "change.py"
    script.write_text(f"import pymysql\nlink = pymysql.connect(unix_socket="
                      f"{str(made.servers['a'].socket)!r}, user='root')\n"
                      f"link.cursor().execute({statement!r})\n")
    words = ("--active", "a", "--overwrite", "b", "--method", method)
    done = subprocess.run(
        made.words("pair", "setup", "--json", *words), check=False, text=True,
        capture_output=True, timeout=90 * PATIENCE, env={
            **os.environ,
            "SLACKWATER_INJECT": f"run:CopyData.b:{sys.executable} {script} && {command}"})
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert said["outcome"] == "undone", said
    return said


def _apart(made: Scene, *statements: str) -> None:
    """On b alone, as a person does it who knows how."""
    at = str(made.servers["b"].socket)
    with pymysql.connect(unix_socket=at, user="root") as link, link.cursor() as cursor:
        for each in ("SET GLOBAL super_read_only = 0", "SET SESSION sql_log_bin = 0", *statements,
                     "SET GLOBAL super_read_only = 1"):
            cursor.execute(each)


def _denied(made: Scene) -> None:
    """It is found when the source begins to replicate from it."""
    _apart(made, "ALTER USER repl@'127.0.0.1' IDENTIFIED BY 'other'")
    made.sql("a", "STOP REPLICA")
    made.sql("a", "RESET REPLICA ALL")
    assert made.setup()["outcome"] == "done"
    verified(made)


def test_a_host_key_that_is_another_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine of a server answers SSH with a key that is not the known one."""
    home = place / "home"
    home.mkdir()
    with scene(named("mariadb-10.11"), place) as made, sshd(home, monkeypatch) as host:
        # A server with `ssh` is another machine's: the administrator comes by the network.
        made.sql("b", "CREATE USER root@'127.0.0.1'")
        made.sql("b", "GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION")
        lines = {"b": [f'ssh = "{host.destination}"', f'config_dir = "{place}"']}
        made.write(server_lines=lines)
        known = home / ".ssh/known_hosts"
        port = host.destination.rpartition(":")[2]
        other = (home / ".ssh/id_ed25519.pub").read_text()
        known.write_text(f"[127.0.0.1]:{port} {other}")
        said = made.refusals()
        assert "b: " in said and "host key" in said
