"""`slackwater status`, `check` and `history`: look, touch nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from slackwater import clock, config
from slackwater.cli.operate import opened
from slackwater.cli.options import (
    ConfigOption,
    GraceOption,
    HoldOption,
    JsonOption,
    PairOption,
    SettleBypassingOption,
)
from slackwater.cli.switch import limits_with, proposal
from slackwater.cli.unfinished import Left, left, under_way
from slackwater.config import Config
from slackwater.errors import EXIT_REFUSED
from slackwater.facts.heartbeat import Lag
from slackwater.facts.pair import PairSeen
from slackwater.facts.replication import ReplicaStatus
from slackwater.operations import heartbeat, put_back
from slackwater.operations.look import look
from slackwater.operations.pair_world import PairWorld
from slackwater.plan import journal
from slackwater.plan.journal import Past
from slackwater.rules import guardrails
from slackwater.rules.agreement import Agreement, agreement
from slackwater.rules.alter_run import first_of_all, not_reversible, says
from slackwater.rules.roads import waiting

WATCH_EVERY_S = 1.0
Lags = Mapping[str, Lag]
Looked = tuple[PairSeen, Lags, list[str]]  # and what `recover` would put back


def check(
    to: Annotated[
        str | None, typer.Option("--to", help="The server that would become active.")
    ] = None,
    hold: HoldOption = None,
    grace: GraceOption = None,
    settle_bypassing: SettleBypassingOption = False,
    file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask every guardrail of a switchover, without acting. Exit code 1 if one refuses.

    --hold, --grace and --settle-bypassing as the switchover would get them.
    """
    settings, begun = config.load(config.find(file)), clock.unix()
    name, _ = settings.pair(pair)
    reasons = asyncio.run(_check(settings, name, to, hold, grace, settle_bypassing))
    reasons += left(settings, name).lines(settings)
    if as_json:
        print(json.dumps({
            "operation": "check", "pair": name, "refusals": reasons, "steps": [],
            "outcome": "refused" if reasons else "done",
            "started": clock.text(begun), "ended": clock.text(clock.unix()),
        }))
    elif reasons:
        print(f"A switchover of pair {name} would be refused:")
        print("\n".join(f"  - {reason}" for reason in reasons))
    else:
        print(f"Pair {name} is ready: all {len(guardrails.RULES)} guardrails agree.")
    raise typer.Exit(EXIT_REFUSED if reasons else 0)


