"""Snapshots of real servers on a real btrfs, under load: taken, booted, compared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually
from tests.snapshot import cli
from tests.snapshot.loop import mounted
from tests.snapshot.real import WANTED, Busy, Writer, config, running, writable

from slackwater.facts import gtid
from slackwater.facts.flavour import Flavour
from slackwater.lab.instance import Instance
from slackwater.lab.process import with_variable
from slackwater.operations.snapshot.look import _ENGINES as ENGINES
from slackwater.outside.process import ProcessId
from slackwater.outside.volumes import kernel_has

pytestmark = pytest.mark.servers
LATE = f"{20 * PATIENCE:g}s"


@pytest.fixture(scope="module", params=WANTED)
def it(request: pytest.FixtureRequest) -> Iterator[Instance]:
    """A server on a btrfs of its own."""
    with mounted("btrfs") as mount, running(request.param, mount) as server:
        config(server)
        (mount / "snaps").mkdir()
        yield server


def settings(it: Instance) -> tuple[str, Path]:
    return "--config", it.directory.parent / "slackwater.toml"


def snaps(it: Instance) -> Path:
    return it.directory.parent / "snaps"


def take(it: Instance, *more: str | Path) -> tuple[int, dict[str, Any]]:
    return cli.ask("snapshot", "take", *settings(it), "--within", LATE, *more)


def executed(it: Instance) -> str:
    name = "gtid_binlog_pos" if it.program.is_mariadb else "gtid_executed"
    return str(sql(it.socket, f"SELECT @@GLOBAL.{name} AS G")[0]["G"])


def test_an_exact_one_under_load(it: Instance) -> None:
    """InnoDB and MyISAM are written meanwhile; the copy is whole, and its position the recorded."""
    target = snaps(it) / "exact"
    with Writer(it) as one, Writer(it, "t.m") as two:
        one.wait_more()
        two.wait_more()
        acked = executed(it)  # all of it acknowledged
        code, said = take(it, "--method", "btrfs", "--to", target)
        assert (code, said["outcome"]) == (0, "done"), said
        assert said["coordinates"]["exact"]
        one.wait_more()
        assert (one.error, two.error) == (None, None)
    assert not (it.directory / "data/slackwater-snapshot.json").exists()
    assert (Path(said["path"]) / "slackwater-snapshot.json").exists()
    code, found = cli.ask("snapshot", "verify", said["snapshot"], *settings(it))
    assert code == 0, found
    assert found["position"] == "equal"
    assert found["can_seed"]
    assert found["tables"] > 3
    flavour = Flavour.parse(sql(it.socket, "SELECT VERSION() AS V")[0]["V"])
    assert gtid.parse(found["gtids"], flavour).contains(gtid.parse(acked, flavour))
    _, listed = cli.ask("snapshot", "list", *settings(it))
    assert listed["snapshots"][-1]["verified"]["can_seed"]


def test_without_a_lock(it: Instance) -> None:
    """All InnoDB on one volume: nobody waits; booting it gives the exact position."""
    sql(it.socket, "RENAME TABLE t.m TO mysql.sw_hidden")  # where the server's own tables are
    try:
        with Writer(it) as writer:
            writer.wait_more()
            code, said = take(it, "--method", "btrfs", "--to", snaps(it) / "none")
            assert code == 0, said
            assert not said["coordinates"]["exact"]
            writer.wait_more()
        code, found = cli.ask("snapshot", "verify", said["path"], *settings(it))
        assert code == 0, found
        assert found["position"] == "contains"
    finally:
        sql(it.socket, "RENAME TABLE mysql.sw_hidden TO t.m")


@pytest.fixture(scope="module")
def cheap() -> Iterator[Instance]:
    """One server, on btrfs, for what does not depend on the server."""
    with mounted("btrfs") as mount, running("mariadb-10.11", mount) as server:
        config(server)
        (mount / "snaps").mkdir()
        yield server


def test_plan_explains_the_lock(cheap: Instance) -> None:
    target = snaps(cheap) / "x"
    code, out, _ = cli.call("snapshot", *settings(cheap), "--method", "btrfs", "--to", target,
                            "--plan")
    assert code == 0
    assert "no crash recovery repairs (1 MyISAM)" in out
    assert not target.exists()
    code, said = cli.ask("snapshot", *settings(cheap), "--method", "btrfs", "--to", target,
                         "--plan", "--lock", "none")
    assert code == 1
    assert "not enough" in said["refusals"][0]


@pytest.mark.parametrize(("method", "says"), [
    ("lvm", "LVM needs" if not kernel_has("device-mapper") else "no logical volume"),
    ("zfs", "--atomic -- zfs snapshot")])
def test_what_cannot_be_here_says_why(cheap: Instance, method: str, says: str) -> None:
    """A clear no before anything is touched, whatever this machine's kernel has."""
    code, out, err = cli.call("snapshot", *settings(cheap), "--method", method, "--to", "/monday")
    assert code == 1
    assert says in out + err
    assert writable(cheap)
    assert not list((cheap.directory.parent / "state").glob("**/*monday*"))


