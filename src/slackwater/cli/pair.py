"""`slackwater pair`: what concerns the servers of a pair and their replicas together."""

from __future__ import annotations

import typer

from slackwater.cli.lazy import lazy

COMMANDS = {
    "setup": "slackwater.cli.pair_setup:setup",
    "compare": "slackwater.cli.pair_compare:pair_compare",
    "rejoin": "slackwater.cli.rejoin:rejoin",
    "grants": "slackwater.cli.pair_setup:grants",
}

app = typer.Typer(cls=lazy(COMMANDS), help="Set a pair up, compare its servers, bring one back.",
                  no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _pair() -> None:
    """Set a pair up, compare its servers, bring one back."""
