"""Held maintenance on real servers under load, each scene in a network namespace of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from tests.maintain.far import DEADLINE_S
from tests.maintain.scene import CROWD_FITS
from tests.servers.patience import PATIENCE

from slackwater.lab.instance import installed

_PROBE = "ip link set lo up && nft add table inet probe"
_TRIED = subprocess.run(
    ["unshare", "--net", "sh", "-c", _PROBE], capture_output=True, text=True, check=False
)
pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(
        _TRIED.returncode != 0 or os.geteuid() != 0,
        reason=f"needs root, network namespaces and nftables: {_TRIED.stderr.strip()[-100:]}",
    ),
]
NAMES = [p.name for p in installed()]


def play(scene: str, program: str) -> dict[str, Any]:
    """What was seen in the scene."""
    if program not in NAMES:
        pytest.skip(f"{program} is not installed; see scripts/servers/get")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "tests.maintain.scene", scene, program],
        capture_output=True, text=True, timeout=150 * PATIENCE, check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def nobody_failed(seen: dict[str, Any]) -> None:
    """No client saw an error, and every acknowledged write is there once."""
    load = seen["load"]
    assert load["errors"] == {"request": 0, "pooled": 0, "tested": 0}, load["faults"]
    assert (load["lost"], load["duplicated"]) == (0, 0)
    assert load["acked"] > 50


def nothing_left(seen: dict[str, Any]) -> None:
    """The rule set is empty again, and the server runs."""
    assert "slackwater" not in seen["rules"]
    assert seen["alive"]


@pytest.mark.parametrize("which", ["mariadb-10.11", "mysql-9.7"])
def test_a_loaded_server_is_restarted_and_nobody_fails(which: str) -> None:
    seen = play("restart", which)
    assert (seen["code"], seen["said"]["outcome"]) == (0, "done"), seen["err"]
    nobody_failed(seen)
    nothing_left(seen)
    assert seen["restarted"]
    assert seen["said"]["gate"]["held"] > 0  # else nothing was proven
    assert seen["said"]["gate"]["ended_by"] == "asked"
    assert "at once: there was room" in seen["said"]["paced"]


@pytest.mark.parametrize("which", ["mariadb-10.11", "mysql-9.7"])
def test_a_loaded_pair_is_restarted_in_turn_and_nobody_fails(which: str) -> None:
    seen = play("pair", which)
    assert (seen["code"], seen["said"]["outcome"]) == (0, "done"), seen["err"]
    nobody_failed(seen)
    assert seen["restarted"] == ["a", "b"]
    operations = [part["operation"] for part in seen["said"]["parts"]]
    assert operations == ["restart", "switchover", "restart"]


def test_more_clients_wait_than_the_server_takes_at_once() -> None:
    seen = play("crowd", "mariadb-10.11")
    assert (seen["code"], seen["said"]["outcome"]) == (0, "done"), seen["err"]
    nobody_failed(seen)  # with error 1040
    nothing_left(seen)
    assert seen["said"]["gate"]["held"] > 2 * CROWD_FITS
    assert seen["said"]["gate"]["in_turn"] > CROWD_FITS
    assert "were let in one by one" in seen["said"]["paced"]


def test_without_pacing_that_crowd_gets_error_1040() -> None:
    """Else the test above would prove nothing."""
    seen = play("unpaced", "mariadb-10.11")
    assert any(" 1040 " in fault for fault in seen["load"]["faults"]), seen["load"]


def test_a_failing_command_is_told_and_clients_go_on() -> None:
    seen = play("failing", "mariadb-10.11")
    assert (seen["code"], seen["said"]["outcome"]) == (3, "stuck")
    assert seen["said"]["exit_code"] == 7
    assert "no luck" in seen["said"]["reasons"][0]
    nobody_failed(seen)
    nothing_left(seen)


def test_who_does_not_leave_is_named_and_nothing_is_changed() -> None:
    seen = play("straggler", "mariadb-10.11")
    assert (seen["code"], seen["said"]["outcome"]) == (2, "undone")
    assert "app@" in seen["said"]["left_on"]["s"][0]
    nobody_failed(seen)
    nothing_left(seen)
    assert not seen["restarted"]


def test_stragglers_are_closed_between_transactions() -> None:
    seen = play("closed", "mariadb-10.11")
    assert (seen["code"], seen["said"]["sessions_closed"]) == (0, 2), seen["err"]
    nobody_failed(seen)
    assert seen["restarted"]


def test_killed_while_the_server_is_down() -> None:
    """The gate goes on until the server is back; recover finishes, and has nothing to do twice."""
    seen = play("killed", "mariadb-10.11")
    assert (seen["code"], seen["said"]["outcome"], seen["again"]) == (0, "done", 0)
    nobody_failed(seen)
    nothing_left(seen)


def test_killed_with_the_shell_that_waits_for_the_command() -> None:
    """The command itself goes on, and stops the server: until its end clients wait."""
    seen = play("orphan", "mariadb-10.11")
    assert seen["held"] and seen["restarted"]
    nobody_failed(seen)
    nothing_left(seen)
    assert (seen["code"], seen["said"]["outcome"]) == (0, "done"), seen["err"]
    assert "ended without telling how" in seen["said"]["reasons"][-1]


def test_interrupted_before_the_command() -> None:
    seen = play("interrupted", "mariadb-10.11")
    assert (seen["code"], seen["said"]["outcome"]) == (2, "undone")
    nobody_failed(seen)
    nothing_left(seen)


def test_without_the_right_to_hold_it_is_refused() -> None:
    seen = play("powerless", "mariadb-10.11")
    assert (seen["code"], seen["said"]["outcome"]) == (1, "refused")
    assert "CAP_NET_ADMIN" in seen["said"]["reasons"][0]
    nobody_failed(seen)
    assert not seen["restarted"]


def test_who_is_not_root_is_told_what_is_missing() -> None:
    seen = play("nobody", "mariadb-10.11")
    assert (seen["code"], seen["said"]["outcome"]) == (1, "refused"), seen["err"]
    assert "not root" in seen["said"]["reasons"][0] and "sudo" in seen["said"]["reasons"][0]
    assert "with sudo" in seen["packages"]["reasons"][0]
    assert "not better because: not root" in seen["explained"]
    nobody_failed(seen)
    nothing_left(seen)
    assert not seen["restarted"]


def test_no_program_for_netfilter_is_needed() -> None:
    seen = play("no_nft", "mariadb-10.11")
    assert (seen["code"], seen["said"]["outcome"]) == (0, "done"), seen["err"]
    assert seen["said"]["gate"]["held"] > 0
    nobody_failed(seen)
    nothing_left(seen)


def test_a_server_on_another_host_is_restarted_over_ssh() -> None:
    seen = play("far_restart", "mariadb-10.11")
    assert (seen["code"], seen["said"]["outcome"]) == (0, "done"), seen["err"]
    nobody_failed(seen)
    nothing_left(seen)
    assert seen["restarted"] and "restarted, process" in seen["copy"]
    assert seen["said"]["gate"]["held"] > 0
    machine = seen["explained"]
    assert machine["machine"].startswith("root@") and machine["servers"]["s"]["here"]


def test_killed_while_a_server_on_another_host_is_down() -> None:
    seen = play("far_killed", "mariadb-10.11")
    assert (seen["code"], seen["said"]["outcome"]) == (0, "done"), seen["err"]
    nobody_failed(seen)
    nothing_left(seen)
    assert "slackwater" not in seen["left"]  # before anybody came back


def test_the_cable_is_cut_while_a_server_on_another_host_is_down() -> None:
    """The holder there ends by itself, and nobody is refused."""
    seen = play("far_cut", "mariadb-10.11")
    assert (seen["code"], seen["said"]["outcome"]) == (0, "done"), seen["err"]
    nobody_failed(seen)
    nothing_left(seen)
    assert "slackwater" not in seen["left"]


def test_the_cable_is_cut_and_the_command_there_does_not_end() -> None:
    """At the deadline the gate there opens by itself; how the command ended is told in the end."""
    seen = play("far_deadline", "mariadb-10.11")
    nobody_failed(seen)
    nothing_left(seen)
    assert seen["held"] and "slackwater" not in seen["left"]
    # Not before: by then the holder had known for long that nobody is with it.
    waited_s = seen["load"]["longest_ms"] / 1000
    assert waited_s > DEADLINE_S - 0.5 and seen["open_s"] < DEADLINE_S + 4 * PATIENCE
    assert (seen["code"], seen["said"]["outcome"]) == (3, "stuck"), seen["err"]
    assert seen["said"]["exit_code"] == 7 and "exit code 7" in seen["said"]["reasons"][0]
    assert seen["said"]["gate"]["ended_by"] == "cap" and "let_go_early" in seen["said"]
    assert "Traceback" not in seen["err"]
    assert "the command had ended with exit code 7" in seen["recovered"]["reasons"][-1]


def test_sockets_that_a_parent_keeps_hold_clients_without_any_gate() -> None:
    """By TCP and by the unix socket, in a container that may not change netfilter."""
    seen = play("activated", "mariadb-10.11")
    assert (seen["code"], seen["said"]["outcome"]) == (0, "done"), seen["err"]
    assert seen["served"] == [7] * 60
    assert "gate" not in seen["said"] and len(seen["said"]["sockets_kept"]) == 2
    assert "who connects waits there" in seen["plan"] and "TCP port" not in seen["plan"]
    assert "socket activation" in seen["explained"]


def test_sockets_that_a_parent_keeps_and_the_gate() -> None:
    seen = play("activated_gated", "mariadb-10.11")
    assert (seen["code"], seen["said"]["outcome"]) == (0, "done"), seen["err"]
    nobody_failed(seen)
    nothing_left(seen)
    assert seen["restarted"] and seen["said"]["sockets_kept"]
    assert seen["said"]["gate"]["held"] > 0
