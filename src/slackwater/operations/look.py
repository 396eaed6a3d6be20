"""One look at a whole pair: everything at once, and what cannot be reached is a fact too."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterable

from slackwater import clock
from slackwater.errors import SlackwaterError
from slackwater.facts.alter_state import Change
from slackwater.facts.balancer import HOLD, BalancerState, Ends
from slackwater.facts.pair import BalancerSeen, PairSeen, Passing, ServerSeen
from slackwater.facts.server import ClientSession
from slackwater.operations.alter import store
from slackwater.operations.at_address import look_at_address
from slackwater.operations.balancer_file import FileSeen, check_file, look_at_file
from slackwater.operations.pair_lock import LOCK, left_by_an_ended
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.roads import look_at_roads
from slackwater.operations.through import through
from slackwater.outside.haproxy.haproxy import HAProxy
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.state_file import why_not_recorded
from slackwater.rules.passing import Count, passing

BYPASS_LOOKS = 6
BYPASS_PAUSE_S = 0.1
WAITING_LOOKS = 4


async def look(world: PairWorld, *, knock: bool = True) -> PairSeen:
    """See the pair. `knock` also comes in through each balancer, as a client would."""
    await world.connect(to_look=True)  # a full server is one to look at
    unreachable = dict(world.unreachable)
    servers: dict[str, ServerSeen] = {}
    balancers: dict[str, BalancerSeen] = {}

    # The passive before the active: a position read later can only be further on.
    async def see_server(name: str) -> None:
        try:
            servers[name] = await _server(world, name)
        except (SlackwaterError, OSError, TimeoutError) as error:
            unreachable[name] = str(error) or "no answer in time"

    for name in world.servers:
        if name not in unreachable:
            await see_server(name)
    active = [n for n in servers if n in world.pair and not servers[n].facts.read_only]
    for name in active:
        await see_server(name)

    async def see_balancer(name: str) -> None:
        try:
            balancers[name] = await _balancer(world, name, servers, knock=knock)
        except (SlackwaterError, OSError, TimeoutError) as error:
            unreachable[f"balancer {name}"] = str(error) or "no answer in time"

    async def knock_at(name: str) -> None:
        found = await look_at_address(world, name)
        servers[name] = dataclasses.replace(servers[name], at_address=found)

    seen = [n for n in world.pair if n in servers] if knock else []
    await asyncio.gather(
        *(see_balancer(n) for n in world.balancers), *(knock_at(n) for n in seen)
    )
    bypassing: tuple[ClientSession, ...] = ()
    short: Passing | None = None
    if knock and len(active) == 1 and balancers:
        new = world.pair[1 - world.pair.index(active[0])]
        # HAProxy takes its time, which the looks of the former leave it.
        (bypassing, short), balancers = await asyncio.gather(
            _bypassing(world, active[0]), _files_checked(world, balancers, new)
        )
    change = await _change(world, active, [*active, *servers])
    return PairSeen(
        world.name, world.pair, servers, balancers, world.replicas, unreachable, bypassing, short,
        change, await _worked_on(world) if knock else (),
        why_not_recorded(world.config.state_directory, f"pair-{world.name}.lock"),
    )


async def _worked_on(world: PairWorld) -> tuple[str, ...]:
    """The servers on which another slackwater has the pair's lock. Asked last: the sessions of one
    that has just ended end soon."""
    found = []
    for name in world.pair:
        with contextlib.suppress(SlackwaterError):  # that it is lost is seen elsewhere
            owner = await mysql_server.lock_owner(await world.session(name), LOCK)
            others = owner is not None and owner not in world.own_ids(name)
            # One that has ended here is no other; the next operation ends what it left.
            if others and await left_by_an_ended(world, name) != owner:
                found.append(name)
    return tuple(found)


async def _change(world: PairWorld, active: list[str], names: list[str]) -> Change | None:
    """A schema change that has not ended, as the first of these servers that answers knows it."""
    for name in names:
        try:
            found = await store.open_change(await world.session(name))
            return found and found.with_active(active[0] if len(active) == 1 else None)
        except SlackwaterError:
            continue
    return None


async def _server(world: PairWorld, name: str) -> ServerSeen:
    server = world.servers[name]
    session = await server.session()
    facts = await mysql_server.look(session, name)
    sessions = await _clients(world, name)
    return ServerSeen(
        facts=facts,
        sessions=tuple(sessions),
        transactions=await mysql_server.open_transactions(session),
        privileged=tuple(await mysql_server.privileged_users(session)),
        accounts=await mysql_server.accounts(session),
        shut=await mysql_server.shut_accounts(session),
        prepared_xa=await mysql_server.prepared_xa(session),
        read_only_unset=await mysql_server.read_only_unset(session),
        persisted_writable=await mysql_server.persisted_writable(session),
        binlog_filters=tuple(await mysql_server.binlog_filters(session)),
        enabled_events=await mysql_server.enabled_events(session),
        missing_privileges=tuple(
            await mysql_server.missing_rights(session, acts=name in world.pair)
        ),
    )


async def _clients(world: PairWorld, name: str) -> list[ClientSession]:
    found = await mysql_server.client_sessions(await world.session(name), world.own_ids(name))
    return [s for s in found if s.user != world.servers[name].at.user]


async def _balancer(
    world: PairWorld, name: str, servers: dict[str, ServerSeen], *, knock: bool
) -> BalancerSeen:
    balancer = world.balancers[name]
    state = await balancer.look()
    lacks = list(await balancer.capable())
    waiting = 0 if knock else await _waiting(balancer, state)
    try:
        file = await look_at_file(world, name, state)
        lacks += file.lacks
    except SlackwaterError as error:
        file = FileSeen()
        lacks.append(f"{error} (slackwater has to read and write it there)")
    answers = None
    if knock and not state.holding:
        try:
            async with through(world, name) as client:
                server_id = await mysql_server.server_id(client)
            answers = _named(servers, server_id) or f"an unknown server (server_id {server_id})"
        except SlackwaterError as error:
            lacks.append(f"slackwater cannot log in through its frontend: {error}")
    roads = await look_at_roads(world, name, state, file.addresses, servers)
    return BalancerSeen(state, tuple(lacks), answers, file.active, roads, waiting)


async def _files_checked(
    world: PairWorld, balancers: dict[str, BalancerSeen], new: str
) -> dict[str, BalancerSeen]:
    """With what HAProxy says of the files that a switchover to `new` would write: it does so past
    the commit point. Not asked where something is lacking already."""

    async def checked(name: str) -> BalancerSeen:
        seen = balancers[name]
        if seen.lacks or seen.file_active is None:
            return seen
        try:
            await check_file(world, name, new)
        except SlackwaterError as error:
            why = f"its file could not be written after the switchover: {error}"
            return dataclasses.replace(seen, lacks=(why,))
        return seen

    return dict(zip(balancers, await asyncio.gather(*map(checked, balancers)), strict=True))


async def _waiting(balancer: HAProxy, state: BalancerState) -> int:
    """How many clients wait in each of several looks, when nothing is held: a queue that empties
    in between is one that moves."""
    fewest = state.queued
    for _ in range(WAITING_LOOKS):
        if not fewest or state.holding or state.hold:
            return 0
        await asyncio.sleep(BYPASS_PAUSE_S)
        state = await balancer.look()
        fewest = min(fewest, state.queued)
    return fewest


def _named(servers: dict[str, ServerSeen], server_id: int) -> str | None:
    return next((n for n, s in servers.items() if s.facts.server_id == server_id), None)


async def _bypassing(
    world: PairWorld, active: str
) -> tuple[tuple[ClientSession, ...], Passing | None]:
    """Sessions that no balancer knows of, in two looks that follow one another; and whether others
    come past the balancers that do not stay so long."""
    session = await world.session(active)
    found: dict[int, ClientSession] = {}
    last: set[int] = set()
    counts: list[Count] = []
    for number in range(BYPASS_LOOKS):
        if number:
            await asyncio.sleep(BYPASS_PAUSE_S)
        before, made_before = await _ends(world), await _made(world, active)
        made = await mysql_server.connections_made(session)
        sessions = await _clients(world, active)
        made_after, after = await _made(world, active), await _ends(world)
        if before is None or after is None or made_before is None or made_after is None:
            return (), None
        now = {
            s.id: s for s in sessions
            if not _among(s.host, before) and not _among(s.host, after)
            and s.command.lower() != "connect"
        }
        found |= {i: s for i, s in now.items() if i in last}
        last = set(now)
        strangers = tuple(f"{s.user}@{s.host.rpartition(':')[0] or s.host}" for s in now.values())
        counts.append(Count(clock.mono(), made_before, made, made_after, strangers))
    programs = await mysql_server.programs(session, list(found))
    named = (dataclasses.replace(s, program=programs.get(s.id)) for s in found.values())
    return tuple(named), passing(counts)


async def _made(world: PairWorld, server: str) -> int | None:
    """How many connections the balancers have made to a server, the hold server's among them."""
    try:
        states = [await b.look() for b in world.balancers.values()]
    except SlackwaterError:
        return None
    return sum(s.servers[n].total for s in states for n in (server, HOLD) if n in s.servers)


async def _ends(world: PairWorld) -> Ends | None:
    """Of the balancers' connections to servers."""
    found = Ends()
    for balancer in world.balancers.values():
        try:
            found |= await balancer.ends()
        except SlackwaterError:
            return None
    return Ends(_plain(found.own), _plain(found.clients))


def _among(host: str, ends: Ends) -> bool:
    """Whether a session's `host:port`, as its server calls it, is one of a balancer's ends."""
    name, _, port = host.rpartition(":")
    if not name or not any(c.isalpha() for c in name) or ":" in name:
        return host in ends.own or host in ends.clients
    # Without skip_name_resolve the server has put a name in place of the address.
    return any(end.rpartition(":")[2] == port for end in ends.own)


def _plain(ends: Iterable[str]) -> frozenset[str]:
    return frozenset(e.replace("::ffff:", "") for e in ends)
