"""HAProxy is reloaded in the middle of a switchover: it does what its file says, and forgets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.servers.command import slackwater

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


def reload_before(lab: LabFacts, step: str, place: Path) -> str:
    """SLACKWATER_INJECT for a reload just before a step."""
    about = lab.balancers["lb1"]
    script = place / "reload.py"
    script.write_text(RELOAD.format(
        runtime=str(about["runtime"]).removeprefix("unix:"), pid=about["pid"]))
    return f"run:{step}:{sys.executable} {script}"


def test_before_the_file_is_written_clients_do_not_stay_at_the_old_server(
    lab: LabFacts, tmp_path: Path
) -> None:
    report = slackwater(lab, "switchover", inject=reload_before(lab, "Persist", tmp_path)).report
    assert report["outcome"] == "done", report
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
