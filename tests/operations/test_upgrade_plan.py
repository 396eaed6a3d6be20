"""What an upgrade consists of, below the running server and inside the hold."""

from __future__ import annotations

import dataclasses

from slackwater.operations.hold import upgrade

FILES = ("/a/mariadb-server-core_2_amd64.deb", "/a/mariadb-server_2_amd64.deb")
BELOW = upgrade.Asked(
    name="s", servers=("s",), others=(), ports=(3306,), command=("restart", "it"),
    packages=("mariadb-server",), files=FILES, held=("mariadb-server",), below=True,
    must_restart=True, install=("dpkg", "--install", *FILES), tables=("mariadb-upgrade",),
    log_in=("/sock", "root", ""), restart=("restart", "it"),
)
INSIDE = dataclasses.replace(
    BELOW, below=False, must_restart=False, command=BELOW.install, install=())


def names(asked: upgrade.Asked) -> list[str]:
    return [step.name for step in upgrade.plan(asked).steps]


def test_below_nothing_but_the_restart_is_inside_the_hold() -> None:
    found = names(BELOW)
    inside = found[found.index("ShutGate"):found.index("OpenGate") + 1]
    assert inside == ["ShutGate", "WaitForClients", "StartCommand", "FinishCommand", "ProveHealth",
                      "OpenGate"]  # fmt: skip
    before = found[:found.index("ShutGate")]
    assert [n for n in before if n in ("Unhold", "DenyServices", "InstallBelow", "AllowServices")] \
        == ["Unhold", "DenyServices", "InstallBelow", "AllowServices"]
    assert found.index("OpenGate") < found.index("UpgradeTables") < found.index("HoldAgain")
    assert "Rehearse" not in found and "RunTriggers" not in found


def test_inside_the_hold_the_unpacking_is_rehearsed() -> None:
    found = names(INSIDE)
    assert found.index("Rehearse") < found.index("ShutGate") < found.index("RestartAfter")
    assert found.index("RestartAfter") < found.index("OpenGate") < found.index("RunTriggers")
    assert not {"DenyServices", "InstallBelow", "AllowServices"} & set(found)


def test_the_plan_names_the_risk_and_the_other_way_and_what_finishes_it() -> None:
    plan = upgrade.plan(BELOW)
    (step,) = (s for s in plan.steps if s.name == "InstallBelow")
    assert "crash" in step.summary and "--inside-hold" in step.summary
    assert step.stays and "slackwater restart s" in plan.onward


def test_it_is_rebuilt_after_a_crash() -> None:
    for asked in (BELOW, INSIDE):
        assert upgrade.plan_again(asked.arguments()) == upgrade.plan(asked)
