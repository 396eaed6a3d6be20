"""Servers that know nothing of each other, their slackwater.toml, and what is in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE
from tests.setup import file_server
from tests.setup.file_server import FileServer

from slackwater.lab import restart
from slackwater.lab.instance import Instance, Program

NAMES = ("a", "b", "c")


@dataclass
class Scene:
    """Running servers below `place`, and the configuration that names them."""

    place: Path
    servers: dict[str, Instance] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.place / "slackwater.toml"

    def run(self, *words: str, limit_s: float = 150) -> subprocess.CompletedProcess[str]:
        """`slackwater WORDS --config …`, as a person would."""
        return subprocess.run(
            self.words(*words), capture_output=True, text=True, check=False,
            timeout=limit_s * PATIENCE, env={**os.environ, "COLUMNS": "120"},
        )

    def words(self, *words: str) -> list[str]:
        """The command line."""
        return [sys.executable, "-m", "slackwater", *words, "--config", str(self.config)]

    def setup(self, *words: str) -> dict[str, Any]:
        """`pair setup --json`, which has to end done; what it said."""
        done = self.run("pair", "setup", "--json", *words)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return said

    def refusals(self, *words: str) -> str:
        """`pair setup --json`, which has to be refused; the reasons as one text."""
        done = self.run("pair", "setup", "--json", *words)
        assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]
        return "\n".join(json.loads(done.stdout.splitlines()[-1])["reasons"])

    def sql(self, name: str, statement: str, *args: object) -> list[dict[str, Any]]:
        """As root on that server."""
        return sql(self.servers[name].socket, statement, *args)

    def write(self, **more: Any) -> None:
        """The configuration: a pair, or with `source` one source and its replicas."""
        names = list(self.servers)
        parts = ["lab = true", "[state]", f'directory = "{self.place}/state"',
                 "[accounts.slackwater]", f'password_file = "{self.place}/password"',
                 "[accounts.admin]", 'user = "root"',
                 "[accounts.replication]", f'password_file = "{self.place}/repl"',
                 f"require_tls = {str(more.get('require_tls', False)).lower()}"]
        for name, server in self.servers.items():
            parts += [f"[servers.{name}]", f'address = "{server.address}"',
                      f'socket = "{server.socket}"',
                      f'restart = "{_restart(server)}"',
                      *more.get("server_lines", {}).get(name, [])]
        if more.get("source"):
            parts += ["[sources.shop]", 'server = "a"', f"replicas = {json.dumps(names[1:])}"]
        else:
            parts += [
                "[balancers.lb]", f'runtime = "unix:{self.place}/no"', 'frontend = "127.0.0.1:1"',
                f'pin = "unix:{self.place}/pin"', f'holds_map = "{self.place}/map"',
                f'config_file = "{self.place}/cfg"',
                "[pairs.shop]", 'servers = ["a", "b"]', 'balancers = ["lb"]',
                f"replicas = {json.dumps(names[2:])}", *more.get("pair_lines", []),
            ]
        self.config.write_text("\n".join(parts) + "\n")


def _restart(server: Instance) -> str:
    own = isinstance(server, FileServer)
    return file_server.command(server.directory) if own else restart.command(server.directory)


@contextmanager
def scene(
    program: Program, place: Path, count: int = 2, *, extra: Sequence[str] = (),
    ids: Sequence[int] = (1, 2, 3), kind: type[Instance] = Instance,
    others: Program | None = None, **more: Any,
) -> Iterator[Scene]:
    """That many fresh servers, running; ended and removed afterwards. `others`: what all but the
    first are, if something else."""
    made = Scene(place)
    try:
        for name, number in zip(NAMES[:count], ids, strict=False):
            what = others if others and made.servers else program
            made.servers[name] = kind.create(
                what, place / name, server_id=number, mark=place, extra=extra)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda it: it.start(60 * PATIENCE), made.servers.values()))
        made.write(**more)
        yield made
    finally:
        for server in made.servers.values():
            Instance.load(server.directory).remove()