def test_a_command_runs_under_the_lock(cheap: Instance, tmp_path: Path) -> None:
    """What it prints is kept; a write that it tries in the moment has to wait."""
    seen = tmp_path / "seen"
    code, said = cli.ask("snapshot", *settings(cheap), "--", "sh", "-c",
                         f"cp {cheap.directory}/data/slackwater-snapshot.json {seen}")
    assert code == 0, said
    assert json.loads(seen.read_text())["id"] == said["snapshot"]
    assert writable(cheap)


@pytest.mark.parametrize("command", ["exit 3", "sleep 60"])
def test_a_command_that_fails_or_hangs(cheap: Instance, command: str) -> None:
    code, said = take(cheap, "--limit", "1s", "--", "sh", "-c", command)
    assert (code, said["outcome"]) == (2, "undone")
    words = "exit code 3" if command == "exit 3" else "took longer than 1 s"
    assert words in said["reasons"][0]
    assert writable(cheap)
    assert not (cheap.directory / "data/slackwater-snapshot.json").exists()


def test_killed_while_the_command_runs(cheap: Instance, tmp_path: Path) -> None:
    """kill -9: the lock is gone at once, and recover cleans up."""
    started = tmp_path / "started"
    process = cli.begin("snapshot", *settings(cheap), "--", "sh", "-c",
                        f"echo $$ >{started}; exec sleep 60")
    try:
        eventually(lambda: started.exists() and started.read_text().strip(), "the command")
        assert not writable(cheap)
    finally:
        process.kill()
        cli.end(process)
    eventually(lambda: writable(cheap), "the end of the lock")
    code, out, err = cli.call("recover", *settings(cheap))
    assert code in (0, 2), out + err
    left = ProcessId.of(int(started.read_text()))
    assert left is None
    assert not (cheap.directory / "data/slackwater-snapshot.json").exists()


def test_a_lock_that_was_lost_is_not_a_snapshot(cheap: Instance) -> None:
    """The server ended it while the command ran."""
    kill = (f"for i in $(mariadb -N -u root -S {cheap.socket} -e \"SELECT ID FROM"
            " information_schema.PROCESSLIST WHERE USER='slackwater'\"); do"
            f" mariadb -u root -S {cheap.socket} -e \"KILL $i\"; done; true")
    code, said = take(cheap, "--", "sh", "-c", kill)
    assert code != 0
    assert any("not consistent" in r for r in said["reasons"]), said


def test_who_is_in_the_way(cheap: Instance) -> None:
    with Busy(cheap, "UPDATE t.m SET v = v + SLEEP(30) LIMIT 1"):
        code, said = cli.ask("snapshot", *settings(cheap), "--method", "btrfs", "--to",
                             snaps(cheap) / "never", "--within", "1s")
        assert code == 2, said
        assert "in the way" in said["reasons"][0]
    assert not (snaps(cheap) / "never").exists()
    assert writable(cheap)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_verify_that_is_ended_leaves_no_server(cheap: Instance, number: signal.Signals) -> None:
    """A signal cleans up; after kill -9 the server ends too, and what is left of the copy is named
    and removed by the next verify."""
    place = snaps(cheap) / f"cut{number}"
    place.mkdir()
    code, said = take(cheap, "--", "cp", "-a", f"{cheap.directory}/data", place / "copy")
    assert code == 0, said

    def servers() -> str:
        return subprocess.run(["pgrep", "-f", f"datadir={place}/.slackwater-verify-"], text=True,
                              capture_output=True, check=False, timeout=20).stdout

    process = cli.begin("snapshot", "verify", place / "copy", *settings(cheap))
    try:
        eventually(servers, "the private server", every_s=0.002)
    finally:
        process.send_signal(number)
        code, _, err = cli.end(process)
    eventually(lambda: not servers(), "the end of the private server")
    left = [str(p) for p in place.glob(".slackwater-verify-*")]
    assert cli.ask("snapshot", "list", *settings(cheap))[1]["left"] == left
    if number != signal.SIGKILL:
        assert (code, left) == (130, [])
        assert "interrupted" in err
        return
    assert len(left) == 1
    assert left[0] in cli.call("snapshot", "list", *settings(cheap))[1]
    assert cli.ask("snapshot", "verify", place / "copy", *settings(cheap))[0] == 0
    assert list(place.iterdir()) == [place / "copy"]


