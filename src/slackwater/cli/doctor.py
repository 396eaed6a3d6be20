"""`slackwater doctor`: why the server "has gone away", with evidence. It changes nothing.

What only some of its ways need is imported in them: the servers' driver and the reader of
slackwater.toml would take twice the time of a look at 2,000 processes (bench/doctor).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slackwater import clock
from slackwater.cli.doctor_look import Look, look, show
from slackwater.cli.doctor_page import as_json as diagnosis_json
from slackwater.cli.doctor_page import event_page, explanation, explanation_json, page
from slackwater.cli.options import ConfigOption, JsonOption
from slackwater.errors import UsageError
from slackwater.facts.doctor.finding import Sure
from slackwater.operations.doctor import doctor
from slackwater.operations.doctor.doctor import Diagnosis
from slackwater.outside.config_files import DEFAULT_FILES
from slackwater.outside.processes import PORTS, Known

if TYPE_CHECKING:
    from slackwater.facts.server import ServerAddress
    from slackwater.operations.doctor.servers import Asked
    from slackwater.operations.doctor.watch import Event

app = typer.Typer(
    help="Say, with evidence, why clients lose their connection. Exit code: 0 nothing above a note,"
    " 1 possible, 2 likely, 3 certain.",
    invoke_without_command=True,
)

CAPTURE_S = 10.0
WATCH_EVERY_S = 0.5
PidOption = Annotated[
    list[int] | None, typer.Option("--pid", help="Only this process (may be given again).")
]
PortOption = Annotated[
    list[int] | None,
    typer.Option("--port", help="Connections to this port are databases' too (may be repeated)."),
]


ServerOption = Annotated[
    list[str] | None,
    typer.Option("--server", help="Only this server of slackwater.toml (may be repeated)."),
]
KnockOption = Annotated[
    bool,
    typer.Option("--knock/--no-knock", help="Connect once to each unknown address of our own"
                 " network that has clients here, to see whether a MySQL server greets."),
]
SinceOption = Annotated[
    float, typer.Option("--since", min=1, help="How old a server's trace may be, in seconds.")
]
SampleOption = Annotated[
    float, typer.Option("--sample", min=0, max=600, help="Seconds between the two samples.")
]


@app.callback()
def diagnose(
    context: typer.Context,
    pid: PidOption = None,
    port: PortOption = None,
    server: ServerOption = None,
    since: SinceOption = 3600.0,
    sample: SampleOption = 1.0,
    knock: KnockOption = True,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and tell each loss when it happens.")
    ] = False,
    capture: Annotated[
        bool, typer.Option("--capture", help="Look at the wire for stray text (root).")
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0.1, max=86400,
                     help="How long to watch [no limit] or to capture [10]."),
    ] = None,
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at the processes of this host, and at the servers of slackwater.toml if there is one."""
    if context.invoked_subcommand:
        return
    known, servers = ground(file, port, server)
    if not (servers or watch or capture):
        pids = None if pid is None else tuple(pid)
        raise typer.Exit(look(Look(known, pids, knock, as_json)))
    import asyncio

    from slackwater.operations.doctor.servers import Asked

    asked = Asked(since_s=since, between_s=sample)
    if watch:
        worst = asyncio.run(_watch(known, pid, servers, asked, seconds, as_json=as_json))
        raise typer.Exit(int(worst))
    found = asyncio.run(_once(
        known, pid, servers, asked, (seconds or CAPTURE_S) * capture, knock=knock))
    show(found, as_json=as_json)
    raise typer.Exit(int(found.worst))


async def _once(
    known: Known, pids: list[int] | None, servers: list[ServerAddress], asked: Asked,
    capture_s: float, *, knock: bool,
) -> Diagnosis:
    from slackwater.operations.doctor import servers as doctor_servers

    parts = [await doctor_servers.all_of(known, pids, servers, asked, knock=knock)]
    if capture_s:
        from slackwater.operations.doctor import capture as doctor_capture

        begun = f"slackwater doctor: looking at the wire for {capture_s:g} s"
        parts.append(await doctor_capture.capture(
            known, pids, capture_s, lambda: print(begun, file=sys.stderr, flush=True)))
    return doctor.together(parts)


