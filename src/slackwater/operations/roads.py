"""Where balancers lead to: their servers' addresses, and what is needed to judge them."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
from collections.abc import Mapping

from slackwater.config import host_port
from slackwater.errors import SlackwaterError
from slackwater.facts.balancer import BalancerState
from slackwater.facts.pair import Road, ServerSeen
from slackwater.operations.pair_world import PairWorld
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import Session
from slackwater.outside.names import addresses
from slackwater.rules.roads import host_of, leads

PROOF_LIMIT_S = 1.5


async def look_at_roads(
    world: PairWorld, balancer: str, state: BalancerState, in_file: Mapping[str, str],
    servers: Mapping[str, ServerSeen],
) -> dict[str, Road]:
    """Where a balancer, and its file, have each of the pair's servers.

    Another address than the configured one is tried: one at which that very server answers is
    as good. Never raises.
    """
    far = _far(world, balancer)
    # Another machine that we cannot ask may know a name otherwise: then nobody can tell.
    asks = not far or world.config.balancers[balancer].ssh is not None

    async def road(name: str) -> Road:
        meant, now = world.config.servers[name].address, state.servers.get(name)
        found = Road(meant, now.address if now else None, in_file.get(name), far)
        texts = [t for t in (found.meant, found.now, found.in_file) if t]
        if len(set(texts)) == 1:
            return found
        if asks:
            hosts = sorted({h for h in map(host_of, texts) if h})
            known = await asyncio.gather(*(addresses(h, world.hosts[balancer]) for h in hosts))
            found = dataclasses.replace(found, names=dict(zip(hosts, known, strict=True)))
        other = [t for t in texts if not leads(found, t)]
        proven = [t for t in other if name in servers and await _answers(world, servers[name], t)]
        return dataclasses.replace(found, proven=frozenset(proven))

    return dict(zip(world.pair, await asyncio.gather(*map(road, world.pair)), strict=True))


def _far(world: PairWorld, balancer: str) -> bool:
    table = world.config.balancers[balancer]
    kind, _, rest = table.runtime.partition(":")
    if table.ssh is not None or kind == "unix":
        return table.ssh is not None
    host = host_port(rest)[0]
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


async def _answers(world: PairWorld, server: ServerSeen, address: str) -> bool:
    """Whether this server answers there."""
    try:
        host, port = host_port(address)
        like = world.servers[server.facts.name].at
        at = dataclasses.replace(like, host=host, port=port, socket="")
        async with await Session.open(at, limit_s=PROOF_LIMIT_S) as session:
            return await mysql_server.server_id(session) == server.facts.server_id
    except (SlackwaterError, ValueError):
        return False
