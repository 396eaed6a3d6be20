"""The lab under test, seen and handled without slackwater's own eyes: SQL, sockets, signals."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pymysql
from pymysql.cursors import DictCursor
from tests.sweep import front
from tests.sweep.front import Front

from slackwater.lab import directory as place
from slackwater.lab.down import down
from slackwater.lab.facts import LabFacts
from slackwater.lab.up import up

PATIENCE = float(os.environ.get("SLACKWATER_TEST_PATIENCE", "1"))
HOLD_S = 2.5
LIMITS = f"\n[limits]\nhold = {HOLD_S}\ngrace = 0.5\n"
NAMES = ("a", "b")


class SweepLab:
    """A running lab with low limits. `other(name)` is the other server of the pair.

    Of several balancers, the first is the one that faults befall.
    """

    def __init__(self, directory: Path, server: Path | None, balancers: int = 1) -> None:
        self.directory, self.server = directory, server
        self.built = 0
        self.fronts: list[Front] = []
        self.facts: LabFacts
        self._balancers = balancers

    def build(self) -> None:
        """Start anew, whatever is there."""
        self.end()
        self.facts = up(
            server=self.server, directory=self.directory, balancers=self._balancers)
        self.built += 1
        about = self.facts.balancers
        self.fronts = [Front(self.directory, name, about[name]) for name in about]
        with self.config.open("a") as file:
            file.write(LIMITS)

    def end(self) -> None:
        """Down, without a trace."""
        for pid in place.processes(self.directory) if self.directory.exists() else []:
            pid.signal(signal.SIGCONT)
        down(self.directory)

    @property
    def config(self) -> Path:
        return self.facts.config

    # Servers

    def connect(self, name: str, limit_s: float = 5.0) -> Any:
        """A session as slackwater's account, which slackwater itself does not count as a client."""
        return pymysql.connect(
            unix_socket=str(self.facts.servers[name]["socket"]), user="slackwater",
            password=(self.directory / "slackwater.password").read_text().strip(),
            autocommit=True, connect_timeout=max(1, round(limit_s)),
            read_timeout=limit_s, write_timeout=limit_s,
        )

    def sql(self, name: str, *statements: str, limit_s: float = 5.0) -> list[dict[str, Any]]:
        """Run statements; the rows of the last one. Raises pymysql.Error."""
        with contextlib.closing(self.connect(name, limit_s)) as session:
            cursor = session.cursor(DictCursor)
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def replica(self, verb: str) -> str:
        """`START SLAVE` or `START REPLICA`, and so on, as this server says it."""
        program = self.facts.instance("a").program
        new = not program.is_mariadb and program.version >= (8, 0, 23)
        return f"{verb} {'REPLICA' if new else 'SLAVE'}"

    def signal_server(self, name: str, number: signal.Signals) -> None:
        """SIGSTOP and SIGCONT; SIGKILL also waits for the end."""
        server = self.facts.instance(name)
        if number is signal.SIGKILL:
            server.kill()
        elif server.process is not None:
            server.process.signal(number)

    # Healing

    def heal(self) -> None:
        """Undo the world's faults: continue, restart, reconnect. Roles are slackwater's job."""
        for process in place.processes(self.directory):
            process.signal(signal.SIGCONT)
        for name in NAMES:
            server = self.facts.instance(name)
            if not server.alive:
                server.start()
        for each in self.fronts:
            each.heal()
        for name in NAMES:
            self.sql(name, self.replica("START"))

    # Looking

    def look(self) -> dict[str, Any]:
        """Everything that must be one and the same in the end. Raises OSError, pymysql.Error."""
        seen: dict[str, Any] = {}
        for name in NAMES:
            value = self.sql(name, "SELECT @@GLOBAL.read_only AS r")[0]["r"]
            seen[f"{name} writable"] = writable = str(value) in ("0", "OFF")
            seen[f"{name} has clients"] = 0 if writable else self._clients(name)
            seen[f"{name} replicates"] = self._replicates(name)
            seen[f"{name} locked by"] = self.sql(
                name, "SELECT IS_USED_LOCK('slackwater') AS l")[0]["l"]
        seen["balancers"] = {each.name: each.look() for each in self.fronts}
        seen["unfinished"] = self.unfinished()
        return seen

    def _clients(self, name: str) -> int:
        """How many of the application's sessions are on a server."""
        counted = "SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST WHERE USER = 'app'"
        return int(self.sql(name, counted)[0]["n"])

    def _replicates(self, name: str) -> bool:
        rows = self.sql(name, self.replica("SHOW") + " STATUS")
        states = [v for k, v in rows[0].items() if re.fullmatch(r"\w+_(IO|SQL)_Running", k)]
        return states == ["Yes", "Yes"] if rows else False

    def unfinished(self) -> list[str]:
        """Journals that say stuck, unknown, or nothing at their end."""
        found = []
        for path in sorted((self.directory / "state").glob("*.jsonl")):
            events = [_json(line) for line in path.read_bytes().split(b"\n") if line.strip()]
            names = [e.get("event") for e in events]
            ends = [e["outcome"] for e in events if e.get("event") == "ended"]
            if "started" in names and (not ends or ends[-1] in ("stuck", "unknown")):
                found.append(path.stem)
        return found

    def active(self) -> str | None:
        """The one server that accepts writes; None when not one."""
        seen = self.look()
        found = [n for n in NAMES if seen[f"{n} writable"]]
        return found[0] if len(found) == 1 else None


