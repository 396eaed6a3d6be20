"""Failover and rejoin as an operator types them, under load, on real servers."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
from tests.failover.scene import Scene, Seen, equal, fail_over, numbers_in
from tests.servers.fixtures import arrives, end, root_of, sql
from tests.servers.patience import PATIENCE, eventually
from tests.sweep.network import reason_against
from tests.sweep.pair import environment, python

from slackwater.lab.instance import Program, installed
from slackwater.lab.up import up
from slackwater.outside.haproxy.config import read_active
from slackwater.plan.journal import Journal

pytestmark = pytest.mark.servers
RATE = 40.0
MAJOR = ("mariadb-10.11", "mysql-9.7")
# Each kind, and each flavour twice; all of all by `make matrixfailover`.
WAYS = (("hang", "mariadb-10.11"), ("behind", "mariadb-10.11"), ("kill", "mysql-9.7"),
        ("cut", "mysql-9.7"))


def wrong(seen: Seen, *, semi_sync: bool = False) -> list[str]:
    """What must not be, whatever happened to the old server."""
    report = seen.report
    if report.get("outcome") != "done":
        return [f"{report.get('outcome')}: {report.get('reasons')} {seen.errors[-600:]}"]
    found = []
    if seen.flows_ms is None:
        found.append("no write was acknowledged after the command")
    if seen.lost - seen.told:
        found.append(f"lost and not told: {sorted(seen.lost - seen.told)[:5]}")
    if semi_sync and seen.lost:
        found.append(f"lost in spite of semi-sync: {sorted(seen.lost)[:5]}")
    if seen.old_used:
        found.append("a client came to the old server after the flip")
    rejoined = seen.rejoin
    if rejoined.get("outcome") == "done" and not seen.equal:
        found.append("the servers are not equal after the rejoin")
    if rejoined.get("outcome") != "done" and not rejoined.get("extra"):
        found.append(f"rejoin: {rejoined.get('outcome')}: {rejoined.get('reasons')}")
    if seen.lost and rejoined.get("outcome") == "done":
        found.append("a server with transactions of its own was let in")
    return found


@pytest.mark.parametrize(("kind", "name"), WAYS)
def test_traffic_flows_again_and_what_is_lost_is_told(kind: str, name: str) -> None:
    if reason := reason_against():
        pytest.skip(reason)
    program = next((p for p in installed() if p.name == name), None)
    if program is None:
        pytest.skip(f"no {name}; see scripts/servers/get")
    semi_sync = kind in ("hang", "kill")
    words = python("tests.failover.test_failover", kind, str(root_of(program)),
                   str(int(semi_sync)))
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *words],
        env=environment(), capture_output=True, text=True, check=False, timeout=150 * PATIENCE,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1500:]


@pytest.fixture
def scene(program: Program, place: Path) -> Iterator[Scene]:
    """A pair of the first server that is installed, reached by TCP."""
    directory = place / "lab"
    try:
        yield Scene(up(server=root_of(program), directory=directory), rate=RATE)
    finally:
        end(directory)


@pytest.mark.one_flavour
def test_reasons_to_refuse(scene: Scene) -> None:
    b = scene.lab.servers["b"]["socket"]

    def refused(word: str, *words: str) -> None:
        report, _, errors = scene.slackwater("failover", *words)
        assert report.get("outcome") == "refused", (report, errors)
        assert any(word in reason for reason in report["reasons"]), report["reasons"]
        assert read_active(Path(scene.lab.balancers["lb1"]["config_file"]).read_text()) == "a"

    refused("a is alive and serves its clients: through balancer lb1")
    refused("it is the active server already", "--to", "a")
    scene.strike("hang")
    for statement, back, word in (
        ("STOP SLAVE SQL_THREAD", "START SLAVE", "does not apply what it received"),
        ("STOP SLAVE IO_THREAD", "START SLAVE", "had stopped receiving before"),
        ("STOP SLAVE; CHANGE MASTER TO MASTER_DELAY = 3600; START SLAVE",
         "STOP SLAVE; CHANGE MASTER TO MASTER_DELAY = 0; START SLAVE", "is a delayed replica"),
    ):
        for one in statement.split("; "):
            sql(b, one)
        refused(word)
        for one in back.split("; "):
            sql(b, one)
    scene.lab.instance("b").kill()
    refused("there is nothing to promote")
    scene.lab.instance("b").start(60 * PATIENCE)
    config, runtime = scene.lab.config, scene.lab.balancers["lb1"]["runtime"]
    whole = config.read_text()
    config.write_text(whole.replace(runtime, runtime + ".gone"))
    refused("balancer lb1")
    config.write_text(whole)
    scene.wake("hang")
    planned, _, _ = scene.slackwater("failover", "--plan")
    assert "alive" in planned["refusals"][0]


@pytest.mark.one_flavour
def test_an_active_that_refuses_us_through_the_balancer_is_alive(scene: Scene) -> None:
    config, servers = scene.lab.config, scene.lab.servers
    text = config.read_text()
    for name in "ab":  # from here by socket: another account than by TCP, as the balancer comes
        text = text.replace(f"[servers.{name}]", f'[servers.{name}]\nsocket = '
                                                 f'"{servers[name]["socket"]}"')
    config.write_text(text)
    sql(servers["a"]["socket"], "SET STATEMENT sql_log_bin = 0 FOR ALTER USER"
                                " slackwater@'127.0.0.1' IDENTIFIED BY 'Another-1'")
    report, _, errors = scene.slackwater("failover")
    assert report.get("outcome") == "refused", (report, errors)
    assert "through balancer lb1 it answers" in report["reasons"][0], report


def test_after_a_set_up_that_the_death_of_the_active_left_and_with_events(scene: Scene) -> None:
    """That does not bar it; and the report says that events run nowhere now."""
    sql(scene.lab.servers["a"]["socket"],
        "CREATE EVENT slackwater_lab.tick ON SCHEDULE EVERY 1 DAY DO SELECT 1")
    arrives(scene.lab.servers["b"]["socket"], "SHOW EVENTS IN slackwater_lab")
    left = Journal.create(scene.lab.directory / "state", "pair-setup")
    left.write("planned", operation="pair-setup", pair="lab", title="set the pair up",
               config=str(scene.lab.config.resolve()), arguments={}, pid=0,
               host=socket.gethostname())
    left.write("started", step="CopyData.c")
    left.write("ended", outcome="stuck")
    left.close()
    scene.strike("kill")
    report, _, errors = scene.slackwater("failover")
    assert report.get("outcome") == "done", (report, errors)
    assert report["took_over"], report
    assert "1 scheduled event(s) are disabled on b" in str(report["risks"]), report


@pytest.mark.one_flavour
def test_a_lagging_passive_is_waited_for_and_then_everything_is_undone(scene: Scene) -> None:
    a, b = (scene.lab.servers[n]["socket"] for n in "ab")
    sql(a, "CREATE TABLE slackwater_lab.slow (n INT PRIMARY KEY)")
    sql(b, "SELECT MASTER_GTID_WAIT(%s, 20)", sql(a, "SELECT @@gtid_binlog_pos AS g")[0]["g"])
    lock = subprocess.Popen(  # what keeps the passive from applying, for a while
        python("tests.failover.holder", str(b)), env=environment(), stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    assert lock.stdout and lock.stdin and lock.stdout.readline()
    try:
        sql(a, "INSERT INTO slackwater_lab.slow VALUES (1)")
        scene.strike("hang")
        report, _, errors = scene.slackwater("failover", "--apply-limit", "2")
    finally:
        lock.stdin.close()
        lock.wait(20)
        lock.stdout.close()
    # On a slow machine the lag is above the limit before the command looks.
    said = {"undone": "has not applied what it received within 2 s", "refused": "b lags"}
    assert report["outcome"] in said, (report, errors)
    assert said[report["outcome"]] in report["reasons"][0], (report, errors)
    scene.wake("hang")
    status, _, _ = scene.slackwater("status")
    assert status["active"] == "a", status


@pytest.mark.one_flavour
def test_killed_before_the_commit_point_all_is_undone(scene: Scene) -> None:
    scene.strike("kill")
    for step in ("CutOff", "NameNew", "StopReceiving"):
        _killed_at(scene, step, "undone")
        assert _named(scene) == "a"
    report, _, errors = scene.slackwater("failover")
    assert report["outcome"] == "done", (report, errors)
    _comes_back(scene)


@pytest.mark.one_flavour
@pytest.mark.parametrize("step", ["Promote", "SendClients", "ParkSource"])
def test_killed_behind_the_commit_point_it_is_finished(scene: Scene, step: str) -> None:
    scene.strike("kill")
    _killed_at(scene, step, "done")
    assert _named(scene) == "b"
    _comes_back(scene)


@pytest.mark.one_flavour
def test_it_takes_the_place_of_a_switchover_that_is_stuck_on_the_dead_server(
    scene: Scene,
) -> None:
    pid = scene.lab.instance("a").pid
    stuck, _, errors = scene.slackwater(
        "switchover", "--to", "b", inject=f"run:FenceWrites:kill -9 {pid}")
    assert stuck["outcome"] == "stuck", (stuck, errors)
    again, _, _ = scene.slackwater("recover")
    assert again["recovered"][0]["outcome"] == "stuck", again
    eventually(lambda: "a hold is in force" not in str(scene.slackwater("failover", "--plan")),
               "the hold of the switchover has ended by itself")
    report, _, errors = scene.slackwater("failover")
    assert report["outcome"] == "done", (report.get("reasons"), errors)
    assert report["took_over"] == [stuck["id"]]
    assert _named(scene) == "b"
    done, _, _ = scene.slackwater("recover")
    assert (done["outcome"], done["recovered"]) == ("done", [])
    _comes_back(scene)


def _killed_at(scene: Scene, step: str, outcome: str) -> None:
    report, _, errors = scene.slackwater("failover", inject=f"killed:{step}")
    assert report == {"code": -9}, (step, report, errors)
    recovered, _, errors = scene.slackwater("recover")
    assert recovered["recovered"][0]["outcome"] == outcome, (step, recovered, errors)


def _named(scene: Scene) -> str | None:
    """Whom the balancer's file names as the active server."""
    return read_active(Path(scene.lab.balancers["lb1"]["config_file"]).read_text())


