"""`python -m slackwater.lab.restart DIRECTORY`: stop and start one server of a lab."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from slackwater.errors import SlackwaterError
from slackwater.lab.instance import Instance


def main() -> int:
    """Stop it as a service manager would, then start it again."""
    server = Instance.load(Path(sys.argv[1]))
    try:
        server.stop()
        server.start()
    except SlackwaterError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{server.where}: restarted, process {server.pid}")
    return 0


def command(directory: Path) -> str:
    """The line for a lab's slackwater.toml."""
    return shlex.join([sys.executable, "-m", "slackwater.lab.restart", str(directory)])


if __name__ == "__main__":
    sys.exit(main())
