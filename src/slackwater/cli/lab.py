"""`slackwater lab up|down|status|load`: a throwaway pair to play with."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from slackwater.cli.load import load
from slackwater.lab import facts
from slackwater.lab import up as lab_up
from slackwater.lab.down import down as lab_down

app = typer.Typer(
    help="A throwaway pair on this machine, to play with.", no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("load")(load)
DirectoryOption = Annotated[
    Path | None, typer.Option("--directory", help="Where the lab is [default: one a user].")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


@app.command("up")
def up(
    server: Annotated[
        Path | None,
        typer.Option("--server", help="Root of another MySQL or MariaDB, with base/bin or bin."),
    ] = None,
    directory: DirectoryOption = None,
    balancers: Annotated[int, typer.Option(help="How many HAProxies.", min=1, max=8)] = 1,
    as_json: JsonOption = False,
) -> None:
    """Start two servers that replicate from each other, and HAProxy in front of them."""
    made = lab_up.up(
        server=server, directory=directory, balancers=balancers,
        say=lambda line: print(line, file=sys.stderr),
    )
    if as_json:
        print(json.dumps(made.as_json(), default=str))
        return
    fronts = ", ".join(str(b["frontend"]) for b in made.balancers.values())
    print(f"A pair of {made.program} runs in {made.directory}; clients come in at {fronts}.")
    print(f"Next: slackwater status --config {made.config}")


@app.command("down")
def down(directory: DirectoryOption = None) -> None:
    """End the lab and remove everything it made; also what a crash left of it."""
    lab_down(directory)
    print("The lab is gone.")


@app.command("status")
def status(directory: DirectoryOption = None, as_json: JsonOption = False) -> None:
    """Which of the lab's processes run."""
    said = facts.status(directory)
    if as_json:
        print(json.dumps(said, default=str))
        return
    for kind in ("servers", "balancers"):
        for name, about in said[kind].items():
            state = f"runs as process {about['pid']}" if about["running"] else "does not run"
            print(f"{name}: {state}")
