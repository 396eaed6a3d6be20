"""`pair setup` on real servers: from nothing, from a full source, again, and after being killed."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.servers.patience import PATIENCE, eventually
from tests.setup import full
from tests.setup.file_server import FileServer
from tests.setup.scene import Scene, scene
from tests.setup.writes import Writes

from slackwater.lab.instance import Program, installed

pytestmark = pytest.mark.servers
QUICK = ("mariadb-10.11", "mysql-9.7")
STEPS = ("MakeAccounts.b", "LockServers", "CloseTarget.b", "Detach.b", "CopyData.b", "CopyData.b",
         "Follow.b", "Follow.a", "SetRoles", "ProveReplication")


def named(name: str) -> Program:
    found = [p for p in installed() if p.name == name]
    if not found:
        pytest.skip(f"no {name}; see scripts/servers/get")
    return found[0]


def verified(made: Scene, source: str = "a") -> None:
    """Only the source takes writes, and what is written there arrives everywhere, with its id."""
    made.sql(source, "CREATE DATABASE IF NOT EXISTS probe")
    made.sql(source, "CREATE TABLE IF NOT EXISTS probe.p (n INT)")
    made.sql(source, "INSERT INTO probe.p VALUES (1)")
    count = "SELECT COUNT(*) AS n FROM probe.p"
    want = made.sql(source, count)
    for name in made.servers:
        on = bool(made.sql(name, "SELECT @@GLOBAL.read_only AS r")[0]["r"])
        assert on is (name != source), f"{name}: read_only is {on}"
        eventually(lambda n=name: _there(made, n) and made.sql(n, count) == want,
                   f"the row of {source} on {name}")


def _there(made: Scene, name: str) -> bool:
    return bool(made.sql(name, "SELECT 1 FROM information_schema.TABLES"
                               " WHERE TABLE_SCHEMA = 'probe' AND TABLE_NAME = 'p'"))


@pytest.mark.parametrize("name", QUICK)
def test_from_a_full_source(name: str, place: Path) -> None:
    """Everything is on the copy as it is on the source: all types, programs, accounts; and every
    write that was acknowledged meanwhile, once."""
    with scene(named(name), place) as made:
        full.fill(made, "a")
        before = made.sql("a", "SHOW DATABASES")
        plan = made.run("pair", "setup", "--plan", "--json")
        assert plan.returncode == 0, plan.stderr
        assert json.loads(plan.stdout)["targets"][0]["means"] == "the data is copied"
        assert made.sql("a", "SHOW DATABASES") == before, "--plan touched something"
        with Writes(made.servers["a"].socket) as writes:
            eventually(lambda: writes.acked > 20, "writes under way")
            said = made.setup()
            after = writes.acked
            eventually(lambda: writes.acked > after, "writes that go on afterwards")
        assert not writes.failed and said["copied"]["b"]["rows"] > 10
        print(f"{name}: the longest of {writes.acked} writes took {writes.longest_ms:.1f} ms; the"
              f" lock for the snapshot lasted {said['copied']['b']['source_locked_ms']} ms")
        count = "SELECT COUNT(*) AS n, MAX(n) AS last FROM shop.written"
        want = [{"n": writes.acked, "last": writes.acked}]
        assert made.sql("a", count) == want
        eventually(lambda: made.sql("b", count) == want, "all of them on b")
        assert full.contents(made, "b") == full.contents(made, "a")
        event = made.sql("b", "SHOW EVENTS FROM shop")[0]
        assert "SLAVE" in event["Status"].upper() or "REPLICA" in event["Status"].upper()
        verified(made)


def test_killed_at_any_step_the_same_command_ends_verified(place: Path) -> None:
    """SIGKILL as a step begins, or some milliseconds into it; then the same command again.

    `make matrix` does so at every step, on every server.
    """
    with scene(named("mariadb-10.11"), place) as made:
        full.fill(made, "a")
        made.sql("a", "CREATE TABLE shop.many (id INT AUTO_INCREMENT PRIMARY KEY, v CHAR(200))")
        made.sql("a", "INSERT INTO shop.many (v) VALUES ('x'), ('y'), ('z'), ('w')")
        for _ in range(12):
            made.sql("a", "INSERT INTO shop.many (v) SELECT v FROM shop.many")
        want = full.contents(made, "a")
        assert killed_at(made, "CopyData.b")
        assert killed_at(made, random.choice(("Follow.b", "Follow.a", "ProveReplication")))
        assert made.setup()["outcome"] == "done"
        assert full.contents(made, "b") == want
        sums = [made.sql(n, "CHECKSUM TABLE shop.many") for n in "ab"]
        assert sums[0] == sums[1]
        verified(made)


def killed_at(made: Scene, step: str) -> bool:
    """Begin, and kill it once that step has begun; False when it ended without it."""
    process = subprocess.Popen(
        made.words("pair", "setup", "--json"), stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "started" and event.get("step") == step:
                try:
                    process.wait(random.choice((0, 0.02, 0.15)))
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                return process.wait(20 * PATIENCE) == -signal.SIGKILL
        return False
    finally:
        process.kill()
        process.wait(20 * PATIENCE)
        process.stderr.close()


def test_by_the_clone_plugin(place: Path) -> None:
    """MySQL's own copy of everything: the target restarts into it, and replicates both ways."""
    program = named("mysql-9.7")
    theirs = program.base / "lib/mysql/plugin/mysql_clone.so"
    if not theirs.exists():
        pytest.skip("no mysql_clone.so")
    plugins = place / "plugins"  # the server's own account cannot look into the cache
    plugins.mkdir(mode=0o755)
    shutil.copy(theirs, plugins)
    with scene(program, place, extra=[f"--plugin-dir={plugins}"]) as made:
        full.fill(made, "a")
        said = made.setup("--method", "clone")
        assert said["copied"]["b"]["method"] == "clone"
        assert full.contents(made, "b") == full.contents(made, "a")
        for name in "ab":
            loaded = made.sql(name, "SELECT 1 FROM information_schema.PLUGINS"
                                    " WHERE PLUGIN_NAME = 'clone'")
            assert not loaded, f"the clone plugin is left on {name}"
        verified(made)


