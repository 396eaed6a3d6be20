"""`slackwater doctor`: why the server "has gone away", with evidence. It changes nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer

from slackwater import clock
from slackwater.cli.doctor_page import as_json as diagnosis_json
from slackwater.cli.doctor_page import explanation, explanation_json, page
from slackwater.cli.options import ConfigOption, JsonOption
from slackwater.errors import UsageError
from slackwater.operations import doctor
from slackwater.operations.doctor import Diagnosis
from slackwater.outside.processes import PORTS, Known
from slackwater.rules.doctor.explain import explain as explain_text

app = typer.Typer(
    help="Say, with evidence, why clients lose their connection. Exit code: 0 nothing above a note,"
    " 1 possible, 2 likely, 3 certain.",
    invoke_without_command=True,
)

PidOption = Annotated[
    list[int] | None, typer.Option("--pid", help="Only this process (may be given again).")
]
PortOption = Annotated[
    list[int] | None,
    typer.Option("--port", help="Connections to this port are databases' too (may be repeated)."),
]


@app.callback()
def diagnose(
    context: typer.Context,
    pid: PidOption = None,
    port: PortOption = None,
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at the processes of this host, and at the servers of slackwater.toml if there is one."""
    if context.invoked_subcommand:
        return
    known = Known(PORTS | frozenset(port or ()))
    found = asyncio.run(_diagnose(known, pid))
    show(found, as_json=as_json)
    raise typer.Exit(int(found.worst))


async def _diagnose(known: Known, pids: list[int] | None) -> Diagnosis:
    return doctor.together([doctor.of_host(await doctor.look_at_host(known, pids))])


@app.command("explain")
def explain(
    what: Annotated[list[str], typer.Argument(help="An error's number, or its text.")],
    as_json: JsonOption = False,
) -> None:
    """Explain a client's error, or a line of the server's error log; looks at nothing."""
    found = explain_text(" ".join(what))
    if found is None:
        raise UsageError(f"not an error that the doctor knows: {' '.join(what)}",
                         hint="give its number, such as 2013, or its whole text")
    print(json.dumps(explanation_json(found)) if as_json else explanation(found))


def show(found: Diagnosis, *, as_json: bool) -> None:
    """Print a diagnosis."""
    at = clock.unix()
    print(json.dumps(diagnosis_json(found, at)) if as_json else page(found, at))