def test_a_damaged_copy_is_found(cheap: Instance) -> None:
    code, said = take(cheap, "--", "cp", "-a", f"{cheap.directory}/data", f"{snaps(cheap)}/bad")
    assert code == 0, said
    copy = snaps(cheap) / "bad"
    told = copy / "slackwater-snapshot.json"
    told.write_text(told.read_text().replace('"gtids": "0-', '"gtids": "9-1-1,0-'))
    code, found = cli.ask("snapshot", "verify", copy, *settings(cheap))
    assert code == 3
    assert found["position"] == "differs"
    (copy / "t/m.MYI").write_bytes(b"x" * 100)
    code, found = cli.ask("snapshot", "verify", copy, *settings(cheap))
    assert code == 3
    assert any("`t`.`m`" in f for f in found["faults"])


def test_no_table_is_left_unchecked(cheap: Instance) -> None:
    """Tables with system versioning, and those whose definition cannot be read, which a server
    lists without an engine."""
    sql(cheap.socket, "CREATE TABLE t.old (i INT) ENGINE=MyISAM WITH SYSTEM VERSIONING")
    sql(cheap.socket, "CREATE SEQUENCE t.seq")
    try:
        engines = {r["ENGINE"]: r["N"] for r in sql(cheap.socket, ENGINES)}
        assert engines["MyISAM"] == 2
        copy = snaps(cheap) / "unread"
        code, said = take(cheap, "--", "cp", "-a", f"{cheap.directory}/data", copy)
        assert code == 0, said
        code, before = cli.ask("snapshot", "verify", copy, *settings(cheap))
        assert code == 0, before
        (copy / "t/old.MYI").write_bytes(b"x" * 100)
        (copy / "t/x.frm").write_bytes(b"x" * 100)
        code, found = cli.ask("snapshot", "verify", copy, *settings(cheap))
        assert code == 3
        assert found["tables"] == before["tables"]
        assert {f.split(":")[0] for f in found["faults"]} == {"`t`.`old`", "`t`.`x`"}
    finally:
        sql(cheap.socket, "DROP TABLE t.old")
        sql(cheap.socket, "DROP SEQUENCE t.seq")


def test_prune_keeps_the_last_proven_one(cheap: Instance) -> None:
    names = []
    for each in ("p1", "p2", "p3"):
        code, said = take(cheap, "--method", "btrfs", "--to", snaps(cheap) / each)
        assert code == 0, said
        names.append(said["snapshot"])
    assert cli.ask("snapshot", "verify", names[0], *settings(cheap))[0] == 0
    code, _, err = cli.call("snapshot", "prune", names[0], *settings(cheap))
    assert code == 1
    assert "last of its server" in err
    code, said = cli.ask("snapshot", "prune", "--keep", "1", *settings(cheap))
    assert code == 0
    assert names[1] in said["removed"]
    assert names[0] not in said["removed"]
    assert [(snaps(cheap) / p).exists() for p in ("p1", "p2", "p3")] == [True, False, True]


