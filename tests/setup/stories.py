"""What `pair setup` has to do on any server. The tests tell them of one server or two, and
`make matrix` of all."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pymysql
import pytest
from tests.servers.patience import PATIENCE, eventually
from tests.setup import full
from tests.setup.file_server import FileServer
from tests.setup.scene import Scene, scene
from tests.setup.writes import Writes

from slackwater.lab.instance import Instance, Program, installed
from slackwater.outside.mysql.setup import MAKE_MARKER, MARKER

STEPS = ("MakeAccounts.b", "LockServers", "CloseTarget.b", "Detach.b", "CopyData.b", "CopyData.b",
         "Follow.b", "CatchUp.b", "Follow.a", "SetRoles", "ProveReplication")
MANY = 2**14  # rows of shop.many


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


def full_source(program: Program, place: Path) -> None:
    """Everything is on the copy as it is on the source: all types, programs, accounts; and every
    write that was acknowledged meanwhile, once."""
    with scene(program, place) as made:
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
        assert said["copied"]["b"]["pace"]["slowest_answer_ms"] > 0, "nobody asked the source"
        print(f"{program.name}: the longest of {writes.acked} writes took"
              f" {writes.longest_ms:.1f} ms; the lock for the snapshot lasted"
              f" {said['copied']['b']['source_locked_ms']} ms")
        count = "SELECT COUNT(*) AS n, MAX(n) AS last FROM shop.written"
        want = [{"n": writes.acked, "last": writes.acked}]
        assert made.sql("a", count) == want
        eventually(lambda: made.sql("b", count) == want, "all of them on b")
        assert full.contents(made, "b") == full.contents(made, "a")
        event = made.sql("b", "SHOW EVENTS FROM shop")[0]
        assert "SLAVE" in event["Status"].upper() or "REPLICA" in event["Status"].upper()
        verified(made)


def journals(made: Scene) -> list[Path]:
    """Of all operations so far, the last one last."""
    return sorted((made.place / "state").glob("*.jsonl"))


def begun(made: Scene, step: str, known: Sequence[Path], process: subprocess.Popen[str]) -> bool:
    """Wait until a step has begun, in a journal that is not `known`; False when the process ended
    without it. The journal has it at once: what is told comes some steps later, in batches."""
    while process.poll() is None:
        written = "\n".join(j.read_text() for j in journals(made) if j not in known)
        if any('"started"' in line and f'"{step}"' in line for line in written.splitlines()):
            return True
        time.sleep(0.001)
    return False


def killed_at(
    made: Scene, step: str, *words: str, later: Sequence[float] = (0, 0.02, 0.15)
) -> bool:
    """Begin, and kill it once that step has begun; False when it ended without it."""
    known = journals(made)
    process = subprocess.Popen(
        made.words("pair", "setup", "--json", *words), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, text=True)
    try:
        if begun(made, step, known, process):
            try:
                process.wait(random.choice(later))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        return process.wait(20 * PATIENCE) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait(20 * PATIENCE)


def by_the_clone_plugin(program: Program, place: Path) -> None:
    """MySQL's own copy of everything: the target restarts into it, and replicates both ways."""
    with scene(program, place, extra=plugins(program, place, "mysql_clone")) as made:
        full.fill(made, "a")
        said = made.setup("--method", "clone")
        assert said["copied"]["b"]["method"] == "clone"
        assert full.contents(made, "b") == full.contents(made, "a")
        for name in "ab":
            loaded = made.sql(name, "SELECT 1 FROM information_schema.PLUGINS"
                                    " WHERE PLUGIN_NAME = 'clone'")
            assert not loaded, f"the clone plugin is left on {name}"
        verified(made)


