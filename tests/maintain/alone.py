"""One database server alone, with its slackwater.toml: no pair, no balancer."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from slackwater.lab import accounts, restart
from slackwater.lab.directory import write_private
from slackwater.lab.instance import Instance, Program
from slackwater.lab.load import Load, LoadPlan, LoadReport
from slackwater.lab.load_plan import Target

PASSWORD = "abcdefgh12345678"


def make(program: Program, place: Path) -> Instance:
    """A running server in `place`/s with the accounts of a lab, and `place`/slackwater.toml."""
    server = Instance.create(program, place / "s", server_id=1, mark=place)
    server.start()
    prepare(server)
    write_private(place / "password", PASSWORD + "\n")
    write_config(server, place, restart.command(server.directory))
    return server


def write_config(server: Instance, place: Path, command: str, more: str = "") -> None:
    """Its slackwater.toml; `command` restarts it, `more` are further lines of [servers.s]."""
    config(place).write_text(f"""
lab = true
[servers.s]
address = "{server.address}"
socket = "{server.socket}"
restart = "{command}"
{more}
[accounts.slackwater]
password_file = "{place / 'password'}"
[state]
directory = "{place / 'state'}"
""")


def config(place: Path) -> Path:
    """Its slackwater.toml."""
    return place / "slackwater.toml"


def prepare(server: Instance) -> None:
    """Accounts and the database of a lab."""
    asyncio.run(_accounts(server))


async def _accounts(server: Instance) -> None:
    await accounts.make_accounts(server, dict.fromkeys(("slackwater", "app", "repl"), PASSWORD))
    await accounts.make_database(server)
    for user in ("slackwater", "app"):
        await accounts.log_in(server, user, PASSWORD)


def target(server: Instance) -> Target:
    """The server itself, as a load's target."""
    return Target(
        frontends=(("127.0.0.1", server.port),), user="app", password=PASSWORD,
        servers=(("s", str(server.socket)),),
    )


class Loaded:
    """A load in a thread, from entering until `seconds` are over or the block ends."""

    def __init__(self, at: Target, plan: LoadPlan) -> None:
        self._load = Load(at, plan)
        self._thread = threading.Thread(target=self._run)
        self.report: LoadReport | None = None

    def _run(self) -> None:
        self.report = self._load.run()

    @property
    def acked(self) -> int:
        """Writes acknowledged so far."""
        return self._load.record.acked

    @property
    def failed(self) -> int:
        """Requests that failed so far."""
        return sum(fault.count for fault in self._load.record.faults())

    def __enter__(self) -> Loaded:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._load.stop()
        self._thread.join()


def command(*words: str | Path) -> list[str]:
    """slackwater's command line."""
    return [sys.executable, "-m", "slackwater", *map(str, words)]


def slackwater(
    *words: str | Path, before: tuple[str, ...] = (), timeout: float = 180.0
) -> subprocess.CompletedProcess[str]:
    """Run it as a person would; `before`: a program that runs it."""
    return subprocess.run(
        [*before, *command(*words)], capture_output=True, text=True, timeout=timeout, check=False,
        env={**os.environ, "COLUMNS": "120"},
    )


def until_step(
    name: str, *words: str | Path, before: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """Begin it (with --json among the words) and return once that step has begun."""
    process = subprocess.Popen(
        [*before, *command(*words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "started" and event.get("step") == name:
            return process
    print(process.stdout.read() if process.stdout else "", file=sys.stderr)
    raise AssertionError(f"{name} was never begun")


def summary(report: LoadReport) -> dict[str, Any]:
    """What a test or a bench asks of a load."""
    said = report.as_json(None)
    seen = report.verification
    return {
        "acked": report.acked, "errors": said["errors_by_kind"],
        "lost": seen.lost if seen else None,
        "duplicated": seen.duplicated if seen else None,
        "longest_ms": said["latency_ms"]["request"]["max"],
        "longest_gap_ms": said["longest_gap_ms"],
        "faults": [f"{f.count} {f.kind} {f.phase} {f.code} {f.text}" for f in report.faults],
    }
