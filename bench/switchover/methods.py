"""The methods that are compared: how each is started, and when it had clients wait."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slackwater.lab.directory import write_private
from slackwater.lab.facts import LabFacts

HERE = Path(__file__).parent
OLD, NEW = "a", "b"
LIMIT_S = 60.0


@dataclass(frozen=True)
class Done:
    """A method's run. `marks`: name -> unix seconds; `began` is when it began to stop clients."""

    started: float
    ended: float
    ok: bool
    output: str
    marks: dict[str, float] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def began(self) -> float:
        for name in ("HoldClients", "closed", "lock"):
            if name in self.marks:
                return self.marks[name]
        return self.started


@dataclass(frozen=True)
class Method:
    """`name` for tables and plots, `about` in one line for the page."""

    key: str
    name: str
    about: str

    def run(self, facts: LabFacts) -> Done:
        """Switch over from a to b; blocks."""
        if self.key == "none":
            return _nothing()
        if self.key == "slackwater":
            return _slackwater(facts)
        return _script(HERE / f"{self.key}.sh", facts)


METHODS = (
    Method("none", "no switchover", "the same load, left alone: what this machine does by itself"),
    Method("slackwater", "slackwater", "`slackwater switchover`, as a user starts it"),
    Method(
        "by_hand",
        "by hand",
        "[by_hand.sh](../bench/switchover/by_hand.sh): STOP/START SLAVE, lag about zero, FLUSH "
        "TABLES WITH READ LOCK, catch up, read_only, edit HAProxy's file, reload, unlock, "
        "end leftover sessions; calls of the mariadb client in a shell script",
    ),
    Method(
        "syn_drop",
        "SYN drop",
        "[syn_drop.sh](../bench/switchover/syn_drop.sh): an nftables rule drops new connections "
        "to the balancer, those inside end, lock, catch up, flip by HAProxy's runtime API, rule "
        "away; the same shell",
    ),
)


def _nothing() -> Done:
    started = time.time()
    time.sleep(1.0)
    return Done(started, time.time(), True, "")


def _slackwater(facts: LabFacts) -> Done:
    words = [sys.executable, "-m", "slackwater", "switchover", "--to", NEW, "--json"]
    started = time.time()
    done = subprocess.run(
        [*words, "--config", str(facts.config)],
        capture_output=True, text=True, timeout=LIMIT_S, check=False, env=_clean(),
    )
    ended = time.time()
    try:
        told = json.loads(done.stdout)
    except ValueError:
        told = {}
    marks = {}
    for line in done.stderr.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("event") == "started":
            marks[event["step"]] = event["at"]
    ok = done.returncode == 0 and told.get("outcome") == "done"
    return Done(started, ended, ok, done.stdout + done.stderr, marks, told)


def _script(script: Path, facts: LabFacts) -> Done:
    balancer = facts.balancers["lb1"]
    environment = {
        **_clean(),
        "ADMIN": str(_option_file(facts)),
        "MAIN_CONFIG": balancer["main_config"],
        "PAIR_CONFIG": balancer["config_file"],
        "MASTER_PID": str(balancer["pid"]),
        "RUNTIME": balancer["runtime"].removeprefix("unix:"),
        "PORT": balancer["frontend"].rpartition(":")[2],
        "LC_ALL": "C",  # EPOCHREALTIME has the locale's decimal point
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
    }
    started = time.time()
    done = subprocess.run(
        ["bash", str(script), OLD, NEW],
        capture_output=True, text=True, timeout=LIMIT_S, check=False, env=environment,
    )
    ended = time.time()
    marks = {}
    for line in done.stdout.splitlines():
        at, _, word = line.partition(" ")
        if at.replace(".", "").isdigit():
            marks[word] = float(at)
    ok = done.returncode == 0 and "end" in marks
    return Done(started, ended, ok, done.stdout + done.stderr, marks)


def _option_file(facts: LabFacts) -> Path:
    """The administrator's ~/.my.cnf: no password on any command line."""
    lines = []
    password = (facts.directory / "slackwater.password").read_text().strip()
    for name, server in facts.servers.items():
        lines += [f"[client_{name}]", f"socket={server['socket']}"]
        lines += ["user=slackwater", f"password={password}"]
    host, _, port = facts.balancers["lb1"]["frontend"].rpartition(":")
    app = facts.app
    password = Path(app["password_file"]).read_text().strip()
    lines += ["[client_front]", "protocol=tcp", f"host={host}", f"port={port}"]
    # As the application, but counted as the administrator's by nobody: it only reads.
    lines += [f"user={app['user']}", f"password={password}"]
    path = facts.directory / "admin.cnf"
    write_private(path, "\n".join(lines) + "\n")
    return path


def _clean() -> dict[str, str]:
    """The environment without what would make slackwater fail on purpose."""
    return {k: v for k, v in os.environ.items() if not k.startswith("SLACKWATER_INJECT")}
