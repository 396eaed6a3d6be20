"""Which database servers this machine has."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from slackwater.errors import Refused

_DAEMONS = ("mariadbd", "mysqld")
_HINT = (
    "install one (on Debian: apt-get install mariadb-server-core mariadb-client-core), or get a"
    " server of its own with scripts/servers/get, or name one with --server DIR"
)


@dataclass(frozen=True)
class Program:
    """A server program: `vendor` is "mariadb" or "mysql", `name` is like ``mariadb-10.11``."""

    vendor: str
    version: tuple[int, int, int]
    base: Path
    daemon: Path

    @property
    def name(self) -> str:
        return f"{self.vendor}-{self.version[0]}.{self.version[1]}"

    @property
    def is_mariadb(self) -> bool:
        return self.vendor == "mariadb"

    @property
    def messages(self) -> Path:
        """The folder that holds ``english/errmsg.sys``."""
        for share in ("share/mariadb", "share/mysql", "share"):
            if (self.base / share / "english").is_dir():
                return self.base / share
        return self.base / "share"

    def tool(self, name: str) -> Path | None:
        """A program beside the server, such as mariadb-install-db."""
        for folder in ("bin", "scripts", "sbin"):
            if (found := self.base / folder / name).exists():
                return found
        return None


def servers_root() -> Path:
    """Where scripts/servers/get puts servers: $SLACKWATER_SERVERS, else in `cache_root`."""
    given = os.environ.get("SLACKWATER_SERVERS")
    return Path(given) if given else cache_root() / "servers"


def cache_root() -> Path:
    """$XDG_CACHE_HOME/slackwater or ~/.cache/slackwater (which need not exist)."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path("~/.cache").expanduser()) / "slackwater"


def at(directory: Path) -> Program:
    """The server in a directory: ``DIR/base/bin``, ``DIR/bin``, ``DIR/sbin``, ``DIR/usr/sbin``.

    Raises Refused when there is none, or it cannot tell its version.
    """
    for base in (directory / "base", directory, directory / "usr"):
        for folder in ("sbin", "bin", "libexec"):
            for daemon in _DAEMONS:
                path = base / folder / daemon
                if os.access(path, os.X_OK) and path.is_file():
                    return _identify(base, path)
    raise Refused(f"no database server in {directory}", ["no mariadbd or mysqld"], hint=_HINT)


def installed() -> list[Program]:
    """All servers of this machine, the system's own first, one of each name."""
    roots = [Path("/usr"), Path("/usr/local")]
    own = servers_root()
    if own.is_dir():
        roots += sorted(p for p in own.iterdir() if (p / "base").is_dir())
    found: dict[str, Program] = {}
    for root in roots:
        try:
            program = at(root)
        except Refused:
            continue
        found.setdefault(program.name, program)
    return list(found.values())


def choose(directory: Path | None) -> Program:
    """The server to use: that in `directory`, else the first one installed. Raises Refused."""
    if directory is not None:
        return at(directory)
    if programs := installed():
        return programs[0]
    raise Refused("no database server on this machine", ["no mariadbd or mysqld"], hint=_HINT)


def _identify(base: Path, daemon: Path) -> Program:
    try:
        said = subprocess.run(
            [daemon, "--no-defaults", "--version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise Refused(f"{daemon} does not run", [str(problem)], hint=_HINT) from problem
    match = re.search(r"Ver (\d+)\.(\d+)\.(\d+)", said.stdout)
    if match is None:
        wrong = (said.stderr or said.stdout).strip()[-300:] or f"exit status {said.returncode}"
        raise Refused(f"{daemon} does not tell its version", [wrong], hint=_HINT)
    vendor = "mariadb" if "mariadb" in said.stdout.lower() else "mysql"
    version = (int(match[1]), int(match[2]), int(match[3]))
    return Program(vendor, version, base.absolute(), daemon.absolute())