def by_mariadb_backup(program: Program, place: Path) -> None:
    """Everything is on the copy, and every write that was acknowledged meanwhile, once; of the data
    that the target had before nothing is left."""
    with scene(program, place) as made:
        can_backup(made)
        full.fill(made, "a")
        made.sql("a", "CREATE TABLE shop.old_engine (n INT) ENGINE=MyISAM")
        made.sql("a", "INSERT INTO shop.old_engine VALUES (1), (2)")
        made.sql("b", "CREATE DATABASE forgotten")
        made.sql("b", "CREATE TABLE forgotten.t (n INT)")
        (made.servers["b"].directory / "data/own.pem").write_text("a key of b's")
        with Writes(made.servers["a"].socket) as writes:
            eventually(lambda: writes.acked > 20, "writes under way")
            said = made.setup("--active", "a", "--method", "backup", "--overwrite", "b")
            after = writes.acked
            eventually(lambda: writes.acked > after, "writes that go on afterwards")
        copied = said["copied"]["b"]
        print(f"{program.name}: the longest of {writes.acked} writes took"
              f" {writes.longest_ms:.1f} ms; commits were blocked for"
              f" {copied['source_locked_ms']} ms")
        assert copied["pace"]["slowest_answer_ms"] > 0, "nobody asked the source"
        assert copied["method"] == "backup" and copied["source_locked_ms"] > 0
        assert not writes.failed
        count = "SELECT COUNT(*) AS n, MAX(n) AS last FROM shop.written"
        want = [{"n": writes.acked, "last": writes.acked}]
        assert made.sql("a", count) == want
        eventually(lambda: made.sql("b", count) == want, "all of them on b")
        assert full.contents(made, "b") == full.contents(made, "a")
        assert made.sql("b", "SELECT n FROM shop.old_engine ORDER BY n") == [{"n": 1}, {"n": 2}]
        assert "SLAVE" in made.sql("b", "SHOW EVENTS FROM shop")[0]["Status"].upper()
        verified(made)
        left_nothing(made)
        data = made.servers["b"].directory / "data"
        assert (data / "own.pem").read_text() == "a key of b's"
        assert not (data / "forgotten").exists()


def can_backup(made: Scene) -> None:
    """Skips where there is no mariadb-backup of the servers' version."""
    if not made.servers["a"].program.is_mariadb:
        pytest.skip("mariadb-backup is MariaDB's")
    said = made.run("pair", "setup", "--plan", "--json", "--active", "a",
                    "--method", "backup", "--overwrite", "b")
    if "no mariadb-backup" in said.stdout or "mariadb-backup on" in said.stdout:
        pytest.skip("no mariadb-backup of this version; see scripts/servers/get")


# Who is killed in which step of a copy of files; "": slackwater.
KILLS = (("", "StreamBackup.b"), ("a", "StreamBackup.b"), ("", "UseBackup.b"),
         ("b", "StreamBackup.b"), ("b", "UseBackup.b"), ("", "DropReplaced.b"))


def backup_killed(
    program: Program, place: Path, kills: Sequence[tuple[str, str]] = KILLS
) -> str:
    """SIGKILL of slackwater, of the target and of the source in the copy of files, and as it is put
    in its place; each time the same command again goes on, and in the end all is verified. Returns
    how each ended."""
    ended: list[str] = []
    with scene(program, place) as made:
        can_backup(made)
        many(made)
        words = ["--method", "backup", "--limit-rate", "15"]
        for victim, step in kills:
            if ended and ended[-1].endswith("done"):
                _unfinished(made)
            ended.append(f"{victim or 'slackwater'} in {step}: "
                         + _killed_in(made, victim, step, words))
            if victim:
                Instance.load(made.servers[victim].directory).start(60 * PATIENCE)
            if victim == "b":  # killed at the very end; no file here says so at its start
                made.sql("b", "SET GLOBAL read_only = 1")
        said = made.setup(*words)
        assert said["outcome"] == "done"
        verified(made)
        equal(made)
        left_nothing(made)
    return ", ".join(ended)


def _unfinished(made: Scene) -> None:
    """Have b look as one whose copy was cut off."""
    for statement in (*MAKE_MARKER, f"REPLACE INTO {MARKER} VALUES (1, 'a', 'before')"):
        made.sql("b", f"SET STATEMENT sql_log_bin = 0 FOR {statement}")


