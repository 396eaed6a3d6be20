"""`lab up` makes a working pair, and `lab down` leaves nothing, whatever happened in between."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
from tests.servers.fixtures import arrives, as_app, end, root_of, sql
from tests.servers.patience import PATIENCE, eventually

from slackwater import config
from slackwater.errors import Refused
from slackwater.lab import directory as labs
from slackwater.lab.down import down
from slackwater.lab.facts import LabFacts, status
from slackwater.lab.instance import Instance, Program
from slackwater.lab.process import ProcessId
from slackwater.lab.template import run_as
from slackwater.lab.up import up

pytestmark = pytest.mark.servers
COMMAND = [sys.executable, "-c", "from slackwater.cli.main import main; main()", "lab"]
TABLE = "CREATE TABLE slackwater_lab.t (id INT PRIMARY KEY)"


@pytest.fixture
def directory(place: Path) -> Iterator[Path]:
    path = place / "lab"
    yield path
    end(path)


def test_a_pair_that_replicates_both_ways(program: Program, directory: Path) -> None:
    began = time.monotonic()
    lab = up(server=root_of(program), directory=directory)
    print(f"\n{program.name}: up in {time.monotonic() - began:.2f} s")
    a, b = lab.servers["a"], lab.servers["b"]
    front = lab.balancers["lb1"]["frontend"]
    assert [_read_only(s["socket"]) for s in (a, b)] == [0, 1]

    as_app(lab, front, TABLE)
    as_app(lab, front, "INSERT INTO slackwater_lab.t VALUES (1)")
    assert arrives(b["socket"], "SELECT id FROM slackwater_lab.t") == [{"id": 1}]
    with pytest.raises(pymysql.err.MySQLError) as refused:
        as_app(lab, b["address"], "INSERT INTO slackwater_lab.t VALUES (2)")
    assert refused.value.args[0] == 1290

    sql(a["socket"], "SET GLOBAL read_only = 1")
    sql(b["socket"], "SET GLOBAL read_only = 0")
    as_app(lab, b["address"], "INSERT INTO slackwater_lab.t VALUES (3)")
    arrives(a["socket"], "SELECT id FROM slackwater_lab.t WHERE id = 3")

    began = time.monotonic()
    assert down(directory).removed
    print(f"{program.name}: down in {time.monotonic() - began:.2f} s")
    _nothing_left(directory)
    assert not down(directory).removed  # a second time


@pytest.mark.one_flavour
def test_what_is_told_of_it(lab: LabFacts) -> None:
    said = config.load(lab.config)
    assert said.lab
    assert said.password() == (lab.directory / "slackwater.password").read_text().strip()
    assert {n: t.address for n, t in said.servers.items()} == {
        n: s["address"] for n, s in lab.servers.items()
    }
    assert json.loads(json.dumps(lab.as_json()))["config"] == str(lab.config)
    now = status(lab.directory)
    assert all(it["running"] for kind in ("servers", "balancers") for it in now[kind].values())


def test_closed_to_others(lab: LabFacts) -> None:
    assert not stat.S_IMODE(lab.directory.stat().st_mode) & 0o007
    for path in lab.directory.glob("*.password"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secrets = [p.read_text().strip() for p in lab.directory.glob("*.password")]
    for process in labs.processes(lab.directory):
        command = Path(f"/proc/{process.pid}/cmdline").read_text()
        assert not any(secret in command for secret in secrets)
    with pytest.raises(pymysql.err.OperationalError):  # root comes in by the socket only
        pymysql.connect(host="127.0.0.1", port=lab.servers["a"]["port"], user="root")


def test_a_server_that_crashed_comes_back_read_only_and_replicates(lab: LabFacts) -> None:
    b = lab.instance("b")
    b.kill()
    assert not status(lab.directory)["servers"]["b"]["running"]
    as_app(lab, lab.balancers["lb1"]["frontend"], TABLE)
    b.start(60 * PATIENCE)
    assert _read_only(b.socket) == 1
    as_app(lab, lab.balancers["lb1"]["frontend"], "INSERT INTO slackwater_lab.t VALUES (1)")
    arrives(b.socket, "SELECT id FROM slackwater_lab.t")
    a = lab.instance("a")
    a.kill()
    a.start(60 * PATIENCE)
    assert _read_only(a.socket) == 1


@pytest.mark.one_flavour
def test_a_second_one_needs_another_directory(lab: LabFacts, place: Path) -> None:
    with pytest.raises(Refused, match="is running"):
        up(directory=lab.directory)
    other = up(directory=place / "other", balancers=2)
    assert len(other.balancers) == 2
    for front in other.balancers.values():
        as_app(other, front["frontend"], "SELECT 1")
    down(other.directory)
    assert all(s["running"] for s in status(lab.directory)["servers"].values())


@pytest.mark.one_flavour
def test_down_after_its_processes_were_killed(lab: LabFacts) -> None:
    for process in labs.processes(lab.directory):
        process.signal(signal.SIGKILL)
    assert down(lab.directory).removed
    _nothing_left(lab.directory)


@pytest.mark.one_flavour
def test_down_with_a_hung_server(lab: LabFacts) -> None:
    lab.instance("a").pause()
    assert down(lab.directory).removed
    _nothing_left(lab.directory)


@pytest.mark.one_flavour
@pytest.mark.parametrize("gone", [["lab.json", ".slackwater-lab"], ["lab.json", "a", "lb1"]])
def test_down_after_the_directory_was_half_deleted(lab: LabFacts, gone: list[str]) -> None:
    for name in gone:
        path = lab.directory / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert down(lab.directory).removed
    _nothing_left(lab.directory)


@pytest.mark.one_flavour
def test_down_after_the_directory_was_deleted(lab: LabFacts) -> None:
    shutil.rmtree(lab.directory)
    assert down(lab.directory).processes > 2
    _nothing_left(lab.directory)


@pytest.mark.one_flavour
def test_remains_of_a_dead_lab_do_not_hinder_the_next(lab: LabFacts) -> None:
    for process in labs.processes(lab.directory):
        process.signal(signal.SIGKILL)
        process.wait_gone(10 * PATIENCE)
    again = up(directory=lab.directory)
    as_app(again, again.balancers["lb1"]["frontend"], "SELECT 1")


@pytest.mark.parametrize("stage", ["starting two servers", "setting up", "starting balancer"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
@pytest.mark.one_flavour
def test_up_ended_half_way(
    program: Program, directory: Path, stage: str, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [*COMMAND, "up", "--directory", str(directory)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(stage):
                break
        else:
            pytest.fail(f"never said {stage!r}")
        process.send_signal(number)
        process.stderr.read()
        process.wait(60 * PATIENCE)
    if number == signal.SIGINT:  # cleans up by itself
        _nothing_left(directory)
    down(directory)
    _nothing_left(directory)


def test_down_touches_no_other_directory(place: Path) -> None:
    (place / "a").mkdir()
    (place / "a" / "precious").write_text("text")
    with pytest.raises(Refused, match="is no lab"):
        down(place)
    with pytest.raises(Refused, match="not empty"):
        up(directory=place)
    assert (place / "a" / "precious").read_text() == "text"


@pytest.mark.one_flavour
def test_a_reused_pid_is_left_alone(lab: LabFacts) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        it = ProcessId.of(other.pid)
        assert it is not None
        notes = labs.read_notes(lab.directory)
        assert notes is not None
        notes["processes"]["a"] = {"pid": it.pid, "started": it.started - 1}
        labs.write_notes(lab.directory, notes)
        down(lab.directory)
        assert it.alive
        other.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.one_flavour
def test_an_ordinary_user(program: Program, place: Path) -> None:
    """The same as nobody, who owns nothing but one directory."""
    home = place / "home"
    home.mkdir()
    code = Path(labs.__file__).parents[1]
    shutil.copytree(code, home / "slackwater", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.chown(home, "nobody")
    become = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    env = {**os.environ, "HOME": str(home), "PYTHONPATH": str(home), "XDG_CACHE_HOME": ""}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*become, *words], env=env, text=True, capture_output=True, timeout=120 * PATIENCE
        )

    if run(sys.executable, "-c", "import typer").returncode or run(program.daemon, "-V").returncode:
        pytest.skip("nobody may not run this Python or this server")
    directory = home / "lab"
    made = run(*COMMAND, "up", "--json", "--directory", str(directory))
    try:
        assert made.returncode == 0, made.stderr
        said = json.loads(made.stdout)
        assert Path(f"/proc/{said['servers']['a']['pid']}").owner() == "nobody"
        assert _read_only(said["servers"]["b"]["socket"]) == 1
    finally:
        gone = run(*COMMAND, "down", "--directory", str(directory))
    assert gone.returncode == 0, gone.stderr
    _nothing_left(directory)


def _read_only(socket: str | Path) -> int:
    return int(sql(socket, "SELECT @@global.read_only + 0 AS r")[0]["r"])


def _nothing_left(directory: Path) -> None:
    eventually(lambda: not labs.processes(directory), "no process is left")
    assert not directory.exists()


def test_another_servers_temporary_tables_stay(program: Program, place: Path) -> None:
    """A server deletes every `#sql…` in its tmpdir when it starts; another may be using them."""
    theirs = Path(tempfile.gettempdir(), f"#sql-slackwater-test-{os.getpid()}.MAI")
    theirs.touch()
    try:
        if run_as().switch:
            os.chown(theirs, run_as().uid, run_as().gid)
        server = Instance.create(program, place / "s", server_id=1, mark=place)
        try:
            server.start(60 * PATIENCE)
            assert sql(server.socket, "SELECT @@tmpdir AS d")[0]["d"] == str(place / "s" / "tmp")
            assert theirs.exists()
        finally:
            server.remove()
    finally:
        theirs.unlink(missing_ok=True)
