"""`slackwater pool show|switch|weigh`: the colours of a pool, and its traffic among them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from slackwater import config
from slackwater.cli.member import report_text
from slackwater.cli.operate import Proposal, operate
from slackwater.cli.options import ConfigOption, JsonOption
from slackwater.config import Config
from slackwater.errors import UsageError
from slackwater.facts.members import Shares, pool_name
from slackwater.operations.pool import pool as operation
from slackwater.operations.pool.world import PoolWorld

app = typer.Typer(help="The colours of a pool, and its traffic among them.",
                  no_args_is_help=True, rich_markup_mode=None)
PoolArgument = Annotated[str, typer.Argument(help="Which pool.")]
WatchOption = Annotated[
    float, typer.Option("--watch", min=0, max=600,
                        help="Seconds to see that the new members stay healthy; else it goes back.")
]
DegradedOption = Annotated[
    bool, typer.Option("--degraded", help="Go although some members of the colour are not healthy.")
]
PlanOption = Annotated[bool, typer.Option("--plan", help="Print what would be done.")]


@app.callback()
def _pool() -> None:
    """The colours of a pool, and its traffic among them."""


@app.command("show")
def show(pool: PoolArgument, file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The members of a pool, their colours, and who gets how much."""
    settings = config.load(config.find(file))
    found = asyncio.run(_look(settings, _named(pool)))
    if as_json:
        print(json.dumps({"pool": pool, "registries": found}))
        return
    for url, report in found.items():
        print(report_text({**report, "registry": url, "pools": [report]}))


@app.command("switch")
def switch(
    pool: PoolArgument,
    to: Annotated[str, typer.Option("--to", help="The colour that gets all new traffic.")],
    watch: WatchOption = 5.0,
    degraded: DegradedOption = False,
    plan: PlanOption = False,
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move a pool to one colour. The others stay registered, and finish what they have.

    Back is the same command with the other colour. Example:

      slackwater pool switch web --to green --plan
    """
    _operate(pool, {to: 100}, watch, degraded, file, plan=plan, as_json=as_json)


@app.command("weigh")
def weigh(
    pool: PoolArgument,
    parts: Annotated[
        list[str] | None, typer.Argument(help="COLOUR=PERCENT, 100 together; none: no colours.")
    ] = None,
    watch: WatchOption = 5.0,
    degraded: DegradedOption = False,
    plan: PlanOption = False,
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Divide a pool's new traffic among colours, however many members each has.

    Example:

      slackwater pool weigh web blue=90 green=10
    """
    shares: dict[str, int] = {}
    for part in parts or ():
        colour, _, number = part.partition("=")
        if not number.isascii() or not number.isdigit() or colour in shares:
            raise UsageError(f"not a share: {part!r}", hint="write blue=90 green=10")
        shares[colour] = int(number)
    _operate(pool, shares, watch, degraded, file, plan=plan, as_json=as_json)


def _operate(
    pool: str, parts: dict[str, int], watch: float, degraded: bool, file: Path | None, *,
    plan: bool, as_json: bool,
) -> None:
    _named(pool)
    try:
        shares = Shares(tuple(sorted(parts.items())))
    except ValueError as error:
        raise UsageError(str(error)) from None
    asked = operation.Asked(pool, shares.parts, watch, degraded)

    async def propose(world: PoolWorld) -> Proposal[PoolWorld]:
        made = operation.plan(asked)
        reasons = await made.steps[0].precheck(world) if plan else []
        return Proposal(made, reasons)

    def make(settings: Config) -> PoolWorld:
        return PoolWorld(settings, pool)

    operate("pool", file, make, propose, plan_only=plan, as_json=as_json)


def _named(pool: str) -> str:
    try:
        return pool_name(pool)
    except ValueError as error:
        raise UsageError(str(error)) from None


async def _look(settings: Config, pool: str) -> dict[str, dict[str, Any]]:
    world = PoolWorld(settings, pool)
    try:
        return await world.reports()
    finally:
        await world.close()
