"""HAProxy is reloaded in the middle of a switchover: it does what its file says, and forgets."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pymysql
import pytest
from tests.servers.command import slackwater
from tests.servers.fixtures import app_session, sql
from tests.servers.patience import eventually
from tests.servers.slow_reload import SlowReload
from tests.sweep.acts import Trigger
from tests.sweep.front import Front

from slackwater.facts.balancer import parse_stat
from slackwater.lab.facts import LabFacts

pytestmark = [pytest.mark.servers, pytest.mark.one_flavour]

RELOAD = """
import os, re, signal, socket, time
def worker():
    with socket.socket(socket.AF_UNIX) as link:
        link.connect({runtime!r})
        link.sendall(b"show info\\n")
        return re.search(rb"^Pid: (\\d+)", link.recv(65536), re.M)[1]
old, ends = worker(), time.monotonic() + 10
os.kill({pid}, signal.SIGUSR2)
while time.monotonic() < ends:
    try:
        if worker() != old:
            break
    except (OSError, TypeError):
        pass
"""


def reload(lab: LabFacts, place: Path) -> list[str]:
    """The command that reloads HAProxy, and ends when its new process answers."""
    about = lab.balancers["lb1"]
    script = place / "reload.py"
    script.write_text(RELOAD.format(
        runtime=str(about["runtime"]).removeprefix("unix:"), pid=about["pid"]))
    return [sys.executable, str(script)]


def reload_before(lab: LabFacts, step: str, place: Path) -> str:
    """SLACKWATER_INJECT for a reload just before a step."""
    return f"run:{step}:{' '.join(reload(lab, place))}"


def runtime(lab: LabFacts, command: str) -> str:
    """The balancer's answer."""
    return Front(lab.directory, "lb1", lab.balancers["lb1"]).runtime(command)


def waiting(lab: LabFacts) -> int:
    """How many clients wait at the balancer."""
    stat = runtime(lab, "show stat")
    return sum(int(r["qcur"]) for r in parse_stat(stat) if r["svname"] == "BACKEND")


def test_before_the_file_is_written_clients_do_not_stay_at_the_old_server(
    lab: LabFacts, tmp_path: Path
) -> None:
    report = slackwater(lab, "switchover", inject=reload_before(lab, "Persist", tmp_path)).report
    assert report["outcome"] == "done", report
    status = slackwater(lab, "status").report
    assert (status["active"], status["balancers"]["lb1"]["active"]) == ("b", "b")


def test_a_reload_that_read_the_file_before_it_was_written_is_outlasted(
    lab: LabFacts, tmp_path: Path
) -> None:
    """It makes the old server active as it takes over."""
    slow = SlowReload(lab, tmp_path)
    report = slackwater(lab, "switchover", inject=f"run:Persist:{slow.command}").report
    assert report["outcome"] == "done", report
    slow.takes_effect()
    status = slackwater(lab, "status").report
    assert (status["active"], status["balancers"]["lb1"]["active"]) == ("b", "b")


def test_a_hold_that_a_reload_ended_is_noticed_before_the_server_is_read_only(
    lab: LabFacts, tmp_path: Path
) -> None:
    """Clients that it let in wait for the lock; a read-only server would have refused them."""
    report = slackwater(
        lab, "switchover", inject=reload_before(lab, "WaitForReplay", tmp_path)).report
    assert report["outcome"] == "undone", report
    assert report["reasons"] == ["WaitForReplay: the hold at lb1 is no longer in force"]
    states = {s["name"]: s["state"] for s in report["steps"]}
    assert states["FenceForGood"] not in ("done", "undone")
    assert slackwater(lab, "status").report["active"] == "a"


def wait_and_reload(lab: LabFacts, place: Path, clients: list[threading.Thread]) -> None:
    """Clients come and wait in the hold; then the balancer is reloaded."""
    for client in clients:
        client.start()
    eventually(lambda: waiting(lab) == len(clients), "all of them wait")
    subprocess.run(reload(lab, place), check=True)


def test_who_waits_in_the_replaced_process_is_let_in_at_once_and_to_the_old_server(
    lab: LabFacts, tmp_path: Path
) -> None:
    """Its hold is aimed at the new server, and would last for seconds yet. Sessions of pools stay:
    one that came in by the lost pin is in the way of the others."""
    served: list[tuple[int, float]] = []
    kept = contextlib.ExitStack()

    def come() -> None:
        begun = time.monotonic()
        session = app_session(lab, lab.balancers["lb1"]["frontend"])
        kept.callback(session._force_close)
        with session.cursor() as cursor:
            cursor.execute("SELECT @@server_id")
            served.append((cursor.fetchone()[0], time.monotonic() - begun))

    clients = [threading.Thread(target=come) for _ in range(4)]

    with kept, Trigger(tmp_path, partial(wait_and_reload, lab, tmp_path, clients)) as trigger:
        report = slackwater(lab, "switchover", inject=f"run:AimHold:{trigger.command}").report
        for client in clients:
            client.join()
    assert (report["outcome"], trigger.error) == ("undone", ""), report
    assert [server for server, _ in served] == [1] * len(clients)
    assert max(waited for _, waited in served) < 4
    assert any("HAProxy was reloaded" in reason for reason in report["reasons"]), report


@pytest.mark.parametrize("waited_s", [0, 6])
def test_who_the_replaced_process_let_in_after_a_crash_does_not_stay_on_the_passive(
    lab: LabFacts, tmp_path: Path, waited_s: float
) -> None:
    """Its hold was aimed there, and nothing is left that can ask it. Before the hold's deadline,
    and after it. Who has been there for longer stays."""
    kept = contextlib.ExitStack()

    def come(address: str) -> None:
        with contextlib.suppress(pymysql.Error):  # let in, and closed at once
            kept.callback(app_session(lab, address)._force_close)

    def there() -> int:
        return int(sql(lab.servers["b"]["socket"],
                       "SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST"
                       " WHERE USER = 'app'")[0]["n"])

    frontend = lab.balancers["lb1"]["frontend"]
    clients = [threading.Thread(target=come, args=(frontend,)) for _ in range(4)]

    with kept, Trigger(tmp_path, partial(wait_and_reload, lab, tmp_path, clients)) as trigger:
        come(lab.servers["b"]["address"])
        inject = f"run:PromoteNew:{trigger.command};kill:PromoteNew"
        assert slackwater(lab, "switchover", inject=inject).code == -9
        time.sleep(waited_s)
        if waited_s:
            assert there() == 1 + len(clients)
        said = slackwater(lab, "recover").report
        assert said["recovered"][0]["outcome"] == "undone", said
        for client in clients:
            client.join()
        eventually(lambda: there() == 1, "all of them were closed")
    assert slackwater(lab, "status").report["active"] == "a"
