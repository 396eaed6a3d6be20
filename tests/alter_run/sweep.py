"""A schema change cut off at every step: slackwater killed, either server killed; then mended.

`python -m tests.alter_run.sweep [--server ROOT] [--steps A,B] [--kinds kill,killed,a,b]
[--mended recover,again] [--operation alter,finish,revert] [--part N/M]` runs all of it, under load;
`--part`: each M-th case alone, from the N-th on. The tests run a part.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from tests.alter_run.scene import (
    NAMES,
    ROLE,
    WIDEN,
    alter,
    columns,
    fill,
    load,
    on,
    state,
    whole,
)
from tests.servers.command import Said, slackwater
from tests.servers.fixtures import end

from slackwater.lab.facts import LabFacts
from slackwater.lab.up import up

KINDS = ("kill", "killed", "a", "b")
MENDED = ("recover", "again")
OPERATIONS = ("alter", "finish", "revert")


@dataclass(frozen=True)
class Case:
    """`kind`: slackwater killed before or after the step, or a server right before it."""

    operation: str
    step: str
    kind: str
    mended: str

    def __str__(self) -> str:
        return f"{self.operation} {self.kind}:{self.step} then {self.mended}"


def command(lab: LabFacts, operation: str, inject: str = "") -> Said:
    """The operation, as a person types it."""
    if operation == "alter":
        return alter(lab, WIDEN, inject=inject)
    return slackwater(lab, "alter", operation, inject=inject, limit_s=120)


def steps(lab: LabFacts, operation: str) -> list[str]:
    """The names of its steps."""
    words = ["alter", "--sql", WIDEN] if operation == "alter" else ["alter", operation]
    return [s["name"] for s in slackwater(lab, *words, "--plan").report["steps"]]


def ready(lab: LabFacts, operation: str) -> None:
    """Bring the pair to where the operation can begin: nothing open, or half done."""
    now = state(lab)
    if operation == "alter":
        if now:
            assert slackwater(lab, "alter", "revert").code == 0
        elif "extra" in columns(lab, "a"):
            back = "ALTER TABLE items DROP INDEX by_n, DROP COLUMN extra"
            assert alter(lab, back).code == 0
            assert slackwater(lab, "alter", "finish").code == 0
            # The key stays wide: it is a copy, and the same work, all the same.
    else:
        if not now:
            ready(lab, "alter")
            assert alter(lab, WIDEN).code == 0
        assert state(lab)["state"] == "half done"


def cut(lab: LabFacts, case: Case) -> Said:
    """Begin, with the fault."""
    if case.kind in NAMES:
        pid = lab.instance(case.kind).pid
        fault = f"run:{case.step}:kill -9 {pid}"
    else:
        fault = f"{case.kind}:{case.step}"
    return command(lab, case.operation, fault)


def true_in_between(lab: LabFacts, first: Said) -> None:
    """What `status` says before anybody mends anything."""
    said = slackwater(lab, "status").report
    alive = [n for n in NAMES if lab.instance(n).alive]
    writable = [n for n in alive if not int(on(lab, n, ROLE)[0]["r"])]
    assert said["active"] in (None, *writable), (said["active"], writable)
    if not first.report:
        assert said["unfinished"], said
    change = said["alter"]
    if len(alive) == len(NAMES):
        assert not said["left"], said["left"]
        new = [n for n in NAMES if "extra" in columns(lab, n)]
        whole_ = [n for n in NAMES if change and change["done"].get(n, 0) == 2]
        assert whole_ == new if change else len(new) in (0, 2), (new, change)
        if change and change["state"] == "half done":
            assert writable in ([], [change["first"]]), (writable, change["says"])
    elif change:
        assert "; first: " in change["says"], change["says"]


def mend(lab: LabFacts, case: Case, killed: dict[str, int], first: Said) -> list[Said]:
    """Start what is dead; recover, or give the command again, until it says that all is well.

    Nobody gives a command again that ended done in spite of a server's death: what that server has
    forgotten, `status` names, and `recover` sets.
    """
    by_recover = case.mended == "recover" or first.report.get("outcome") == "done"
    for name in NAMES:
        server = lab.instance(name)
        if not server.alive:
            with contextlib.suppress(ChildProcessError, TypeError):
                os.waitpid(killed[name], 0)  # MySQL takes a process that nobody waited for as alive
            server.start()
    said = []
    for _ in range(4):
        if by_recover:
            said.append(slackwater(lab, "recover", limit_s=120))
        else:
            said.append(command(lab, case.operation))
        if said[-1].code in (0, 2) or (not by_recover and _there(lab, case.operation)):
            break
        time.sleep(0.5)
    return said


def _there(lab: LabFacts, operation: str) -> bool:
    report = slackwater(lab, "status").report
    if report["unfinished"]:
        return False
    now = report["alter"]
    return bool(now) and now["state"] == "half done" if operation == "alter" else not now


def run(lab: LabFacts, case: Case) -> str:
    """One case; what came of it. Raises AssertionError."""
    ready(lab, case.operation)
    with load(lab, rate=30) as report:
        pids = {name: lab.instance(name).pid or 0 for name in NAMES}
        first = cut(lab, case)
        true_in_between(lab, first)
        said = mend(lab, case, pids, first)
        whole(lab)
    assert (report["lost"], report["duplicated"]) == (0, 0), report
    now = state(lab)
    outcome = f"{first.report.get('outcome', 'killed')}; {', '.join(map(_short, said))}"
    assert now == {} or now["state"] in ("half done", "reverted"), now
    return f"{outcome}; {now.get('state', 'nothing open')}"


def _short(said: Said) -> str:
    """The outcome, and why it is not the last one."""
    why = "" if said.code in (0, 2) else f" ({str(said.report.get('reasons', ''))[:400]})"
    return f"{said.report['outcome']}{why}"


def cases(operation: str, steps: list[str], kinds: list[str], mended: list[str]) -> list[Case]:
    """Each step with each fault and each way to mend it."""
    return [Case(operation, step, kind, way) for step in steps for kind in kinds for way in mended]


def main() -> None:
    """All cases that were asked for; exit code 1 when one failed."""
    ask = argparse.ArgumentParser()
    ask.add_argument("--server", type=Path, default=None)
    for name, all_ in (("steps", ""), ("kinds", ",".join(KINDS)), ("mended", ",".join(MENDED)),
                       ("operation", ",".join(OPERATIONS))):
        ask.add_argument(f"--{name}", default=all_)
    ask.add_argument("--part", default="1/1")
    asked = ask.parse_args()
    begin, every = map(int, asked.part.split("/"))
    number = -begin
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # end the servers all the same
    directory = Path(tempfile.mkdtemp(prefix="slackwater-alter-"))
    directory.chmod(0o711)
    failed = 0
    try:
        lab = up(server=asked.server, directory=directory / "lab")
        fill(lab)
        for operation in asked.operation.split(","):
            ready(lab, operation)
            names = asked.steps.split(",") if asked.steps else steps(lab, operation)
            for case in cases(operation, names, asked.kinds.split(","), asked.mended.split(",")):
                number += 1
                if number % every:
                    continue
                try:
                    print(f"ok    {case}: {run(lab, case)}", flush=True)
                except Exception:
                    failed += 1
                    print(f"WRONG {case}: {traceback.format_exc(limit=-3)}", flush=True)
                    end(directory / "lab")
                    lab = up(server=asked.server, directory=directory / "lab")
                    fill(lab)
    finally:
        end(directory / "lab")
        directory.rmdir()
    print(f"{failed} wrong")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
