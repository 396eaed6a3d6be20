"""One balancer of the lab under test, seen and handled without slackwater's own eyes."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

from slackwater.facts.balancer import parse_info, parse_servers_state, parse_sessions
from slackwater.lab import directory as place
from slackwater.lab.balancer import Balancer, find_haproxy
from slackwater.lab.balancer import start as start_balancer
from slackwater.lab.process import ProcessId


class Front:
    """An HAProxy: its sockets, its files, its processes."""

    def __init__(self, lab: Path, name: str, about: dict[str, Any]) -> None:
        self.name, self.about, self._lab = name, about, lab
        self.directory = lab / name
        self.port = int(about["frontend"].rpartition(":")[2])
        self.files = Balancer(name, self.directory, self.port, find_haproxy())

    def signal(self, number: signal.Signals) -> None:
        """To the master and its workers: workers are what serves."""
        for process in self._processes():
            process.signal(number)
            if number is signal.SIGKILL:
                process.wait_gone(5)

    def _processes(self) -> list[ProcessId]:
        """A worker has its master's command line, with this balancer's files in it."""
        files = f"{self.directory}/".encode()
        marks = place.processes(self._lab)
        return [p for p in marks if _read(p.pid, "comm") == b"haproxy\n"
                and files in _read(p.pid, "cmdline")]

    def reload(self, *, wait: bool) -> None:
        """As an operator does; `wait` until the new process answers."""
        processes = self._processes()
        pids = {p.pid for p in processes}
        before = parse_info(self.runtime("show info"))["Pid"]
        for process in processes:
            if _parent(process.pid) not in pids:
                process.signal(signal.SIGUSR2)
        end = time.monotonic() + 10
        while wait and time.monotonic() < end:
            with contextlib.suppress(OSError):
                if parse_info(self.runtime("show info")).get("Pid", before) != before:
                    return
            time.sleep(0.005)

    def restart(self) -> None:
        """Kill HAProxy and start it from its files."""
        self.signal(signal.SIGKILL)
        start_balancer(self.files, mark=self._lab)

    def heal(self) -> None:
        """Start it when it does not run."""
        if not self._processes():
            start_balancer(self.files, mark=self._lab)

    def runtime(self, *commands: str) -> str:
        """HAProxy's reply to one line. Raises OSError."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(2.0)
            client.connect(str(self.directory / "admin.sock"))
            client.sendall((";".join(commands) + "\n").encode())
            reply = b""
            while data := client.recv(65536):
                reply += data
        return reply.decode()

    def look(self) -> dict[str, Any]:
        """What it and its file say, and what is left of holds in it. Raises OSError."""
        servers = parse_servers_state(self.runtime("show info", "show servers state pair"), "pair")
        # A client's session at `hold` is none of ours: a pool may keep it, on the active server.
        sessions = parse_sessions(self.runtime("show sess"), "pair")
        entries = self.runtime(f"show map {self.directory}/holds.map")
        text = (self.directory / "pair.cfg").read_text()
        lines = re.findall(r"^\s*server ([ab]) \S+(.*)$", text, re.MULTILINE)
        return {
            "role": "+".join(n for n, s in servers.items() if s.usable),
            "file": "+".join(n for n, rest in lines if "disabled" not in rest),
            "pins": sum((s.server, s.frontend) == ("hold", "pair-pin") for s in sessions),
            "weight of hold": servers["hold"].weight,
            "hold entries": " ".join(entries.split()),
        }


def holds(seen: dict[str, Any]) -> bool:
    """Whether a look's balancer lets its clients wait."""
    return bool(seen["role"] == "hold" or seen["hold entries"])


def faults_of(name: str, seen: dict[str, Any], role: str | None) -> list[str]:
    """What is not as it must be where `role` is the active server."""
    found = [f"{name}: {key} says {seen[key] or 'nobody'}"
             for key in ("role", "file") if seen[key] != role]
    left = ("pins", "weight of hold", "hold entries")
    return found + [f"{name}: {key}: {seen[key]}" for key in left if seen[key]]


def _parent(pid: int) -> int:
    return int(_read(pid, "stat").rpartition(b")")[2].split()[1])


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
