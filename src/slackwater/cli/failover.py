"""`slackwater failover`."""

from __future__ import annotations

import asyncio
import importlib
from typing import Annotated

import typer

from slackwater.cli.operate import Proposal, operate
from slackwater.cli.options import ConfigOption, JsonOption, PairOption
from slackwater.operations.failover.look import look
from slackwater.operations.pair_world import PairWorld
from slackwater.rules import failover as rules

APPLY_LIMIT_S = 60.0
# What may be stuck on the very server that is lost: nothing else could bring the pair back then.
TAKES_OVER = ("switchover", "alter", "alter-finish", "alter-revert", "rejoin", "rejoin-close",
              "pair-setup", "pair-settings")


def failover(
    to: Annotated[
        str | None, typer.Option("--to", help="The server to promote [default: the passive].")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the steps; touch nothing.")] = False,
    apply_limit: Annotated[
        float,
        typer.Option("--apply-limit", min=0.1, help="Seconds to apply what was received."),
    ] = APPLY_LIMIT_S,
    file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the passive server active, now that the active one is dead or cut off.

    Run by a person, never by itself. Refuses when the active server is alive and serves its
    clients: that is a switchover, which loses nothing. `slackwater pair rejoin` brings the old
    server back as the passive. It takes the place of an operation that is stuck for the loss of
    that server, such as a switchover; `recover` has then no more to do with that one.

    Examples:

      slackwater failover --plan        what is seen, and what would be done

      slackwater failover

      slackwater failover --to db2 --json
    """

    async def propose(world: PairWorld) -> Proposal[PairWorld]:
        return await proposal(world, to, apply_limit)

    operate(
        "failover", file, lambda settings: PairWorld(settings, settings.pair(pair)[0]), propose,
        plan_only=plan, as_json=as_json, takes_over=TAKES_OVER,
    )


async def proposal(world: PairWorld, to: str | None, apply_s: float) -> Proposal[PairWorld]:
    """Look from every side; the plan of a failover, and why not to walk it."""
    # The steps are read while servers are waited for: clients wait as well.
    (seen, roles), _ = await asyncio.gather(
        look(world, to),
        asyncio.to_thread(importlib.import_module, "slackwater.operations.failover.failover"),
    )
    from slackwater.operations.failover import failover as operation

    if isinstance(roles, list):
        return Proposal(None, roles)
    old, new = roles
    world.figures.update({
        "from": old, "to": new, "seen": str(seen.sights[old]), "risks": rules.risks(seen, old, new),
    })
    asked = operation.Asked(
        old, new, tuple(world.balancers), world.replicas, apply_s, str(seen.sights[old].sight)
    )
    return Proposal(
        operation.plan(world.name, asked), rules.refusals(seen, old, new, apply_s)
    )
