"""`slackwater pair compare`: are the copies equal? It writes nothing, and stops nobody."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Annotated, Any

import typer

from slackwater import clock, config
from slackwater.cli.interrupts import heeded
from slackwater.cli.options import ConfigOption, JsonOption, PairOption
from slackwater.config import Config
from slackwater.errors import EXIT_STUCK, UsageError
from slackwater.facts.compare import TableResult
from slackwater.operations.compare.compare import Asked, Comparison, compare
from slackwater.rules.compare import Pace

EXIT_DIFFERENT = 1
ROWS_SHOWN = 10
USUAL = Pace()


def pair_compare(
    servers: Annotated[
        str | None,
        typer.Option("--servers", help="Compare these, such as a,b [default: all of the pair, or "
                                       "of the source]."),
    ] = None,
    tables: Annotated[
        list[str] | None,
        typer.Option("--tables", help="SCHEMA.TABLE or a pattern such as 'shop.*'; may be repeated,"
                                      " or separated by commas [default: all]."),
    ] = None,
    chunk: Annotated[
        float, typer.Option("--chunk", min=0.005, max=10,
                            help="Seconds that one statement should take.")
    ] = USUAL.chunk_s,
    rest: Annotated[
        float, typer.Option("--rest", min=0, max=0.99,
                            help="Part of the time to rest; 0 is as fast as it can.")
    ] = USUAL.rest,
    max_lag: Annotated[
        float, typer.Option("--max-lag", min=0, help="Seconds of lag above which it waits.")
    ] = USUAL.max_lag_s,
    max_running: Annotated[
        int, typer.Option("--max-running", min=1,
                          help="Running statements on the reference above which it waits.")
    ] = USUAL.max_running,
    wait: Annotated[
        float, typer.Option("--wait", min=1, help="Seconds that a copy may take to catch up.")
    ] = 60.0,
    keyless_rows: Annotated[
        int, typer.Option("--keyless-rows", min=0, help="Rows of a table without a unique key up to"
                                                       " which it is compared, in one piece.")
    ] = 1_000_000,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted comparison ended.")
    ] = False,
    file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the rows of all copies, at one replication position each, while writes go on.

    Exit code: 0 equal, 1 different, 3 nothing different found but not all could be told.
    """
    settings = config.load(config.find(file))
    named = tuple(filter(None, (servers or "").split(",")))
    name, between = _place(settings, pair, named)
    asked = Asked(
        name=name, servers=named or between, between=between,
        tables=tuple(t for each in tables or () for t in each.split(",") if t),
        pace=Pace(chunk, rest, max_lag, max_running), wait_s=wait, keyless_rows=keyless_rows,
        resume=resume,
        state=settings.state_directory / f"compare-{'-'.join((name, *sorted(named)))}.json",
    )
    started = clock.unix()
    found = asyncio.run(_run(settings, asked, as_json=as_json))
    if as_json:
        print(json.dumps(comparison_json(found, asked.name, started)))
    else:
        print(comparison_text(found))
    raise typer.Exit(
        0 if found.equal else EXIT_DIFFERENT if found.equal is False else EXIT_STUCK)


