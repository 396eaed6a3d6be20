"""What is known of a lab, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slackwater.errors import Refused
from slackwater.lab import directory as place
from slackwater.lab import restart
from slackwater.lab.accounts import DATABASE
from slackwater.lab.instance import Instance


@dataclass(frozen=True)
class LabFacts:
    """A running lab. Each server: socket, address, host, port, pid; each balancer: frontend,
    runtime, pin, holds_map, config_file, main_config, pid."""

    directory: Path
    program: str
    servers: dict[str, dict[str, Any]]
    balancers: dict[str, dict[str, Any]]

    @property
    def config(self) -> Path:
        return self.directory / "slackwater.toml"

    @property
    def app(self) -> dict[str, str]:
        """The account of the load: user, password_file, database."""
        password_file = str(self.directory / "app.password")
        return {"user": "app", "password_file": password_file, "database": DATABASE}

    def instance(self, name: str) -> Instance:
        """A server of the lab, to stop, kill, start …"""
        return Instance.load(self.directory / name)

    def as_json(self) -> dict[str, Any]:
        return {
            "config": str(self.config),
            "directory": str(self.directory),
            "program": self.program,
            "servers": self.servers,
            "balancers": self.balancers,
            "app": self.app,
        }


def read(directory: Path | None = None) -> LabFacts:
    """The facts of the lab that was made there. Raises Refused when there is none."""
    path = place.resolve(directory)
    notes = place.read_notes(path)
    if notes is None or not notes.get("ready"):
        state = "is only half made" if path.exists() else "is not there"
        raise Refused(f"the lab in {path} {state}", ["no lab"], hint="slackwater lab up")
    said = notes["facts"]
    return LabFacts(path, said["program"], said["servers"], said["balancers"])


def status(directory: Path | None = None) -> dict[str, Any]:
    """The facts with, for each server and balancer, whether it runs and its memory (MiB).

    Raises Refused when there is no lab.
    """
    facts = read(directory)
    said = facts.as_json()
    for name, about in said["servers"].items():
        server = facts.instance(name)
        now = {"running": server.alive, "pid": server.pid, "rss_mb": round(server.rss_mb())}
        said["servers"][name] = {**about, **now}
    alive = {p.pid for p in place.processes(facts.directory)}
    for name, about in said["balancers"].items():
        said["balancers"][name] = {**about, "running": about["pid"] in alive}
    return said


def config_text(facts: LabFacts) -> str:
    """The slackwater.toml of a lab."""
    lines = [
        f"# The throwaway pair in {facts.directory}, made by `slackwater lab up`.",
        "lab = true",
    ]
    for name, server in facts.servers.items():
        lines += ["", f"[servers.{name}]", _text("address", server["address"])]
        lines += [_text("socket", server["socket"])]
        lines += [_text("restart", restart.command(facts.directory / name))]
    password = facts.directory / "slackwater.password"
    lines += ["", "[accounts.slackwater]", _text("user", "slackwater")]
    lines += [_text("password_file", password)]
    keys = ("runtime", "frontend", "pin", "holds_map", "config_file", "main_config")
    for name, front in facts.balancers.items():
        lines += ["", f"[balancers.{name}]", *(_text(key, front[key]) for key in keys)]
        lines += [_text("backend", "pair")]
    lines += ["", "[pairs.lab]", 'servers = ["a", "b"]']
    lines += ["balancers = [" + ", ".join(f'"{name}"' for name in facts.balancers) + "]"]
    lines += ["", "[state]", _text("directory", facts.directory / "state")]
    return "\n".join(lines) + "\n"


def _text(key: str, value: object) -> str:
    """A TOML line; a path may hold quotes and backslashes."""
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'{key} = "{escaped}"'