def _killed_in(made: Scene, victim: str, step: str, words: list[str]) -> str:
    """One run that is killed, or one of whose servers is, some moments into a step."""
    known = journals(made)
    process = subprocess.Popen(made.words("pair", "setup", "--json", *words), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        if begun(made, step, known, process):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(random.choice((0.02, 0.2, 0.6, 1.5)))
            if not victim:
                process.send_signal(signal.SIGKILL)
            else:
                Instance.load(made.servers[victim].directory).kill()
        said, _ = process.communicate(timeout=200 * PATIENCE)
        last = said.splitlines()[-1] if said else ""
        return str(json.loads(last)["outcome"]) if last else "killed"
    finally:
        process.kill()
        process.communicate(timeout=20 * PATIENCE)


def left_nothing(made: Scene) -> None:
    """No directory of a copy's is left beside a data directory."""
    left = [p.name for s in made.servers.values() for p in s.directory.glob("*.slackwater-*")]
    assert not left


def settings_in_one_file(program: Program, place: Path) -> None:
    """Two empty servers as they are after installation, with the same id and no binary log, become
    a verified pair; the same command again changes nothing."""
    with scene(program, place, ids=(7, 7), kind=FileServer) as made:
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


def settings_overruled(program: Program, place: Path) -> None:
    """What other option files say behind slackwater's would count after a restart: found before it
    is believed, on the first run and on a later one; and so is a directory that nobody reads."""
    with scene(program, place, kind=FileServer) as made:
        unread = place / "unread"
        unread.mkdir()
        lines = {n: [f'config_dir = "{s.directory / "conf.d"}"'] for n, s in made.servers.items()}
        made.write(server_lines=lines | {"b": [f'config_dir = "{unread}"']})
        undone = made.run("pair", "setup", "--json")
        assert undone.returncode == 2, undone.stdout + undone.stderr
        assert f"b: the server does not read {unread}/zz-slackwater.cnf" in undone.stdout
        assert not list(unread.iterdir())
        made.write(server_lines=lines)
        behind = made.servers["b"].directory / "my.cnf"
        before = behind.read_text()
        behind.write_text(f"{before}[mysqld]\nskip-read-only\n")
        undone = made.run("pair", "setup", "--json")
        assert undone.returncode == 2, undone.stdout + undone.stderr
        ours = made.servers["b"].directory / "conf.d/zz-slackwater.cnf"
        assert (f"b: read_only = OFF would overrule {ours}, which says ON: take it out of {behind}"
                in undone.stdout)
        assert not ours.exists()
        behind.write_text(before)
        made.setup()
        behind.write_text(f"{before}[mysqld]\nskip-read-only\n")
        assert f"b: read_only = OFF would overrule {ours}" in made.refusals()


def plugins(program: Program, place: Path, *names: str) -> list[str]:
    """Options by which a server finds these plugins; skips where there are none."""
    folder = place / "plugins"  # the server's own account cannot look into the cache
    folder.mkdir(mode=0o755)
    for name in names:
        theirs = program.base / f"lib/mysql/plugin/{name}.so"
        if not theirs.exists():
            pytest.skip(f"no {name}.so")
        shutil.copy(theirs, folder)
    return [f"--plugin-dir={folder}"]


def many(made: Scene) -> None:
    """A table that takes a while to copy."""
    made.sql("a", "CREATE DATABASE shop")
    made.sql("a", "CREATE TABLE shop.many (id INT AUTO_INCREMENT PRIMARY KEY, v CHAR(250))")
    made.sql("a", "INSERT INTO shop.many (v) VALUES "
                  + ", ".join(f"(REPEAT('{chr(97 + n % 26)}', 250))" for n in range(128)))
    for _ in range(7):
        made.sql("a", "INSERT INTO shop.many (v) SELECT v FROM shop.many")


def servers_killed(program: Program, place: Path) -> None:
    """SIGKILL of the target, then of the source, in the middle of the copy; each time the server
    comes back, and the same command again begins anew; nothing is lost, and it ends verified."""
    with scene(program, place) as made:
        many(made)
        for victim in ("b", "a"):
            said = _killed_under_way(made, victim)
            assert said["outcome"] == "undone", said
            assert "marked as a copy that was cut off" in str(said["stays"])
            assert "pair setup` again" in said["next"]
            made.servers[victim].start(60 * PATIENCE)
            assert made.sql("b", "SELECT source FROM slackwater.copying") == [{"source": "a"}]
        said = made.setup()
        assert said["copied"]["b"]["rows"] >= MANY
        verified(made)
        equal(made)
        assert compare(made)["equal"] is True


def _killed_under_way(made: Scene, victim: str) -> dict[str, Any]:
    """`pair setup --json`, one of whose servers dies when a part of the rows is there."""
    before = _marked(made)
    process = subprocess.Popen(
        made.words("pair", "setup", "--json", "--limit-rate", "0.5"), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: process.poll() is not None or _some(made, before),
                   "a part of the rows on the target", limit_s=60, every_s=0.05)
        if process.poll() is not None:
            raise AssertionError(f"it ended before anything was killed: {process.communicate()}")
        made.servers[victim].kill()
        said, _ = process.communicate(timeout=120 * PATIENCE)
        return dict(json.loads(said.splitlines()[-1]))
    finally:
        process.kill()
        process.communicate(timeout=20 * PATIENCE)


def _marked(made: Scene) -> list[dict[str, Any]]:
    there = made.sql("b", "SELECT 1 FROM information_schema.TABLES WHERE TABLE_NAME = 'copying'")
    return made.sql("b", "SELECT began FROM slackwater.copying") if there else []


def _some(made: Scene, before: list[dict[str, Any]]) -> bool:
    """Of this copy: one before left its rows too."""
    if _marked(made) in ([], before):
        return False
    try:
        return 0 < made.sql("b", "SELECT COUNT(*) AS n FROM shop.many")[0]["n"] < MANY
    except pymysql.Error:
        return False  # not made yet


def equal(made: Scene) -> None:
    """The rows of `many`, all of them and the same."""
    for name in "ab":
        assert made.sql(name, "SELECT COUNT(*) AS n FROM shop.many") == [{"n": MANY}]
    sums = [made.sql(n, "CHECKSUM TABLE shop.many") for n in "ab"]
    assert sums[0] == sums[1]


def compare(made: Scene, limit_s: float = 150) -> dict[str, Any]:
    """What `pair compare` says of a pair that was set up; it has to be let read everything."""
    mine = "SELECT Host AS h FROM mysql.user WHERE User = 'slackwater' AND Host = 'localhost'"
    account = f"slackwater@'{made.sql('a', mine)[0]['h']}'"
    made.sql("a", f"GRANT SELECT ON *.* TO {account}")
    eventually(lambda: any("SELECT" in str(line).split("ON *.*")[0] and "*.*" in str(line)
                           for row in made.sql("b", f"SHOW GRANTS FOR {account}")
                           for line in row.values()), "the grant on b")
    done = made.run("pair", "compare", "--json", limit_s=limit_s)
    assert done.stdout, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def semi_sync(program: Program, place: Path) -> None:
    """A commit waits for the other server; in the file too; and again changes nothing."""
    extra: list[str] = []
    words = ("master", "slave")
    if not program.is_mariadb:
        words = ("source", "replica") if program.version >= (8, 0, 26) else words
        extra = plugins(program, place, *(f"semisync_{w}" for w in words))
    with scene(program, place, extra=extra, pair_lines=["semi_sync = true"],
               kind=FileServer) as made:
        lines = {n: [f'config_dir = "{s.directory / "conf.d"}"'] for n, s in made.servers.items()}
        made.write(server_lines=lines, pair_lines=["semi_sync = true"])
        made.setup()
        verified(made)
        for name, server in made.servers.items():
            text = (server.directory / "conf.d/zz-slackwater.cnf").read_text()
            assert f"rpl_semi_sync_{words[0]}_wait_point = AFTER_SYNC" in text
            status = {r["Variable_name"].lower(): str(r["Value"]) for r in made.sql(
                name, "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync%'")}
            assert status[f"rpl_semi_sync_{words[0]}_status"] == "ON", (name, status)
            assert status[f"rpl_semi_sync_{words[1]}_status"] == "ON", (name, status)
            assert int(status[f"rpl_semi_sync_{words[0]}_clients"]) >= 1
        waited = f"Rpl_semi_sync_{words[0]}_yes_tx"
        before = int(made.sql("a", f"SHOW GLOBAL STATUS LIKE '{waited}'")[0]["Value"])
        made.sql("a", "INSERT INTO probe.p VALUES (2)")
        after = int(made.sql("a", f"SHOW GLOBAL STATUS LIKE '{waited}'")[0]["Value"])
        assert after > before, "the commit did not wait for b"
        steps = [s["name"] for s in made.setup()["steps"]]
        assert steps == ["LockServers", "SetRoles", "ProveReplication"]