def other(name: str) -> str:
    """The other server of the pair."""
    return "b" if name == "a" else "a"


def faults_of(
    seen: dict[str, Any], *, active: str | None = None, locks: bool = True
) -> list[str]:
    """What is not as it must be in a healthy pair; `active`: who must be, if that is known.

    Without `locks`, slackwater's own may still be there: who was cut off cannot free them, they
    end after a minute or with the next operation.
    """
    writable = [n for n in NAMES if seen[f"{n} writable"]]
    found = [] if len(writable) == 1 else [f"writable: {'+'.join(writable) or 'nobody'}"]
    role = writable[0] if len(writable) == 1 else active
    if active is not None and writable != [active]:
        found.append(f"{active} is not the writable one")
    for name, there in seen["balancers"].items():
        found += front.faults_of(name, there, role)
    for name in NAMES:
        if not seen[f"{name} replicates"]:
            found.append(f"{name} does not replicate")
        if seen[f"{name} has clients"]:
            found.append(f"{seen[f'{name} has clients']} clients are left on {name}, read-only")
        if locks and seen[f"{name} locked by"] is not None:
            found.append(f"{name} is locked by session {seen[f'{name} locked by']}")
    if seen["unfinished"]:
        found.append(f"unfinished: {seen['unfinished']}")
    return found


def settle(
    lab: SweepLab, limit_s: float, *, active: str | None = None, locks: bool = True
) -> list[str]:
    """Look until the pair is healthy; what is still wrong at the limit."""
    end = time.monotonic() + limit_s
    while True:
        try:
            wrong = faults_of(lab.look(), active=active, locks=locks)
        except (OSError, pymysql.Error, KeyError) as error:
            wrong = [f"cannot look: {error!r}"]
        if not wrong or time.monotonic() > end:
            return wrong
        time.sleep(0.05)


def python(*words: str) -> list[str]:
    """A command line of this very Python."""
    return [sys.executable, "-m", *words]


def environment(**more: str) -> dict[str, str]:
    """Ours, with the source tree on the path."""
    root = Path(__file__).parents[2]
    path = f"{root / 'src'}:{root}"
    # Nor without the compiled modules that an operator's slackwater starts from.
    without = ("SLACKWATER_INJECT", "PYTHONDONTWRITEBYTECODE")
    clean = {k: v for k, v in os.environ.items() if k not in without}
    return {**clean, "PYTHONPATH": path, **more}


def _json(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
