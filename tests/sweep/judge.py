"""The verdict: what must hold after each case, looked at without slackwater's own eyes."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pymysql
from tests.sweep.cases import COMMIT, STEPS, Case
from tests.sweep.front import Front, holds
from tests.sweep.network import Network
from tests.sweep.pair import HOLD_S, PATIENCE, SweepLab, other, settle

from slackwater.lab.ports import free_port

if TYPE_CHECKING:
    from tests.sweep.run import Result, Said

WORDS = {"done": 0, "refused": 1, "undone": 2, "stuck": 3, "unknown": 3}
# Faults during which clients may wait for another reason than the hold.
OUTAGES = ("kill old", "kill new", "kill balancer", "hang old", "hang new", "hang balancer",
           "lag by a lock")
# Before the commit point it is noticed; afterwards its owner alone bounds it.
LATE_OUTAGES = ("lag by a global lock",)


def hold_ends(lab: SweepLab, limit_s: float) -> list[str]:
    """Wait until nothing is held; a fault if that takes longer than a hold may last."""
    end = time.monotonic() + limit_s
    while True:
        try:
            seen = lab.look()
            held = any(holds(there) for there in seen["balancers"].values())
        except (OSError, pymysql.Error, KeyError) as error:
            held, seen = True, {"cannot look": repr(error)}
        if not held:
            return []
        if time.monotonic() > end:
            return [f"the hold did not end by itself: {seen}"]
        time.sleep(0.02)


def told_of_the_end(case: Case, said: Said) -> bool:
    """Whether the servers know that slackwater has ended: not one that was cut off before anything
    was left to recover. What it keeps, the next switchover ends."""
    return not (case.group == "network" and said.outcome == "undone")


def truth(lab: SweepLab, case: Case, said: Said, old: str) -> list[str]:
    """Is the outcome one of the five words, the expected one, and true?"""
    outcome = said.outcome
    found = []
    if outcome != "killed" and outcome not in WORDS:
        return [f"the outcome is {outcome!r}: {said.errors[-1500:]}"]
    if "Traceback" in said.errors:
        found.append(f"a traceback: {said.errors[-1500:]}")
    if outcome in WORDS and said.code != WORDS[outcome]:
        found.append(f"exit code {said.code} with {outcome}")
    if case.expected and outcome not in case.expected:
        reasons = said.report.get("reasons")
        found.append(f"{outcome}, expected {' or '.join(case.expected)}: {reasons}")
    role = {"done": other(old), "refused": old, "undone": old}.get(outcome)
    if role is not None:
        wrong = settle(lab, 5 * PATIENCE, active=role, locks=told_of_the_end(case, said))
        found += [f"{outcome} is not true: {w}" for w in wrong]
    return found


def load(client: subprocess.Popen[str], result: Result, case: Case, outage_s: float) -> None:
    """End the load and count what it saw."""
    try:
        out, _errors = client.communicate(timeout=90 * PATIENCE)
        report: dict[str, Any] = json.loads(out)
    except (subprocess.TimeoutExpired, ValueError):
        client.kill()
        result.faults.append("the load did not report")
        return
    result.acked, result.lost = report["acked"], report["lost"]
    result.duplicated = report["duplicated"]
    waits = [*report["longest_stalls_ms"].values(), *(e["longest_ms"] for e in report["errors"])]
    result.longest_ms = max(waits)
    for key in ("lost", "duplicated", "missing_on_passive", "extra_on_passive"):
        if report[key] != 0:
            result.faults.append(f"{key}: {report[key]} {report.get(key + '_numbers', '')}")
    result.faults += [f"verification: {p}" for p in report["problems"]]
    late = case.action in LATE_OUTAGES and STEPS.index(case.step) > COMMIT
    outage = case.action in OUTAGES or late
    limit_ms = (HOLD_S + PATIENCE + (outage_s if outage else 0.0)) * 1000
    if result.longest_ms > limit_ms:
        slow = [e for e in report["errors"] if e["longest_ms"] > limit_ms]
        result.faults.append(f"a client waited {result.longest_ms:.0f} ms, "
                             f"more than {limit_ms:.0f}: {slow or report['longest_stalls_ms']}")
    for fault in report["errors"]:
        result.notes.append(
            f"{fault['count']} × {fault['kind']} {fault['phase']} {fault['code']} {fault['text']}")


def use_tcp(lab: SweepLab, network: Network) -> None:
    """Have slackwater reach everything by TCP, as from another host."""
    text = lab.config.read_text()
    network.ports = {n: (int(s["port"]),) for n, s in lab.facts.servers.items()}
    for front in lab.fronts:
        text, ports = _over_tcp(front, text)
        # Cases cut the first off by this name; nobody cuts the others off.
        network.ports["balancer" if front is lab.fronts[0] else front.name] = ports
    lines = [line for line in text.splitlines() if not line.startswith("socket =")]
    lab.config.write_text("\n".join(lines) + "\n")


def _over_tcp(front: Front, text: str) -> tuple[str, tuple[int, ...]]:
    """slackwater.toml with this balancer's sockets as ports, and its ports."""
    runtime, pin = free_port(), free_port()
    main, pair = front.files.main_config, front.files.config_file
    main.write_text(main.read_text().replace(
        "global\n", f"global\n    stats socket ipv4@127.0.0.1:{runtime} level admin\n", 1))
    pair.write_text(pair.read_text().replace(
        "    bind unix@", f"    bind 127.0.0.1:{pin}\n    bind unix@", 1))
    front.restart()
    text = text.replace(front.about["runtime"], f"tcp:127.0.0.1:{runtime}")
    text = text.replace(front.about["pin"], f"tcp:127.0.0.1:{pin}")
    return text, (front.port, runtime, pin)
