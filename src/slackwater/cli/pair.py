"""`slackwater pair`: what concerns the servers of a pair and their replicas together."""

from __future__ import annotations

import typer

from slackwater.cli import rejoin

app = typer.Typer(help="Set a pair up, compare its servers, bring one back.",
                  no_args_is_help=True, rich_markup_mode=None)


app.command("rejoin")(rejoin.rejoin)


@app.callback()
def _pair() -> None:
    """Set a pair up, compare its servers, bring one back."""