def _comes_back(scene: Scene) -> None:
    scene.wake("kill")
    report, _, errors = scene.slackwater("pair", "rejoin")
    assert report["outcome"] == "done", (report, errors)
    status, _, _ = scene.slackwater("status")
    assert status["active"] == "b", status
    assert equal(scene)


@pytest.mark.one_flavour
def test_the_last_heartbeat_that_arrived_is_told(scene: Scene) -> None:
    """Without the old server's disk, its newest beat here says from when on changes are missing."""
    b, config = scene.lab.servers["b"]["socket"], scene.lab.config
    config.write_text(re.sub(r"binlog = .*\n", "", config.read_text()))
    service = subprocess.Popen(
        python("slackwater", "heartbeat", "--interval", "0.05", "--config", str(config)),
        env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        of_a = "SELECT beats FROM slackwater.heartbeat WHERE server_id = 1 AND beats > 3"
        arrives(b, of_a)
        scene.strike("kill")
        report, _, errors = scene.slackwater("failover")
        assert report["outcome"] == "done", (report, errors)
        told, last = report["missing"], sql(b, of_a)[0]["beats"]
        assert told["transactions"] is None and told["heartbeat_number"] == last, told
        assert f"(heartbeat {last})" in told["words"] and told["heartbeat_at"] in told["words"]
        # It goes on for the new server by itself.
        arrives(b, "SELECT beats FROM slackwater.heartbeat WHERE server_id = 2 AND beats > 0")
    finally:
        service.terminate()
        service.wait(20 * PATIENCE)


@pytest.mark.one_flavour
def test_one_that_answers_and_cannot_be_closed_is_not_failed_over_from(scene: Scene) -> None:
    """The balancer does not reach it, so it may be closed; but somebody's lock is in the way."""
    a, config = scene.lab.servers["a"]["socket"], scene.lab.config
    sql(a, "CREATE TABLE slackwater_lab.held (n INT PRIMARY KEY)")
    runtime = scene.lab.balancers["lb1"]["runtime"].removeprefix("unix:")
    with socket.socket(socket.AF_UNIX) as balancer:
        balancer.connect(runtime)
        balancer.sendall(b"set server pair/a addr 127.0.0.1 port 1\n")
        assert b"changed" in balancer.recv(4096)
    account = tomllib.loads(config.read_text())["accounts"]["slackwater"]
    password = Path(config.parent, account["password_file"]).read_text().strip()
    holder = pymysql.connect(unix_socket=str(a), user=account["user"], password=password)
    try:  # a session of our own account, which is not ended
        with holder.cursor() as cursor:
            cursor.execute("LOCK TABLES slackwater_lab.held WRITE")
        report, _, errors = scene.slackwater("failover")
        assert report["outcome"] == "undone", (report, errors)
        assert "a is alive, and cannot be made read-only" in report["reasons"][0], report
        assert "cannot be reached" not in str(report), report
    finally:
        holder.close()
    sql(a, "INSERT INTO slackwater_lab.held VALUES (1)")
    assert str(sql(a, "SELECT @@read_only AS r")[0]["r"]) == "0", "a late read_only closed it"
    report, _, errors = scene.slackwater("failover")
    assert report["outcome"] == "done", (report, errors)
    assert report["fenced"] == "it is read-only, and its clients' sessions are closed", report


@pytest.mark.parametrize("name", MAJOR)
def test_a_fence_and_transactions_of_its_own(name: str, place: Path) -> None:
    program = next((p for p in installed() if p.name == name), None)
    if program is None:
        pytest.skip(f"no {name}; see scripts/servers/get")
    directory = place / "lab"
    try:
        scene = Scene(up(server=root_of(program), directory=directory), rate=RATE)
        a = scene.lab.servers["a"]["socket"]
        config = scene.lab.config
        pid = scene.lab.instance("a").pid
        config.write_text(config.read_text().replace(
            "[servers.a]\n", f'[servers.a]\nfence = "kill -KILL {pid}"\n'))
        sql(a, "CREATE TABLE slackwater_lab.writes (id BIGINT AUTO_INCREMENT PRIMARY KEY,"
               " n BIGINT NOT NULL, kind TINYINT, KEY (n))")
        arrives(scene.lab.servers["b"]["socket"], "SHOW TABLES IN slackwater_lab LIKE 'writes'")
        scene.strike("hang")
        report, _, errors = scene.slackwater("failover")
        assert report["outcome"] == "done", (report, errors)
        assert report["fenced"] == "its fence command has ended it", report
        scene.wake("kill")
        sql(a, "INSERT INTO slackwater_lab.writes (n) VALUES (4711)")
        report, _, _ = scene.slackwater("pair", "rejoin")
        assert report["outcome"] in ("refused", "undone")
        assert str(sql(a, "SELECT @@read_only AS r")[0]["r"]) in ("1", "ON"), "it stays closed"
        own = report["extra"]
        assert own["transactions"] == 1 and own["tables"] == {"slackwater_lab.writes": 1}, own
        saved = Path(own["saved"])
        assert numbers_in(saved) == {4711} and saved.stat().st_mode & 0o777 == 0o600
        _copied_again(scene)
    finally:
        end(directory)


def _copied_again(scene: Scene) -> None:
    """What it had of its own is in a file, its data is the other's, and it is the passive one."""
    config = scene.lab.config
    text = config.read_text()
    for name in "ab":
        server = f'socket = "{scene.lab.servers[name]["socket"]}"'
        text = text.replace(f"[servers.{name}]\n", f"[servers.{name}]\n{server}\n")
    config.write_text(text + f'[accounts.admin]\nuser = "root"\n[accounts.replication]\n'
                             f'password_file = "{config.parent / "repl"}"\n')
    plan, _, _ = scene.slackwater("pair", "rejoin", "--copy-again", "--plan")
    steps = [s["name"] for p in plan["parts"] for s in p["steps"]]
    assert steps.index("SaveOwn") < steps.index("CopyData.a"), plan
    a, b = (scene.lab.servers[n]["socket"] for n in "ab")
    assert sql(a, "SELECT n FROM slackwater_lab.writes WHERE n = 4711"), "--plan touched something"
    report, _, errors = scene.slackwater("pair", "rejoin", "--copy-again")
    assert report["outcome"] == "done", (report, errors)
    assert numbers_in(Path(report["extra"]["saved"])) == {4711} and report["copied"]["a"]["rows"]
    assert not sql(a, "SELECT n FROM slackwater_lab.writes WHERE n = 4711")
    sql(b, "INSERT INTO slackwater_lab.writes (n) VALUES (4712)")
    compared, _, errors = scene.slackwater("pair", "compare")
    assert compared["outcome"] == "done", (compared, errors)
    status, _, _ = scene.slackwater("status")
    assert status["active"] == "b", status


def _inside() -> int:
    import sys

    kind, server, semi = sys.argv[1], Path(sys.argv[2]), bool(int(sys.argv[3]))
    import tempfile

    with tempfile.TemporaryDirectory(prefix="sw-fo-") as work:
        Path(work).chmod(0o711)
        try:
            scene = Scene(up(server=server, directory=Path(work, "lab")), rate=RATE)
            if semi:
                scene.semi_sync()
            seen = fail_over(scene, kind, awake_s=0.4)
            faults = wrong(seen, semi_sync=semi)
            if kind == "behind" and not seen.lost:
                faults.append("nothing was lost: this proves nothing")
            print(kind, f"{seen.flows_ms} ms", len(seen.lost), len(seen.told), seen.rejoin.get(
                "outcome"), os.getloadavg()[0])
            print("\n".join(faults))
            return int(bool(faults))
        finally:
            end(Path(work, "lab"))


if __name__ == "__main__":
    raise SystemExit(_inside())