def test_prune_removes_the_snapshot_that_is_meant_and_no_other(cheap: Instance) -> None:
    """Every night to the same path: what is there is the newest one's, whatever records say."""
    target, aside = snaps(cheap) / "latest", snaps(cheap) / "aside"
    names = []
    for night in range(2):
        if night:
            subprocess.run(["btrfs", "subvolume", "delete", target], check=True,
                           capture_output=True, timeout=60)
        code, said = take(cheap, "--method", "btrfs", "--to", target)
        assert code == 0, said
        names.append(said["snapshot"])
    known = [s["id"] for s in cli.ask("snapshot", "list", *settings(cheap))[1]["snapshots"]]
    assert names[0] not in known  # it was removed by somebody, and its place taken
    assert names[1] in known
    # Moved, and another put in its place:
    code, said = take(cheap, "--method", "btrfs", "--to", aside)
    assert code == 0, said
    subprocess.run(["btrfs", "subvolume", "delete", target], check=True, capture_output=True,
                   timeout=60)
    aside.rename(target)
    code, told = cli.ask("snapshot", "prune", names[1], *settings(cheap))
    assert code == 0
    assert said["snapshot"] in told["left"][names[1]]
    assert json.loads((target / "s/data/slackwater-snapshot.json").read_text())["id"] == (
        said["snapshot"])


def test_one_that_is_gone_protects_no_other(cheap: Instance) -> None:
    """The newest proven one was removed by hand: the one before is the last proven one now."""
    names = []
    for each in ("g1", "g2", "g3"):
        code, said = take(cheap, "--method", "btrfs", "--to", snaps(cheap) / each)
        assert code == 0, said
        names.append(said["snapshot"])
    for name in names[:2]:
        record = cheap.directory.parent / f"state/snapshots/{name}.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"verified": {"faults": []}}))
    subprocess.run(["btrfs", "subvolume", "delete", snaps(cheap) / "g2"], check=True,
                   capture_output=True, timeout=60)
    code, _ = cli.ask("snapshot", "prune", "--keep", "1", *settings(cheap))
    assert code == 0
    assert (snaps(cheap) / "g1").exists()


def test_tables_that_the_account_may_not_see(cheap: Instance) -> None:
    """A server hides them from who has no rights on them; a lock is needed all the same."""
    sql(cheap.socket, "CREATE USER IF NOT EXISTS poor@localhost IDENTIFIED BY 'x'")
    sql(cheap.socket, "GRANT RELOAD, PROCESS, REPLICATION CLIENT, SLAVE MONITOR ON *.*"
                      " TO poor@localhost")
    home = cheap.directory.parent
    (home / "poor").write_text("x")
    (home / "poor").chmod(0o600)
    file = home / "poor.toml"
    text = (home / "slackwater.toml").read_text()
    file.write_text(text.replace(str(home / "password"), str(home / "poor"))
                    .replace("[accounts.slackwater]", '[accounts.slackwater]\nuser = "poor"'))
    code, out, err = cli.call("snapshot", "--config", file, "--method", "btrfs", "--to",
                              snaps(cheap) / "poor", "--plan")
    assert code == 0, err
    assert "1 MyISAM" in out
    # and these rights are enough for the whole of it
    code, said = cli.ask("snapshot", "--config", file, "--method", "btrfs", "--to",
                         snaps(cheap) / "poor", "--within", LATE)
    assert code == 0, said
    assert said["coordinates"]["exact"]