@pytest.mark.parametrize("name", QUICK)
def test_settings_go_into_one_file_and_the_servers_are_restarted(name: str, place: Path) -> None:
    """Two empty servers as they are after installation, with the same id and no binary log, become
    a verified pair; the same command again changes nothing."""
    with scene(named(name), place, ids=(7, 7), kind=FileServer) as made:
        lines = {n: [f'config_dir = "{s.directory / "conf.d"}"'] for n, s in made.servers.items()}
        made.write(server_lines=lines)
        plan = json.loads(made.run("pair", "setup", "--plan", "--json").stdout)
        wrong = {(f["server"], f["name"]) for f in plan["faults"]}
        assert ("b", "server_id") in wrong and ("a", "server_id") not in wrong
        assert all(f["why"] for f in plan["faults"])
        before = {n: (s.directory / "conf.d/50-server.cnf").read_text()
                  for n, s in made.servers.items()}
        said = made.setup()
        assert said["outcome"] == "done" and said["proved"] == ["a to b", "b to a"]
        operations = [p["operation"] for p in said["parts"]]
        assert operations[0] == "pair-settings" and operations[-1] == "pair-setup"
        for n, server in made.servers.items():
            conf = server.directory / "conf.d"
            assert (conf / "50-server.cnf").read_text() == before[n]
            ours = (conf / "zz-slackwater.cnf").read_text()
            assert "read_only = ON" in ours
            values = made.sql(n, "SELECT @@GLOBAL.log_bin AS l, @@GLOBAL.sync_binlog AS s,"
                                 " @@GLOBAL.binlog_format AS f")[0]
            assert values == {"l": 1, "s": 1, "f": "ROW"}
        verified(made)
        again = made.setup()  # changes nothing
        assert [p["operation"] for p in again["parts"]] == ["pair-setup"]
        steps = [s["name"] for s in again["steps"]]
        assert steps == ["LockServers", "SetRoles", "ProveReplication"]
