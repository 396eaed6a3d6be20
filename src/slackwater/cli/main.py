"""The command line: `slackwater COMMAND`."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer

from slackwater import __version__
from slackwater.cli.lazy import lazy
from slackwater.errors import EXIT_STUCK, EXIT_USAGE, SlackwaterError
from slackwater.outside.standard_descriptors import guard_standard_descriptors

COMMANDS = {
    "demo": "slackwater.cli.demo:demo",
    "check": "slackwater.cli.inspect:check",
    "status": "slackwater.cli.inspect:status",
    "switchover": "slackwater.cli.switch:switchover",
    "failover": "slackwater.cli.failover:failover",
    "recover": "slackwater.cli.recover:recover",
    "history": "slackwater.cli.inspect:history",
    "pair": "slackwater.cli.pair:app",
    "heartbeat": "slackwater.cli.heartbeat:heartbeat",
    "alter": "slackwater.cli.alter:app",
    "hold": "slackwater.cli.maintain:hold",
    "restart": "slackwater.cli.maintain:restart",
    "upgrade": "slackwater.cli.maintain:upgrade",
    "snapshot": "slackwater.cli.snapshot:app",
    "freeze": "slackwater.cli.freeze:freeze",
    "thaw": "slackwater.cli.thaw:thaw",
    "hooks": "slackwater.cli.hooks:app",
    "doctor": "slackwater.cli.doctor:app",
    "registry": "slackwater.cli.registry:app",
    "register": "slackwater.cli.member:register",
    "deregister": "slackwater.cli.member:deregister",
    "members": "slackwater.cli.member:members",
    "pool": "slackwater.cli.pool:app",
    "balancer": "slackwater.cli.balancer:app",
    "lab": "slackwater.cli.lab:app",
}

app = typer.Typer(
    cls=lazy(COMMANDS), help="Zero-downtime maintenance for MySQL and MariaDB.",
    no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"slackwater {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point: every error of ours becomes one clear text and the right exit code."""
    guard_standard_descriptors()
    try:
        code = app(standalone_mode=False)
    except SlackwaterError as error:
        print(f"slackwater: {error}", file=sys.stderr)
        if error.hint:
            print(f"  try: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except typer.TyperException as error:
        if show := getattr(error, "show", None):
            show()  # the usage, and what is wrong with it
        else:
            print(f"slackwater: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        print("slackwater: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception:
        # Python's own exit code would be 1, which says "refused, nothing was touched".
        traceback.print_exc()
        print("slackwater: this is a fault of slackwater's own; look with `slackwater status`, "
              "then `slackwater recover`", file=sys.stderr)
        sys.exit(EXIT_STUCK)
    sys.exit(code if isinstance(code, int) else 0)

