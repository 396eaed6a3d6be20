"""A bounded look at a pair whose active server may be dead: all at once, from every side."""

from __future__ import annotations

import asyncio
import dataclasses

from slackwater import clock
from slackwater.errors import SlackwaterError
from slackwater.facts.balancer import BalancerState
from slackwater.facts.failover import (
    REFUSES_US,
    BalancerView,
    FailoverSeen,
    Passive,
    Seen,
    Sight,
    stands_still,
)
from slackwater.facts.replication import ReplicaStatus
from slackwater.operations.alter import store
from slackwater.operations.balancer_file import check_file
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.through import through
from slackwater.outside.haproxy import config as haproxy_config
from slackwater.outside.mysql import semi_sync
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import MysqlError
from slackwater.outside.sight import see
from slackwater.rules import failover as rules

# A server that greets nobody for so long, seen from here and through each balancer, hangs. Clients
# wait meanwhile: a dead one is known in milliseconds, since its machine says so.
LOOK_S = 0.6
THIRD_S = 0.25
FILE_LIMIT_S = 5.0
# One that answers here is alive: before it is called cut off from its clients, they get their time.
PATIENT_S = 3.0
SHUTTING_DOWN = 1053
Statuses = tuple[ReplicaStatus, ...]


async def sights(world: PairWorld) -> dict[str, Seen]:
    """Both servers from here; the sessions that answered are kept in the world."""

    async def one(name: str, limit_s: float) -> Seen:
        server = world.servers[name]
        seen, session = await see(server.at, limit_s=limit_s)
        if session is not None:
            server.control = session
            world.unreachable.pop(name, None)
        else:
            world.unreachable[name] = str(seen)
        return seen

    found = await asyncio.gather(*(one(n, LOOK_S) for n in world.pair))
    if not any(seen.sight.alive for seen in found):
        # Or a machine is so busy that nobody was quick enough: both get their time.
        found = await asyncio.gather(*(one(n, PATIENT_S) for n in world.pair))
    return dict(zip(world.pair, found, strict=True))


async def look(
    world: PairWorld, to: str | None
) -> tuple[FailoverSeen, tuple[str, str] | list[str]]:
    """See the pair; and (old, new), or why nobody can say."""
    hurry = asyncio.Event()
    views = asyncio.ensure_future(_balancers(world, hurry))
    early = asyncio.ensure_future(_early(world))
    meanwhile: asyncio.Future[Passive | None] | None = None
    try:
        seen = await sights(world)
        if await _surely_dead(world, seen):
            hurry.set()
            early.cancel()
            new = next(n for n, s in seen.items() if s.sight is Sight.READ_ONLY)
            # Nothing more can come to it, so it need not be the last that is looked at.
            meanwhile = asyncio.ensure_future(_passive(world, new, ()))
        replication = {} if hurry.is_set() else await early
        balancers = await views
        if any(s.sight is Sight.SERVES for s in seen.values()):
            balancers = await _patiently(world, balancers)
    finally:
        for task in (views, early):
            task.cancel()
        await asyncio.gather(views, early, *([meanwhile] if meanwhile else []),
                             return_exceptions=True)
    says = {n: b.state.active if b.state else None for n, b in balancers.items()}
    found = rules.roles(seen, says, to)
    if isinstance(found, list):
        return FailoverSeen(world.pair, seen, balancers), found
    _, new = found
    passive = meanwhile.result() if meanwhile else await _passive(
        world, new, replication.get(new, ()))
    unseen = world.unreachable.get(new, "")
    return FailoverSeen(world.pair, seen, balancers, passive, unseen), found


async def _surely_dead(world: PairWorld, seen: dict[str, Seen]) -> bool:
    """Whether a machine says that nothing listens there, and its replica has lost it too."""
    dead = [n for n, s in seen.items() if s.sight is Sight.NOT_RUNNING]
    left = [n for n, s in seen.items() if s.sight is Sight.READ_ONLY]
    if not dead or not left:
        return False
    session = await world.session(left[0])
    try:
        channels = await mysql_server.replica_status(session, limit_s=3)
    except SlackwaterError:
        return False
    return bool(channels) and not any(c.io_running for c in channels)


async def _early(world: PairWorld) -> dict[str, Statuses]:
    """The first of two looks at who replicates what; {} where nobody answers."""

    async def one(name: str) -> Statuses:
        try:
            session = await world.servers[name].fresh(limit_s=LOOK_S)
        except SlackwaterError:
            return ()
        try:
            # Some of what a dead server sent may still be on its way: not the first moments.
            await asyncio.sleep(LOOK_S / 2)
            return await mysql_server.replica_status(session, limit_s=LOOK_S)
        except SlackwaterError:
            return ()
        finally:
            await session.close()

    found = await asyncio.gather(*(one(n) for n in world.pair))
    return dict(zip(world.pair, found, strict=True))


