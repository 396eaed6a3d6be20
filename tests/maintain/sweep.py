"""The failure sweep of held maintenance: every step of `hold` and `restart` fails in every way.

    python -m tests.maintain.sweep [--quick] [--case PATTERN] [--server mariadb-10.11]

One server alone, in a network namespace of its own, with connection-per-request writes; the faults
are those of plan/faults.py. After each case: the outcome is the expected one; nobody is held and
nothing is left in the rule set; `recover` finishes or undoes what was killed; the server runs,
accepts writes, and no client failed or lost a write.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.maintain import alone
from tests.maintain.scene import last_json
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually

from slackwater.lab.instance import Instance, installed
from slackwater.lab.load_plan import LoadPlan

STEPS = ("LockServers", "Remember", "WaitForCalm", "ShutGate", "WaitForClients", "StartCommand",
         "FinishCommand", "ProveHealth", "OpenGate")  # fmt: skip
COMMIT = STEPS.index("StartCommand")
# What was not done may be so all the same: these only wait and look, and look again.
LOOKS = ("WaitForCalm", "WaitForClients", "ProveHealth")
UNDOABLE = ("LockServers", "ShutGate")
KINDS = ("before", "lost", "after", "verify", "undo", "kill", "killed")
RATE = 50.0
HOLD_S = 8.0


@dataclass(frozen=True)
class Case:
    """A fault of a step. `expected`: the outcomes that are right; `recovered`: those of `recover`
    after a kill."""

    operation: str
    kind: str
    step: str
    inject: str
    expected: tuple[str, ...]
    recovered: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.operation} {self.kind} {self.step}"


def every() -> list[Case]:
    """Every step of both operations fails in every way."""
    return [case for operation in ("restart", "hold") for kind in KINDS for step in STEPS
            if (case := _case(operation, kind, step))]  # fmt: skip


def quick() -> list[Case]:
    """Each kind at least once, where most can go wrong."""
    places = {
        "before": ("FinishCommand",), "lost": ("StartCommand",), "after": ("OpenGate",),
        "verify": ("WaitForClients",), "undo": ("ShutGate",), "kill": ("OpenGate",),
        "killed": ("ShutGate", "StartCommand"),
    }
    found = [_case("restart", kind, step) for kind, steps in places.items() for step in steps]
    found.append(_case("hold", "before", "StartCommand"))
    return [case for case in found if case]


def _case(operation: str, kind: str, step: str) -> Case | None:
    early = STEPS.index(step) <= COMMIT
    inject = f"{kind}:{step}"
    if kind == "undo":
        if step not in UNDOABLE:
            return None
        inject = f"undo:{step};before:WaitForClients;verify:WaitForClients"
        return Case(operation, kind, step, inject, ("stuck",), ("undone",))
    if kind in ("kill", "killed"):
        begun = STEPS.index(step) > COMMIT or (step == STEPS[COMMIT] and kind == "killed")
        return Case(operation, kind, step, inject, ("killed",), ("done",) if begun else ("undone",))
    if kind in ("lost", "after"):
        return Case(operation, kind, step, inject, ("done",))
    expected = ("undone",) if early else ("stuck",)
    if kind == "before" and step in LOOKS:
        expected += ("done",)
    return Case(operation, kind, step, inject, expected, ("done",))


class Sweep:
    """One server, loaded, for all cases."""

    def __init__(self, name: str) -> None:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        self.place = Path(tempfile.mkdtemp(prefix="slackwater-hold-sweep-")).resolve()
        self.place.chmod(0o711)
        program = next(p for p in installed() if p.name == name)
        self.server = alone.make(program, self.place)
        self.load = alone.Loaded(
            alone.target(self.server), LoadPlan(seconds=7200, rate=RATE, pooled=0, pooled_tested=0,
                                                connect_limit_s=30 * PATIENCE))

    def run(self, case: Case) -> list[str]:
        """What is not as it has to be."""
        before = self.load.failed
        found = self._run(case)
        if (failed := self.load.failed - before):
            found.append(f"{failed} client(s) failed")
        return found

    def _run(self, case: Case) -> list[str]:
        self._more()
        done = self._slackwater(*_words(case), inject=case.inject)
        outcome = "killed" if done.returncode < 0 else last_json(done.stdout).get("outcome")
        found = [] if outcome in case.expected else [
            f"{outcome}, expected {' or '.join(case.expected)}: {done.stderr[-1500:]}"]
        if "Traceback" in done.stderr:
            found.append(f"a traceback: {done.stderr[-1500:]}")
        if outcome in ("killed", "stuck", "unknown"):
            again = self._slackwater("recover")
            recovered = last_json(again.stdout).get("recovered") or [{}]
            ended = recovered[-1].get("outcome")
            if case.recovered and ended not in case.recovered:
                found.append(f"recover: {ended}, expected {' or '.join(case.recovered)}: "
                             f"{again.stdout[-800:]}{again.stderr[-800:]}")
        return found + self._after()

    def _after(self) -> list[str]:
        """The world after a case."""
        found = []
        if wrong := _soon(self._rules):
            found.append(f"left in the rule set: {wrong}")
        self._more()
        if not Instance.load(self.server.directory).alive:
            found.append("the server does not run")
        if sql(self.server.socket, "SELECT @@GLOBAL.read_only AS r")[0]["r"]:
            found.append("the server is read-only")
        if left := [p.stem for p in (self.place / "state").glob("*.jsonl") if not _ended(p)]:
            found.append(f"unfinished: {left}")
        return found

    def _rules(self) -> str:
        said = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True,
                              check=True, timeout=10).stdout
        return said if "slackwater" in said else ""

    def _more(self) -> None:
        more = self.load.acked + RATE / 4
        eventually(lambda: self.load.acked >= more, "clients are served", limit_s=60)

    def _slackwater(self, *words: str, inject: str = "") -> subprocess.CompletedProcess[str]:
        more = {"SLACKWATER_INJECT": inject} if inject else {}
        front, dashes, command = _split(words)
        return subprocess.run(
            alone.command(*front, "--json", "--config", alone.config(self.place), *dashes,
                          *command),
            env={**os.environ, **more}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=90 * PATIENCE, check=False,
        )

    def close(self) -> None:
        """Nothing is left."""
        Instance.load(self.server.directory).remove()
        shutil.rmtree(self.place, ignore_errors=True)


def _words(case: Case) -> tuple[str, ...]:
    limits = ("--limit", str(HOLD_S * PATIENCE), "--quiet-limit", "6")
    if case.operation == "restart":
        return ("restart", "s", *limits)
    return ("hold", "--port", "1", *limits, "--", "sh", "-c", "echo worked")


def _split(words: tuple[str, ...]) -> tuple[list[str], list[str], list[str]]:
    at = words.index("--") if "--" in words else len(words)
    return list(words[:at]), list(words[at:at + 1]), list(words[at + 1:])


def _soon(look: Any) -> Any:
    """What is still true some seconds later."""
    end = time.monotonic() + 15 * PATIENCE
    while (seen := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return seen


def _ended(path: Path) -> bool:
    events = [json.loads(line) for line in path.read_text().splitlines() if line]
    ends = [e["outcome"] for e in events if e["event"] == "ended"]
    begun = any(e["event"] == "started" for e in events)
    return not begun or (bool(ends) and ends[-1] not in ("stuck", "unknown"))


def main() -> int:
    """Run the cases; exit code 1 when one failed. The last line is JSON: title -> faults."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--quick", action="store_true")
    asked.add_argument("--case", default="*")
    asked.add_argument("--server", default="mariadb-10.11")
    options = asked.parse_args()
    cases = quick() if options.quick else every()
    results: dict[str, list[str]] = {}
    sweep = Sweep(options.server)
    try:
        with sweep.load:
            for case in (c for c in cases if fnmatch.fnmatch(c.title, options.case)):
                began = time.monotonic()
                results[case.title] = sweep.run(case)
                said = "; ".join(results[case.title]) or "ok"
                print(f"{time.monotonic() - began:5.1f} s  {case.title:32} {said}",
                      file=sys.stderr, flush=True)
        assert sweep.load.report is not None
        seen = alone.summary(sweep.load.report)
        wrong = [f"{seen}"] if sum(seen["errors"].values()) or seen["lost"] else []
        results["the clients"] = wrong + ([] if seen["duplicated"] == 0 else ["duplicated"])
        print(f"clients: {seen}", file=sys.stderr)
    finally:
        sweep.close()
    print(json.dumps(results))
    return int(any(results.values()))


if __name__ == "__main__":
    sys.exit(main())
