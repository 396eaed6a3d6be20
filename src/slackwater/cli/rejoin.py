"""`slackwater pair rejoin`."""

from __future__ import annotations

from typing import Annotated

import typer

from slackwater.cli.operate import Proposal, operate
from slackwater.cli.options import ConfigOption, JsonOption, PairOption
from slackwater.errors import Refused, SlackwaterError
from slackwater.facts.server import ServerFacts
from slackwater.operations import own_transactions
from slackwater.operations import rejoin as operation
from slackwater.operations.pair_world import PairWorld
from slackwater.outside import mysql_server
from slackwater.rules import rejoin as rules

CATCH_UP_S = 300.0


def rejoin(
    plan: Annotated[bool, typer.Option("--plan", help="Print the steps; touch nothing.")] = False,
    copy_again: Annotated[
        bool, typer.Option("--copy-again", help="Copy the data anew: see `pair setup`.")
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
    are shown and saved, and nothing else is done: its data has to be copied anew.

    Examples:

      slackwater pair rejoin --plan     what would be done

      slackwater pair rejoin
    """

    async def propose(world: PairWorld) -> Proposal[PairWorld]:
        return await proposal(world, catch_up, keep=not plan, copy_again=copy_again)

    operate(
        "rejoin", file, lambda settings: PairWorld(settings, settings.pair(pair)[0]), propose,
        plan_only=plan, as_json=as_json,
    )


async def proposal(
    world: PairWorld, catch_up_s: float, *, keep: bool, copy_again: bool
) -> Proposal[PairWorld]:
    """Look at both servers; the plan, and why not to walk it. `keep`: save what it has of its own.
    """
    await world.connect()
    servers: dict[str, ServerFacts] = {}
    waits = ""  # one whose commits wait for a replica's word (semi-sync): it tells no position then
    for name in world.pair:
        if name not in world.unreachable:
            try:
                servers[name] = await mysql_server.look(await world.session(name), name)
            except SlackwaterError as error:
                world.unreachable[name] = str(error)
                if await world.writable(name):
                    waits = name
    says: dict[str, str | None] = {}
    unreachable = {n: why for n, why in world.unreachable.items() if n in world.pair}
    for name, balancer in world.balancers.items():
        try:
            says[name] = (await balancer.look()).active
        except SlackwaterError as error:
            unreachable[f"balancer {name}"] = str(error)
    other = next((n for n in world.pair if n != waits), "")
    if waits and len(unreachable) == 1 and set(says.values()) == {other} and not copy_again:
        # Closing it is the first step, and sets those commits free; then the steps look.
        world.figures.update({"from": waits, "to": other})
        freed = operation.Asked(
            waits, other, tuple(world.balancers), world.replicas, catch_up_s)
        return Proposal(operation.plan(world.name, freed), [])
    found = rules.roles(world.pair, servers, says, unreachable)
    if isinstance(found, list):
        return Proposal(None, found)
    old, new = found
    if copy_again:
        raise Refused(f"cannot copy the data of {old} anew here", [
            f"that is done by `slackwater pair setup --overwrite {old}`"
        ], hint="`slackwater pair rejoin` without --copy-again shows what it has of its own")
    world.figures.update({"from": old, "to": new})
    asked = operation.Asked(old, new, tuple(world.balancers), world.replicas, catch_up_s)
    reasons = rules.refusals(servers[old], servers[new], old, new)
    if not servers[old].writable:  # one that accepts writes is closed first: the steps see to it
        more = await own_transactions.extra(world, old, new)
        if more:
            told = await own_transactions.show(world, old, new, more, keep=keep)
            world.figures["extra"] = told
            reasons.append(f"{told['words']} ({operation.copy_again(old)})")
    return Proposal(operation.plan(world.name, asked), reasons)
