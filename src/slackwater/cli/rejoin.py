"""`slackwater pair rejoin`."""

from __future__ import annotations

from typing import Annotated

import typer

from slackwater.cli import rejoin_copy
from slackwater.cli.operate import Proposal, operate
from slackwater.cli.options import ConfigOption, JsonOption, PairOption
from slackwater.cli.rejoin_look import proposal
from slackwater.operations.pair_world import PairWorld

CATCH_UP_S = 300.0


def rejoin(
    plan: Annotated[bool, typer.Option("--plan", help="Print the steps; touch nothing.")] = False,
    copy_again: Annotated[
        bool, typer.Option("--copy-again", help="Save what it has of its own, throw its data away "
                                                "and copy the active server's.")
    ] = False,
    catch_up: Annotated[
        float, typer.Option("--catch-up", min=1, help="Seconds that it may take to catch up.")
    ] = CATCH_UP_S,
    file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the old server back as the passive one, after a failover.

    It is made read-only first of all. If it has transactions that the other server never had, they
    are shown and saved, and nothing else is done: its data has to be copied anew, which
    --copy-again does as `pair setup` would.

    Examples:

      slackwater pair rejoin --plan     what would be done

      slackwater pair rejoin

      slackwater pair rejoin --copy-again     of a server with transactions of its own
    """
    if copy_again:
        raise typer.Exit(rejoin_copy.run(file, pair, catch_up, plan_only=plan, as_json=as_json))

    async def propose(world: PairWorld) -> Proposal[PairWorld]:
        return await proposal(world, catch_up, keep=not plan)

    operate(
        "rejoin", file, lambda settings: PairWorld(settings, settings.pair(pair)[0]), propose,
        plan_only=plan, as_json=as_json,
    )