@pytest.mark.parametrize("name", ["mariadb-11.8", "mysql-9.7"])
def test_reflink_on_xfs(name: str) -> None:
    """Under load, with and without a lock. (A replica from one: test_howto.)"""
    with mounted("xfs") as mount, running(name, mount) as server:
        config(server)
        (mount / "snaps").mkdir()
        with Writer(server) as one, Writer(server, "t.m") as two:
            one.wait_more()
            two.wait_more()
            code, said = take(server, "--method", "reflink", "--to", snaps(server) / "r")
            assert code == 0, said
            one.wait_more()
            two.wait_more()
            assert (one.error, two.error) == (None, None)
            code, found = cli.ask("snapshot", "verify", said["snapshot"], *settings(server))
            assert code == 0, found
            assert found["position"] == "equal"
        sql(server.socket, "DROP TABLE t.m")
        with Writer(server) as one:
            one.wait_more()
            code, said = take(server, "--method", "reflink", "--to", snaps(server) / "free")
            assert code == 0, said
            assert "locked_ms" not in said
            one.wait_more()
        code, found = cli.ask("snapshot", "verify", said["snapshot"], *settings(server))
        assert (code, found["position"]) == (0, "contains"), found


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
@pytest.mark.parametrize("where", ["elsewhere", "nowhere"])
def test_a_good_copy_without_a_binary_log_is_good(name: str, where: str) -> None:
    """Debian has it in another directory; another server writes none. The copy's size is nothing
    to compare, and what only the log tells is unknown, not different."""
    with mounted("btrfs") as mount:
        option = "--skip-log-bin" if where == "nowhere" else f"--log-bin={mount}/log/b"
        (mount / "log").mkdir(mode=0o777)
        (mount / "log").chmod(0o777)
        with running(name, mount, extra=(option,)) as server:
            config(server)
            sql(server.socket, "DROP TABLE t.m")
            method = ("--method", "reflink", "--to", mount / "r")
            code, said = take(server, *method, *(["--exact"] if where == "nowhere" else []))
            assert code == 0, said
            # A log that is not in the copy: no commit may be half done without it
            assert said["coordinates"]["exact"]
            assert bool(said["coordinates"]["binlog_file"]) == (where == "elsewhere")
            code, found = cli.ask("snapshot", "verify", said["path"], *settings(server))
            assert code == 0, found
            # MySQL keeps the GTIDs of its commits in InnoDB too.
            knows = name.startswith("mysql") and where == "elsewhere"
            assert (found["position"], found["can_seed"]) == (
                ("equal", True) if knows else ("unknown", False))


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
def test_redo_and_undo_elsewhere(name: str) -> None:
    """A copy of the data directory alone cannot be recovered: a clear no. A snapshot that has them
    too is booted with them."""
    with mounted("btrfs") as mount, running(name, mount) as server:
        config(server)
        (mount / "snaps").mkdir()
        server.stop()
        data, redo = server.directory / "data", mount / "redo"
        redo.mkdir()
        os.chown(redo, data.stat().st_uid, data.stat().st_gid)
        for file in [*data.glob("ib_logfile*"), *data.glob("#innodb_redo"), *data.glob("undo_0*")]:
            file.rename(redo / file.name)
        server.extra += (f"--innodb-log-group-home-dir={redo}", f"--innodb-undo-directory={redo}")
        server.start(60 * PATIENCE)
        sql(server.socket, "DROP TABLE t.m")
        code, said = take(server, "--method", "reflink", "--to", snaps(server) / "no")
        assert (code, said["outcome"]) == (1, "refused")
        assert f"innodb_log_group_home_dir is {redo}" in said["reasons"][0]
        assert not (snaps(server) / "no").exists()
        with Writer(server) as one:
            one.wait_more(30)
            code, said = take(server, "--method", "btrfs", "--to", snaps(server) / "all")
            assert code == 0, said
        code, found = cli.ask("snapshot", "verify", said["path"], *settings(server))
        assert code == 0, found
        assert found["can_seed"]
        # A command's copy of the data directory alone: nothing boots that, and nobody calls it good
        code, said = take(server, "--", "cp", "-a", data, snaps(server) / "part")
        assert code == 0, said
        code, _, err = cli.call("snapshot", "verify", snaps(server) / "part", *settings(server))
        assert code == 1
        assert f"innodb_log_group_home_dir was {redo}" in err


def test_a_reflink_copy_never_leaves_the_server_stopped(cheap: Instance, tmp_path: Path) -> None:
    """The copy is killed half way, by whatever: the server goes on by itself."""
    slow = tmp_path / "bin"
    slow.mkdir()
    (slow / "cp").write_text("#!/bin/sh\nexec sleep 60\n")
    (slow / "cp").chmod(0o755)
    target = snaps(cheap) / "killed"
    command = ["--method", "reflink", "--to", target]
    with mock.patch.dict(os.environ, {"PATH": f"{slow}:{os.environ['PATH']}"}):
        process = cli.begin("snapshot", *settings(cheap), *command)
    assert cheap.pid
    status = Path(f"/proc/{cheap.pid}/stat")
    try:
        eventually(lambda: status.read_text().rpartition(")")[2].split()[0] in "Tt", "the pause")
        copier = int(subprocess.run(["pgrep", "-P", str(process.pid), "-x", "sh"], text=True,
                                    capture_output=True, check=True, timeout=20).stdout.split()[0])
        os.kill(copier, signal.SIGKILL)
        process.kill()
    finally:
        process.kill()
        cli.end(process)
    eventually(lambda: status.read_text().rpartition(")")[2].split()[0] not in "Tt", "its going on")
    eventually(lambda: writable(cheap), "writes")
    assert cli.call("recover", *settings(cheap))[0] in (0, 2)
    for left in with_variable("PATH", f"{slow}:{os.environ['PATH']}"):
        left.signal(signal.SIGKILL)
