"""The command line: `slackwater COMMAND`."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from typing import Annotated

import typer

from slackwater import __version__, clock
from slackwater.cli.lazy import lazy
from slackwater.errors import EXIT_CONFIG, EXIT_REFUSED, EXIT_STUCK, EXIT_USAGE, SlackwaterError
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
    """Entry point: every error of ours becomes one clear text and the right exit code.

    With --json it is an object on standard output too, unless the command has said one.
    """
    guard_standard_descriptors()
    begun, said = clock.unix(), _watch_output()

    def answer(code: int, why: str, hint: str = "") -> None:
        if asks_json(sys.argv[1:]) and not said():
            print(json.dumps(_failure(sys.argv[1:], code, why, hint, begun)))

    try:
        code = app(standalone_mode=False)
    except SlackwaterError as error:
        print(f"slackwater: {error}", file=sys.stderr)
        if error.hint:
            print(f"  try: {error.hint}", file=sys.stderr)
        answer(error.exit_code, str(error), error.hint)
        sys.exit(error.exit_code)
    except typer.TyperException as error:
        answer(EXIT_USAGE, error.format_message())
        if show := getattr(error, "show", None):
            show()  # the usage, and what is wrong with it
        else:
            print(f"slackwater: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        print("slackwater: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        # Python's own exit code would be 1, which says "refused, nothing was touched".
        traceback.print_exc()
        print("slackwater: this is a fault of slackwater's own; look with `slackwater status`, "
              "then `slackwater recover`", file=sys.stderr)
        answer(EXIT_STUCK, f"a fault of slackwater's own: {type(error).__name__}",
               "`slackwater status`, then `slackwater recover`")
        sys.exit(EXIT_STUCK)
    sys.exit(code if isinstance(code, int) else 0)


def asks_json(words: list[str]) -> bool:
    """Whether --json is among the words that are slackwater's own, not those of a command."""
    return "--json" in (words[:words.index("--")] if "--" in words else words)


def _failure(
    words: list[str], code: int, why: str, hint: str, begun: float
) -> dict[str, object]:
    """What ended without a report, in the shape of one."""
    group = COMMANDS.get(words[0], "").endswith(":app") and not words[1].startswith("-")
    nothing = code in (EXIT_REFUSED, EXIT_USAGE, EXIT_CONFIG)
    return {
        "operation": " ".join(words[:2 if group else 1]),
        "outcome": "refused" if nothing else "unknown", "steps": [], "reasons": [why],
        "left": [hint] if hint else [],
        "started": clock.text(begun), "ended": clock.text(clock.unix()),
    }


def _watch_output() -> Callable[[], bool]:
    """Ask it whether anything was written to standard output since."""
    wrote: list[bool] = []
    write = sys.stdout.write

    def watched(text: str) -> int:
        wrote.append(True)
        sys.stdout.write = write  # type: ignore[method-assign]
        return write(text)

    sys.stdout.write = watched  # type: ignore[method-assign]
    return lambda: bool(wrote)

