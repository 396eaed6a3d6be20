"""The way back: end what is lost, free the lock, let the old server accept writes again."""

from __future__ import annotations

from slackwater.errors import OutsideError, StepFailed
from slackwater.operations.pair_lock import claim_late
from slackwater.operations.pair_world import PairWorld
from slackwater.outside.mysql import server as mysql_server

PROMOTING = "promoting"  # noted on disk right before the new server is told to accept writes


async def unlock(world: PairWorld, old: str) -> None:
    """End the session that holds the lock; the server frees the lock with it."""
    server = world.servers[old]
    lock = server.lock
    if lock is not None:
        await world.end_session(old, lock.connection_id)
        server.lock = None  # not before: until then a late statement of it may still be executed
        await lock.close()


async def end_broken(world: PairWorld, name: str) -> None:
    """End our sessions on a server whose answer was lost: their statement may still arrive, so no
    look is to be believed before."""
    server = world.servers[name]
    for session in (server.control, server.spare):
        if session is None or not session.broken:
            continue
        try:
            await world.end_session(name, session.connection_id)
        except OutsideError as error:
            if not error.refused:  # a server that is not running has no session either
                raise


async def reopen_old(world: PairWorld, old: str, new: str) -> None:
    """Let the old server accept writes again, only if the new one surely does not."""
    if await world.writable(old):
        return
    await claim_late(world)
    await surely_read_only(world, new)
    lock = world.servers[old].lock
    if lock is not None and lock.broken:
        await unlock(world, old)  # a late read_only of ours must not undo what follows
    session = await world.session(old)
    await mysql_server.set_read_only(session, False)
    if not await world.writable(old):
        raise StepFailed(f"{old} is still read-only")


async def surely_read_only(world: PairWorld, new: str) -> None:
    """Raises StepFailed if the new server may be accepting writes: then nothing leads back.

    One that cannot be asked is still read-only if we never began to promote it, and if it is not
    after a crash: since then, others may have promoted it, above all where clients are sent to it.
    """
    writable = await world.writable(new)
    if writable is False:
        return
    if writable is None and PROMOTING not in world.notes:
        if not world.recovering:
            return
        if not (sent := await _who_sends_to(world, new)):
            return
        raise StepFailed(
            f"{new} cannot be asked, and {sent}: somebody may have promoted it since",
            hint=f"start {new}, or `slackwater failover` if it is lost",
        )
    raise StepFailed(f"{new} may be accepting writes: nothing is sent back to the other server")


async def _who_sends_to(world: PairWorld, new: str) -> str:
    """A balancer that sends clients to that server, or may do so; "" when surely none does."""
    for name, balancer in world.balancers.items():
        try:
            state = await balancer.look()
        except OutsideError:
            return f"balancer {name} cannot be asked either"
        if new in state.servers and state.servers[new].usable:
            return f"balancer {name} sends clients to it"
    return ""
