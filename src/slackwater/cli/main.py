"""The command line: `slackwater COMMAND`."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer

from slackwater import __version__
from slackwater.cli import (
    balancer,
    demo,
    doctor,
    freeze,
    hooks,
    inspect,
    lab,
    maintain,
    member,
    pair,
    pool,
    registry,
    snapshot,
    switch,
)
from slackwater.errors import EXIT_STUCK, EXIT_USAGE, SlackwaterError
from slackwater.outside.mysql_session import guard_standard_descriptors

app = typer.Typer(
    help="Zero-downtime maintenance for MySQL and MariaDB.",
    no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.add_typer(balancer.app, name="balancer")
app.add_typer(doctor.app, name="doctor")
app.add_typer(lab.app, name="lab")
app.command("check")(inspect.check)
app.command("status")(inspect.status)
app.command("freeze")(freeze.freeze)
app.command("thaw")(freeze.thaw)
app.add_typer(hooks.app, name="hooks")
app.add_typer(snapshot.app, name="snapshot")
app.add_typer(pair.app, name="pair")
app.command("deregister")(member.deregister)
app.command("members")(member.members)
app.add_typer(pool.app, name="pool")
app.command("register")(member.register)
app.add_typer(registry.app, name="registry")
app.command("history")(inspect.history)
app.command("recover")(switch.recover)
app.command("switchover")(switch.switchover)
app.command("hold")(maintain.hold)
app.command("restart")(maintain.restart)
app.command("upgrade")(maintain.upgrade)


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

