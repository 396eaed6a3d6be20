"""`slackwater switchover`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import pydantic
import typer

from slackwater.cli.operate import (
    Proposal,
    operate,
)
from slackwater.cli.options import (
    ConfigOption,
    GraceOption,
    HoldOption,
    JsonOption,
    PairOption,
    SettleBypassingOption,
)
from slackwater.config import Config, LimitsTable
from slackwater.errors import UsageError
from slackwater.operations.look import look
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.switchover import switchover as operation
from slackwater.rules import guardrails


def switchover(
    to: Annotated[
        str | None, typer.Option("--to", help="The server to make active [default: the passive].")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the steps; touch nothing.")] = False,
    hold: HoldOption = None,
    grace: GraceOption = None,
    settle_bypassing: SettleBypassingOption = False,
    file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move the writes of a pair to the other server; clients wait some milliseconds.

    Examples:

      slackwater switchover --plan      what would be done, step by step

      slackwater switchover             to the passive server

      slackwater switchover --to db2 --json
    """

    async def propose(world: PairWorld) -> Proposal[PairWorld]:
        return await proposal(world, to, limits_with(world, hold, grace), settle_bypassing)

    operate("switchover", file, pair_world(pair), propose, plan_only=plan, as_json=as_json)


def pair_world(pair: str | None) -> Callable[[Config], PairWorld]:
    """How the world of that pair, or of the only one, is made."""
    return lambda settings: PairWorld(settings, settings.pair(pair)[0])


async def proposal(
    world: PairWorld, to: str | None, limits: LimitsTable, settle_bypassing: bool = False
) -> Proposal[PairWorld]:
    """Look at the pair; the plan of a switchover, and why not to walk it."""
    world.limits = limits  # a balancer's own limits are held against this hold
    seen = await look(world)
    roles = guardrails.roles(seen, to)
    if isinstance(roles, list):
        return Proposal(None, roles)
    old, new = roles
    wish = guardrails.Wish(
        old, new, limits.lag, limits.oldest_transaction, settle_bypassing, limits.hold
    )
    asked = operation.Asked(
        old, new, tuple(world.balancers), world.replicas, limits.hold, limits.grace, limits.lag
    )
    world.figures.update({"from": old, "to": new})
    return Proposal(operation.plan(world.name, asked), guardrails.refusals(seen, wish))


def limits_with(world: PairWorld, hold: float | None, grace: float | None) -> LimitsTable:
    """The configured limits with what the command line says instead. Raises UsageError."""
    asked = {k: v for k, v in (("hold", hold), ("grace", grace)) if v is not None}
    try:
        return LimitsTable.model_validate(world.limits.model_dump() | asked)
    except pydantic.ValidationError as error:
        why = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise UsageError(f"--hold and --grace: {why}") from error