def _place(
    settings: Config, pair: str | None, named: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """The pair's or source's name, and its servers; without one, all that are configured."""
    for server in named:
        if server not in settings.servers:
            raise UsageError(f"there is no server {server!r} in {settings.path}",
                             hint=f"there are {', '.join(settings.servers)}")
    if len(set(named)) == 1 or len(set(named)) != len(named):
        raise UsageError("--servers needs two or more, each once")
    if named and pair is None and len(settings.pairs) != 1:
        return "servers", tuple(settings.servers)
    group = settings.looked_at(pair)
    return group.name, group.servers


async def _run(settings: Config, asked: Asked, *, as_json: bool) -> Comparison:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in heeded((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
        loop.add_signal_handler(number, stop.set)
    teller = _Teller(as_json=as_json)
    try:
        return await compare(settings, asked, teller.tell, stop)
    finally:
        teller.end()


class _Teller:
    """Events on standard error: JSON lines, or one line that is written over on a terminal."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json, self._last = as_json, ""
        self._terminal = sys.stderr.isatty()
        self._open = False

    def tell(self, event: dict[str, Any]) -> None:
        """Write one event."""
        if self._as_json:
            print(json.dumps(event), file=sys.stderr, flush=True)
            return
        text = _words(event)
        if not text or text == self._last:
            return
        self._last = text
        if event["event"] == "progress" and self._terminal:
            print(f"\r\x1b[K  {text}", end="", file=sys.stderr, flush=True)
            self._open = True
        else:
            self.end()
            print(f"  {text}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line that is written over."""
        if self._open:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._open = False


def _words(event: dict[str, Any]) -> str:
    if event["event"] == "table":
        return f"{event['table']} ({event['number']} of {event['of']})"
    if event["event"] == "progress":
        part = f" ({min(99, 100 * event['rows'] // event['about'])} %)" if event["about"] else ""
        different = f", {event['differing']} differ" if event["differing"] else ""
        return f"{event['table']}: {event['rows']:,} rows{part}{different}"
    return str(event.get("text", ""))


def comparison_json(found: Comparison, name: str, started: float) -> dict[str, Any]:
    """The whole of it as data."""
    words = {True: "equal", False: "different", None: "unknown"}
    told = all(r.equal is not None or r.filtered for r in found.results)
    return {
        "operation": "compare", "pair": name,
        "outcome": "done" if told and not found.stopped else "unknown",
        "equal": found.equal, "reference": found.reference, "others": found.others,
        "steps": [{"name": f"{r.table} on {r.server}",
                   "state": "filtered" if r.filtered else words[r.equal]} for r in found.results],
        "filters": found.filters,
        "tables": [r.as_json() for r in found.results],
        "rows": sum(r.rows for r in found.results), "stopped": found.stopped,
        "rested_s": found.rested_s, "started": clock.text(started),
        "ended": clock.text(clock.unix()),
    }


def comparison_text(found: Comparison) -> str:
    """The whole of it for people."""
    lines: list[str] = []
    for result in found.results:
        if result.equal is not True:
            lines += _table_lines(result)
    lines += [f"A replication filter on the way to {each}" for each in found.filters]
    rows = sum(r.rows for r in found.results)
    on = f"{found.reference} and {', '.join(found.others)}"
    tables = len({r.table for r in found.results if not r.filtered})
    what = f"{tables} tables, {rows:,} rows compared"
    if found.stopped:
        lines.append(f"Stopped: {found.stopped}")
        lines.append("`slackwater pair compare --resume` goes on there.")
    if found.equal:
        lines.append(f"Equal: {on}; {what}.")
    elif found.equal is False:
        lines.append(f"Different: {on}; {what}.")
    else:
        lines.append(f"Nothing different found, but not all could be told: {on}; {what}.")
    return "\n".join(lines)


def _table_lines(result: TableResult) -> list[str]:
    lines = [f"{result.table} on {result.server}:"]
    lines += [f"  its definition: {line}" for line in result.structure]
    if result.differing:
        lines.append(f"  {result.differing:,} rows are not the same")
    for row in result.shown[:ROWS_SHOWN]:
        columns = f" in {', '.join(row.columns)}" if row.columns else ""
        what = row.key or f"{row.count:,} rows"
        lines.append(f"    {what} {row.how}{columns} ({row.proof})")
    if len(result.shown) > ROWS_SHOWN:
        lines.append(f"    and {len(result.shown) - ROWS_SHOWN} more (--json has them)")
    lines += [f"  changing too fast to tell: {key}" for key in result.undecided[:ROWS_SHOWN]]
    if result.filtered:
        lines.append(f"  left out by replication, so not compared: {result.filtered}")
    if result.skipped:
        lines.append(f"  not compared: {result.skipped}")
    return lines