async def _check(
    settings: Config, pair: str, to: str | None, hold: float | None, grace: float | None,
    settle_bypassing: bool,
) -> list[str]:
    async with opened(settings, pair) as world:
        limits = limits_with(world, hold, grace)
        return (await proposal(world, to, limits, settle_bypassing)).reasons


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second.")] = False,
    file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who is active, by every voice that counts; lag, sessions, holds, unfinished operations."""
    settings = config.load(config.find(file))
    name = settings.looked_at(pair).name
    if not watch:
        seen, lags, odd = asyncio.run(_status(settings, name))
        begun, agreed = left(settings, name), agreement(seen)
        if as_json:
            print(json.dumps(status_json(settings, seen, agreed, begun, lags, odd), default=str))
        else:
            Console().print(status_page(settings, seen, agreed, begun, lags, odd))
        well = (agreed.active and not begun.lines(settings) and not odd
                and not any(waiting(seen)))
        raise typer.Exit(0 if well else 1)
    asyncio.run(_watch(settings, name, as_json=as_json))


async def _status(settings: Config, pair: str) -> Looked:
    async with opened(settings, pair, to_look=True) as world:
        return await _seen(world)


async def _seen(world: PairWorld) -> Looked:
    seen = await look(world, knock=False)
    active = seen.active()
    lags = await heartbeat.lags(world, active, seen.servers) if active else {}
    return seen, lags, await put_back.left(world, seen)


async def _watch(settings: Config, pair: str, *, as_json: bool) -> None:
    async with opened(settings, pair, to_look=True) as world:
        with Live(console=Console(stderr=as_json), auto_refresh=False) as live:
            while True:
                seen, lags, odd = await _seen(world)
                begun, agreed = left(settings, pair), agreement(seen)
                if as_json:
                    found = status_json(settings, seen, agreed, begun, lags, odd)
                    print(json.dumps(found, default=str), flush=True)
                else:
                    live.update(status_page(settings, seen, agreed, begun, lags, odd), refresh=True)
                await asyncio.sleep(WATCH_EVERY_S)


def status_json(
    settings: Config, seen: PairSeen, agreed: Agreement, begun: Left, lags: Lags,
    odd: list[str],
) -> dict[str, Any]:
    """One look as data."""
    return {
        "operation": "status",
        "pair": seen.name,
        "active": agreed.active,
        "agree": not agreed.disagreements,
        "says": agreed.says,
        "disagreements": list(agreed.disagreements),
        "servers": {
            n: {**_server_json(seen, n), **lags.get(n, Lag(None)).as_json()} for n in seen.servers
        },
        "balancers": {
            n: {
                "active": b.state.active, "file": b.file_active, "queued": b.state.queued,
                "holding": b.state.holding,
                "hold": {"ends": clock.text(b.state.hold.deadline), "back": b.state.hold.back}
                if b.state.hold else None,
                "lacks": list(b.lacks),
            }
            for n, b in seen.balancers.items()
        },
        "unfinished": None if begun.unread else [p.id for p in begun.here],
        "under_way": [p.id for p in begun.here if under_way(settings, p)],
        "elsewhere": [{"id": p.id, "config": p.planned["config"]} for p in begun.away],
        "unread": begun.unread or None,
        "left": odd,
        "waiting": list(waiting(seen)),
        "alter": alter_json(seen),
    }


def alter_json(seen: PairSeen) -> dict[str, Any] | None:
    """The schema change that has not ended, and whether there is a way back."""
    change = seen.change
    if change is None:
        return None
    why_not = not_reversible(seen)
    return {
        "id": change.id, "state": change.state, "since": clock.text(change.since),
        "database": change.database, "statements": list(change.statements),
        "data_statements": list(change.data), "data_done": change.filled,
        "first": change.first, "other": change.other, "done": dict(change.done),
        "says": says(change, seen.active(), first_of_all(seen)),
        "reversible": not why_not, "not_reversible": why_not,
    }


def _server_json(seen: PairSeen, name: str) -> dict[str, Any]:
    server = seen.servers[name]
    facts = server.facts
    return {
        "version": facts.version_text,
        "flavour": str(facts.flavour),
        "read_only": facts.read_only,
        "executed": str(facts.executed),
        "replication": [
            {"source": _source_name(seen, c), "address": f"{c.source_host}:{c.source_port}",
             "io_running": c.io_running,
             "sql_running": c.sql_running, "seconds_behind": c.seconds_behind,
             "error": "; ".join(c.errors)}
            for c in facts.replication
        ],
        "threads_connected": facts.threads_connected,
        "max_connections": facts.max_connections,
        "client_sessions": len(server.sessions),
        "open_transactions": len(server.transactions),
        "oldest_transaction_s": max(server.transactions.values(), default=0.0),
    }


def _source_name(seen: PairSeen, channel: ReplicaStatus) -> str:
    """The server that a channel follows: its name, or its address if it is none of ours."""
    for name, server in seen.servers.items():
        if server.facts.server_id == channel.source_server_id:
            return name
    return f"{channel.source_host}:{channel.source_port}"


def status_page(
    settings: Config, seen: PairSeen, agreed: Agreement, begun: Left, lags: Lags,
    odd: list[str],
) -> Group:
    """One look as a page for people."""
    head = Text(f"{'pair' if seen.ring else 'source'} {seen.name}: ", style="bold")
    if agreed.active:
        well = "is active, and everyone agrees" if seen.ring else "takes writes, and all follow it"
        head.append(f"{agreed.active} {well}", style="bold green")
    else:
        head.append("NOT in agreement", style="bold red")
    parts: list[Any] = [head, _servers_table(seen, lags)]
    parts += [_balancers_table(seen)] if seen.ring else []
    parts += _change_lines(seen)
    parts += [Text(f"  ! {fault}", style="red") for fault in agreed.disagreements]
    parts += [Text(f"  ! {what}", style="red") for what in (*waiting(seen), *odd)]
    parts += [Text(f"  ! {line}", style="red") for line in begun.lines(settings)]
    return Group(*parts)


def _change_lines(seen: PairSeen) -> list[Text]:
    found = alter_json(seen)
    if found is None:
        return []
    since = found["since"][:19].replace("T", " ")
    back = (f"not reversible: {'; '.join(found['not_reversible'])}" if found["not_reversible"] else
            "reversible, as long as nothing uses what only the new schema has")
    return [Text(f"schema change of {found['database']}, since {since} UTC: {found['says']}",
                 style="yellow"), Text(f"  {back}", style="yellow")]


def _servers_table(seen: PairSeen, lags: Lags) -> Table:
    table = Table(title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("server", "writes", "follows", "lag", "threads", "open trx", "oldest",
                   "version"):
        # On a narrow terminal the version gives way, not the lag.
        table.add_column(column, no_wrap=column != "version")
    for name in (*seen.pair, *seen.replicas):
        if name not in seen.servers:
            table.add_row(name, Text("unreachable", style="red"))
            continue
        row = _server_json(seen, name)
        channels = row["replication"]
        table.add_row(
            name,
            "read-only" if row["read_only"] else Text("yes", style="green"),
            ", ".join(c["source"] for c in channels) or "-",
            _lag_text(channels, lags.get(name)),
            f"{row['threads_connected']}/{row['max_connections']}",
            str(row["open_transactions"]),
            f"{row['oldest_transaction_s']:.0f} s",
            row["flavour"],
        )
    return table


def _lag_text(channels: list[dict[str, Any]], lag: Lag | None) -> str:
    """In milliseconds where it could be measured, else what the replica says of itself; and how
    old the last heartbeat is, where one was written but none is now."""
    if not channels or lag is None:
        return ", ".join(_behind(c) for c in channels) or "-"
    if lag.ms is not None:
        text = f"{lag.ms:.0f} ms" if lag.ms < 10_000 else f"{lag.ms / 1000:.0f} s"
        return text + (", stopped" if any(not c["sql_running"] for c in channels) else "")
    old = f" (last heartbeat {lag.beat_age_s:.0f} s ago)" if lag.beat_age_s is not None else ""
    return ", ".join(_behind(c) for c in channels) + old


def _behind(channel: dict[str, Any]) -> str:
    seconds = channel["seconds_behind"]
    return "stopped" if seconds is None else f"{seconds} s"


def _balancers_table(seen: PairSeen) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("balancer", "sends to", "its file says", "waiting", "hold"):
        table.add_column(column)
    for name, balancer in seen.balancers.items():
        hold = balancer.state.hold
        table.add_row(
            name, balancer.state.active or "-", balancer.file_active or "-",
            str(balancer.state.queued),
            f"until {clock.text(hold.deadline)[11:23]}, then {hold.back}" if hold else "none",
        )
    return table


def history(
    count: Annotated[int, typer.Option("--last", min=1, help="How many.")] = 20,
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Past operations with their outcome, newest last."""
    settings, begun = config.load(config.find(file)), clock.unix()
    every = [p for p in journal.read_all(settings.state_directory) if p.planned][-count:]
    rows = [_history_row(p) for p in every]
    if as_json:
        print(json.dumps({
            "operation": "history", "outcome": "done", "steps": [], "operations": rows,
            "started": clock.text(begun), "ended": clock.text(clock.unix()),
        }))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("started", "operation", "outcome", "held", "why"):
        table.add_column(column, no_wrap=column == "started")
    for row in rows:
        held = f"{row['hold_ms']:.1f} ms" if row["hold_ms"] is not None else "-"
        table.add_row(row["started"][:19].replace("T", " "), row["title"], row["outcome"], held,
                      _shortened(row["reasons"]))
    Console().print(table if rows else "No operation was recorded yet.")


def _shortened(reasons: list[str]) -> str:
    """The first reason, short; the journal and --json have all of it."""
    if not reasons:
        return ""
    first = reasons[0] if len(reasons[0]) <= 60 else reasons[0][:59] + "…"
    return first + (f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else "")


def _history_row(past: Past) -> dict[str, Any]:
    ended: dict[str, Any] = next(
        (e for e in reversed(past.events) if e["event"] == "ended"), {}
    )
    return {
        "id": past.id,
        "operation": past.planned["operation"],
        "title": past.planned["title"],
        "started": clock.text(past.planned["at"]),
        "outcome": past.outcome or "cut off",
        "hold_ms": ended.get("hold_ms"),
        "reasons": ended.get("reasons", []),
        "journal": str(past.path),
    }
