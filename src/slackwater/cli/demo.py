"""`slackwater demo`: the whole story on a throwaway pair, with its report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from slackwater.errors import StepFailed
from slackwater.lab import up as lab_up
from slackwater.lab.down import down
from slackwater.lab.facts import LabFacts

WARM_UP_S = 2.0
BETWEEN_S = 1.0
BAR = 28  # characters of the longest bar


def demo(
    switchovers: Annotated[int, typer.Option(help="How often to switch, over and back.")] = 4,
    rate: Annotated[int, typer.Option(help="Connection-per-request writes a second.")] = 500,
    server: Annotated[
        Path | None, typer.Option(help="Root of another MySQL or MariaDB to use.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole story as JSON.")] = False,
) -> None:
    """Start a throwaway pair, load it, switch it over and back, and tell what clients saw.

    Takes about 15 seconds; touches nothing outside a temporary directory, and removes that.
    """
    console = Console(stderr=as_json)
    with tempfile.TemporaryDirectory(prefix="slackwater-demo-") as parent:
        directory = Path(parent) / "lab"
        Path(parent).chmod(0o711)  # the database's own user passes through
        console.print(Rule("slackwater demo", align="left"))
        try:
            facts = lab_up.up(
                server=server, directory=directory, say=lambda line: console.print(f"  {line}")
            )
            story = _story(facts, switchovers, rate, console)
        finally:
            down(directory)
    if as_json:
        print(json.dumps(story))
    failed = [s for s in story["switchovers"] if s["outcome"] != "done"]
    load = story["load"]
    raise typer.Exit(0 if not failed and load["lost"] == load["duplicated"] == 0 else 3)


def _story(facts: LabFacts, count: int, rate: int, console: Console) -> dict[str, Any]:
    console.print(
        f"\n[bold]The scene.[/] Two servers ({facts.program}), each a replica of the other: "
        "[green]a[/] takes the writes, [green]b[/] is read-only. HAProxy sends every client to "
        f"the active one. Now come {rate} clients a second that connect, write a row and leave; "
        "4 pooled connections that are used as they are, and 4 that the pool tests first. Every "
        "write has a number, so that none can get lost or be done twice unnoticed."
    )
    load = _begin_load(facts, rate, count)
    done = []
    try:
        time.sleep(WARM_UP_S)
        for number in range(1, count + 1):
            done.append(_switch(facts))
            _tell_switch(console, number, done[-1])
            time.sleep(BETWEEN_S)
    finally:
        load.send_signal(signal.SIGINT)
        out, _ = load.communicate(timeout=60)
    result = json.loads(out.strip().splitlines()[-1])
    _tell_load(console, done, result)
    return {"switchovers": done, "load": result}


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "slackwater", *words]


def _begin_load(facts: LabFacts, rate: int, count: int) -> subprocess.Popen[str]:
    seconds = WARM_UP_S + count * (BETWEEN_S + 15)
    return subprocess.Popen(
        _command("lab", "load", "--config", str(facts.config), "--seconds", f"{seconds:.0f}",
                 "--rate", str(rate), "--pooled", "4", "--pooled-tested", "4", "--json"),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, process_group=0,
    )


def _switch(facts: LabFacts) -> dict[str, Any]:
    done = subprocess.run(
        _command("switchover", "--config", str(facts.config), "--json"),
        capture_output=True, text=True, check=False,
        env={**os.environ, "SLACKWATER_INJECT": ""},
    )
    if not done.stdout.strip():
        raise StepFailed(f"the switchover said nothing: {done.stderr.strip()[-500:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


# Clients wait from the end of the one to the end of the other.
_CLIENTS = {"HoldClients": "then clients wait", "SendClients": "then clients go on"}


def _tell_switch(console: Console, number: int, told: dict[str, Any]) -> None:
    if told["outcome"] != "done":
        console.print(f"\n[bold red]Switchover {number}: {told['outcome']}[/]")
        for reason in told["reasons"]:
            console.print(f"  because {reason}")
        return
    console.print(
        f"\n[bold]Switchover {number}[/]: from [green]{told['from']}[/] to "
        f"[green]{told['to']}[/]. New clients waited for [bold]{told['hold_ms']:.1f} ms[/]; "
        f"{told.get('sessions_closed', 0)} pooled connections were closed while they rested."
    )
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    longest = max(step["ms"] for step in told["steps"])
    held = False
    for step in told["steps"]:
        said = _CLIENTS.get(step["name"], "clients wait" if held else "")
        bar = "#" * max(1, round(BAR * step["ms"] / longest))
        table.add_row(f"{step['ms']:8.1f} ms", step["name"],
                      Text(bar, style="yellow" if held else "dim"), said)
        held = (held or step["name"] == "HoldClients") and step["name"] != "SendClients"
    console.print(table)


def _tell_load(console: Console, done: list[dict[str, Any]], load: dict[str, Any]) -> None:
    holds = [s["hold_ms"] for s in done if "hold_ms" in s]
    console.print(Rule("What the clients saw", align="left"))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("writes acknowledged", f"{load['acked']:,}")
    table.add_row("of those lost", _zero(load["lost"]))
    table.add_row("of those done twice", _zero(load["duplicated"]))
    table.add_row("refused because a server was read-only", _zero(load["read_only_errors"]))
    for kind, count in load["errors_by_kind"].items():
        table.add_row(f"errors of {kind} clients", _errors(kind, count, len(done)))
    table.add_row("longest wait of any client", f"{load['longest_stall_ms']:.1f} ms")
    if holds:
        table.add_row("holds, shortest to longest", f"{min(holds):.1f} to {max(holds):.1f} ms")
    console.print(table)
    console.print(
        "\nAn untested pool sees one lost connection for each of its connections at a switchover, "
        "as at any restart. A client that connects for each request sees nothing, and a pool that "
        "tests its connections almost nothing: one is hit that begins at the very moment of "
        "its closing.\n"
    )


def _zero(count: int) -> Text:
    return Text(str(count), style="green" if count == 0 else "bold red")


def _errors(kind: str, count: int, switchovers: int) -> Text:
    expected = switchovers * 4 if kind == "pooled" else 0
    note = f"  (4 connections, {switchovers} switchovers)" if kind == "pooled" else ""
    return Text(f"{count}{note}", style="green" if count <= expected else "bold red")
