"""`python -m tests.maintain.slow_restart DIRECTORY PLACE`: a restart that a test steps through.

The server is stopped; PLACE/down appears; once PLACE/go is there, it is started again.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.servers.patience import eventually

from slackwater.lab.instance import Instance


def command(server: Instance, place: Path) -> str:
    """The line for slackwater.toml."""
    words = ["-m", "tests.maintain.slow_restart", str(server.directory), str(place)]
    return shlex.join([sys.executable, *words])


def main() -> None:
    """Stop, wait, start."""
    server, place = Instance.load(Path(sys.argv[1])), Path(sys.argv[2])
    server.stop()
    (place / "down").touch()
    eventually((place / "go").exists, "the test lets it start", limit_s=60)
    server.start()


if __name__ == "__main__":
    main()