async def _passive(world: PairWorld, new: str, before: Statuses) -> Passive | None:
    try:
        await world.servers[new].open()
        session = await world.session(new)
        facts = await mysql_server.look(session, new, limit_s=3)
        return Passive(
            facts=facts, before=before,
            missing_privileges=tuple(await mysql_server.missing_privileges(session, limit_s=3)),
            semi_sync=await semi_sync.look(session),
            idle_events=await mysql_server.events_of_a_source(session, limit_s=3),
            changing=any(stands_still(c) for c in facts.replication)
            and await store.open_change(session) is not None,
        )
    except SlackwaterError as error:
        world.unreachable[new] = str(error)
        return None


async def _balancers(world: PairWorld, hurry: asyncio.Event) -> dict[str, BalancerView]:
    found = await asyncio.gather(*(_balancer(world, n, hurry) for n in world.balancers))
    return dict(zip(world.balancers, found, strict=True))


async def _balancer(world: PairWorld, name: str, hurry: asyncio.Event) -> BalancerView:
    (state, lacks), behind, (file_active, of_file) = await asyncio.gather(
        _obedient(world, name), _behind_soon(world, name, hurry), _file(world, name)
    )
    if state is None:
        return BalancerView(None, lacks=tuple(lacks))
    return BalancerView(state, behind, file_active, (*lacks, *of_file))


async def _obedient(world: PairWorld, name: str) -> tuple[BalancerState | None, list[str]]:
    """What it does now, and why it would not do what it is told."""
    balancer = world.balancers[name]
    try:
        return await balancer.look(), await balancer.obeys()
    except SlackwaterError as error:
        return None, [
            f"{error}: it might send clients to the old server when that wakes up; mend it, or "
            f"take it out of [pairs.{world.name}] if it is gone for good"]


async def _patiently(
    world: PairWorld, views: dict[str, BalancerView]
) -> dict[str, BalancerView]:
    """The same, but with more time for those behind which nobody answered."""

    async def again(name: str, view: BalancerView) -> BalancerView:
        if view.state is None or view.behind is not None:
            return view
        return dataclasses.replace(view, behind=await _behind(world, name, PATIENT_S))

    found = await asyncio.gather(*(again(n, v) for n, v in views.items()))
    return dict(zip(views, found, strict=True))


async def _behind_soon(world: PairWorld, name: str, hurry: asyncio.Event) -> int | None:
    """As `_behind`; a third witness to what two have said gets less time."""
    begun = clock.mono()
    knock = asyncio.ensure_future(_behind(world, name))
    told = asyncio.ensure_future(hurry.wait())
    try:
        await asyncio.wait((knock, told), return_when=asyncio.FIRST_COMPLETED)
        left = max(0.0, THIRD_S - (clock.mono() - begun))
        await asyncio.wait((knock,), timeout=left if hurry.is_set() else None)
        return knock.result() if knock.done() else None
    finally:
        for task in (knock, told):
            task.cancel()
        await asyncio.gather(knock, told, return_exceptions=True)


async def _behind(world: PairWorld, name: str, limit_s: float = LOOK_S) -> int | None:
    """Who answers a client there; None: nobody, in time. Whom it refuses hears a living server."""
    try:
        async with asyncio.timeout(limit_s), through(world, name, limit_s=limit_s) as client:
            return await mysql_server.server_id(client, limit_s=limit_s)
    except MysqlError as error:
        return None if error.code == SHUTTING_DOWN else REFUSES_US
    except (SlackwaterError, TimeoutError):
        return None


async def _file(world: PairWorld, name: str) -> tuple[str | None, list[str]]:
    """The server that its file makes active, and what keeps us from writing that file."""
    host, path = world.hosts[name], world.config.balancers[name].config_file
    try:
        async with asyncio.timeout(FILE_LIMIT_S):
            active = haproxy_config.read_active(await host.read(path))
            if not await host.may_write(path.parent):
                return active, [f"may not write in {path.parent} on {host.where}"]
            # While others are looked at, so that no client waits for it later.
            if active in world.pair:
                await check_file(world, name, world.pair[1 - world.pair.index(active)])
            return active, []
    except (SlackwaterError, TimeoutError) as error:
        return None, [f"{error or 'no answer in time'} (its file has to name the new server)"]