async def _watch(
    known: Known, pids: list[int] | None, servers: list[ServerAddress], asked: Asked,
    seconds: float | None, *, as_json: bool,
) -> Sure:
    """Print events until Ctrl-C or the end of the time."""
    from slackwater.operations.doctor import watch as doctor_watch

    worst, ends = Sure.NOTE, clock.mono() + (seconds or float("inf"))
    print("slackwater doctor: watching; Ctrl-C ends it", file=sys.stderr, flush=True)
    async for event in doctor_watch.watch(
        known, servers, asked, every_s=WATCH_EVERY_S, pids=lambda: pids,
        until=lambda: clock.mono() >= ends,
    ):
        worst = max(worst, event.finding.sure)
        print(_event(event, as_json=as_json), flush=True)
    return worst


def _event(event: Event, *, as_json: bool) -> str:
    if not as_json:
        return event_page(event.finding, event.at)
    return json.dumps({"event": "finding", "at": clock.text(event.at), **event.finding.as_json()})


@app.command("run", context_settings={"ignore_unknown_options": True})
def run(
    command: Annotated[list[str], typer.Argument(help="The program and its arguments, after --.")],
    file: ConfigOption = None,
    port: PortOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a program under observation, and say why it lost its connection.

    Its exit code is in the report; ours is that of the worst finding.
    """
    import asyncio

    from slackwater.operations.doctor import run as doctor_run
    from slackwater.operations.doctor.servers import Asked

    known, servers = ground(file, port, None)
    ran = asyncio.run(doctor_run.run(
        command, known, servers, Asked(),
        lambda event: print(_event(event, as_json=as_json), file=sys.stderr, flush=True)))
    at = clock.unix()
    if as_json:
        more = {"exit_code": ran.code,
                "message": explanation_json(ran.message) if ran.message else None}
        print(json.dumps(diagnosis_json(ran.diagnosis, at, **more)))
    else:
        text = page(ran.diagnosis, at)
        if ran.message:
            text += f"\n\nIts own message: {ran.message.asked.strip()}\n{ran.message.says}"
        print(text, file=sys.stderr)
    raise typer.Exit(int(ran.diagnosis.worst))


def ground(
    file: Path | None, ports: list[int] | None, names: list[str] | None
) -> tuple[Known, list[ServerAddress]]:
    """By what connections are known, and the servers to ask: none without a configuration file."""
    known = Known(PORTS | frozenset(ports or ()))
    if file is None and not names and not any(path.exists() for path in DEFAULT_FILES):
        return known, []
    from slackwater import config
    from slackwater.operations.servers_world import server_address

    settings = config.load(config.find(file))
    for name in names or ():
        if name not in settings.servers:
            raise UsageError(f"there is no server {name!r} in {settings.path}",
                             hint=f"there are {', '.join(settings.servers)}")
    password = settings.password()
    places = [s.address for s in settings.servers.values()]
    places += [b.frontend for b in settings.balancers.values()]
    sockets = {str(s.socket) for s in settings.servers.values() if s.socket}
    known = Known(known.ports | {config.host_port(p)[1] for p in places}, frozenset(sockets))
    return known, [server_address(settings, n, password) for n in names or settings.servers]


@app.command("explain")
def explain(
    what: Annotated[list[str], typer.Argument(help="An error's number, or its text.")],
    as_json: JsonOption = False,
) -> None:
    """Explain a client's error, or a line of the server's error log; looks at nothing."""
    from slackwater.rules.doctor.explain import explain as explain_text

    found = explain_text(" ".join(what))
    if found is None:
        raise UsageError(f"not an error that the doctor knows: {' '.join(what)}",
                         hint="give its number, such as 2013, or its whole text")
    print(json.dumps(explanation_json(found)) if as_json else explanation(found))

