"""What `pair rejoin` sees before it begins: who comes back, and why that cannot be."""

from __future__ import annotations

from slackwater.cli.operate import Proposal
from slackwater.errors import SlackwaterError
from slackwater.facts.server import ServerFacts
from slackwater.operations.failover import own_transactions
from slackwater.operations.failover import rejoin as operation
from slackwater.operations.pair_world import PairWorld
from slackwater.outside.mysql import server as mysql_server
from slackwater.rules import rejoin as rules


async def proposal(
    world: PairWorld, catch_up_s: float, *, keep: bool
) -> Proposal[PairWorld]:
    """Look at both servers; the plan, and why not to walk it. `keep`: save what it has of its own.
    """
    found = await look(world, catch_up_s)
    if isinstance(found, list):
        return Proposal(None, found)
    asked, servers = found
    old, new = asked.old, asked.new
    reasons = rules.refusals(servers[old], servers[new], old, new)
    if not servers[old].writable:  # one that accepts writes is closed first: the steps see to it
        more = await own_transactions.extra(world, old, new)
        if more:
            told = await own_transactions.show(world, old, new, more, keep=keep)
            world.figures["extra"] = told
            reasons.append(f"{told['words']} ({operation.copy_again(old)})")
    return Proposal(operation.plan(world.name, asked), reasons)


async def look(
    world: PairWorld, catch_up_s: float
) -> tuple[operation.Asked, dict[str, ServerFacts]] | list[str]:
    """Who comes back, and who takes the writes; or why nobody can say."""
    await world.connect()
    servers: dict[str, ServerFacts] = {}
    for name in world.pair:
        if name not in world.unreachable:
            try:
                servers[name] = await mysql_server.look(await world.session(name), name)
            except SlackwaterError as error:
                world.unreachable[name] = str(error)
    says: dict[str, str | None] = {}
    unreachable = {n: why for n, why in world.unreachable.items() if n in world.pair}
    for name, balancer in world.balancers.items():
        try:
            says[name] = (await balancer.look()).active
        except SlackwaterError as error:
            unreachable[f"balancer {name}"] = str(error)
    found = rules.roles((world.pair[0], world.pair[1]), servers, says, unreachable)
    if isinstance(found, list):
        return found
    old, new = found
    world.figures.update({"from": old, "to": new})
    return operation.Asked(old, new, tuple(world.balancers), world.replicas, catch_up_s), servers
