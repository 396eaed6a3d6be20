"""Running a schema change's statements on one server that clients do not use, and taking it back.

The applier is stopped meanwhile (the source's events are still fetched): a DDL statement that waits
for one of its transactions, which waits for another behind the DDL, would hang both. The worker is
a session of its own, known to a later `recover` by a lock named after the change.
"""

from __future__ import annotations

import asyncio
import contextlib

from slackwater import clock
from slackwater.errors import OutsideError, SlackwaterError, StepFailed
from slackwater.facts import statement_text
from slackwater.facts.alter_script import What, split, what
from slackwater.facts.alter_state import Change, Filling
from slackwater.operations.alter import store
from slackwater.operations.alter.watch import watch
from slackwater.operations.keep_alive import keep_alive
from slackwater.operations.pair_lock import mark_name
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.quiet_moment import wait_for_quiet
from slackwater.outside.mysql import alter as mysql_alter
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.plan.wait import wait_until
from slackwater.rules.alter_run import way_back

LONGEST_S = 7 * 86400.0  # of one statement
LOCK_WAIT_S = 5  # for the metadata lock at a time: others wait behind it
LOCK_BUDGET_S = 120.0  # for all tries
QUIET_LIMIT_S = 15.0
OLD_STATEMENT_S = 1.0
CARRY_ON = "carry on"  # noted when the same command was given again: keep what is done


def worker_lock(change_id: str) -> str:
    """The lock by which the session that runs a change's statements is known."""
    return mark_name(change_id, "alter")


async def run_all(world: PairWorld, active: str, server: str, change_id: str) -> None:
    """Run every statement there that did not take effect yet. Raises what stopped it."""
    try:
        await end_or_wait(world, active, server, change_id, end=False)
        change = await _as_it_is(world, active, server, change_id)
    except OutsideError:
        # Without the active nothing is begun there; and a failover needs its applier, which a
        # step before may have stopped.
        with contextlib.suppress(SlackwaterError):
            await mysql_alter.start_applier(await world.session(server))
        raise
    if change.complete(server):
        await make_whole(world, change, server)
        return
    await _must_be_passive(world, server)
    session = await world.session(server)
    change = await _lift(world, active, server, change)
    try:
        await mysql_alter.stop_applier(session)
        await _wait_quiet(world, session, server)
        while not change.complete(server):
            change = await _next(world, active, server, change)
    finally:
        await _afterwards(world, change, server)


async def _as_it_is(world: PairWorld, active: str, server: str, change_id: str) -> Change:
    """The change, with nothing done on a server that was copied again since it was reverted."""
    change = await store.current(world, active, change_id)
    if not change.done.get(server) or change.after in ({}, change.before):
        return change
    if await _definitions(world, server, change) != change.before:
        return change
    return await store.update(world, active, change_id, done={**change.done, server: 0})


async def _next(world: PairWorld, active: str, server: str, change: Change) -> Change:
    """The next statement; the change as it is written down after it."""
    number = change.done.get(server, 0)
    statement = change.statements[number]
    texts = await _definitions(world, server, change)
    begun = {**change.begun, server: mysql_alter.fingerprint(texts)}
    change = await store.update(world, active, change.id, begun=begun)
    world.tell({"at": clock.unix(), "event": "told",
                "text": f"{server}: statement {number + 1} of {len(change.statements)}: "
                        f"{statement_text.words(' '.join(statement.split()))[:100]}"})
    try:
        await execute(world, server, change, statement)
    except MysqlError as error:
        if not error.sent:
            # It surely changed nothing. Were it left as begun, a definition that a person has
            # mended meanwhile would be taken for its effect.
            await _note_not_begun(world, active, server, change)
        raise
    return await _note_done(world, active, server, change)


async def _note_done(world: PairWorld, active: str, server: str, change: Change) -> Change:
    begun = {k: v for k, v in change.begun.items() if k != server}
    done = {**change.done, server: change.done.get(server, 0) + 1}
    return await store.update(world, active, change.id, begun=begun, done=done)


async def _note_not_begun(world: PairWorld, active: str, server: str, change: Change) -> None:
    begun = {k: v for k, v in change.begun.items() if k != server}
    await store.update(world, active, change.id, begun=begun)


async def execute(
    world: PairWorld, server: str, change: Change, statement: str, *, strict: bool | None = None,
    mark: tuple[str, int] | None = None,
) -> None:
    """One statement on one server, not in its binary log; waits for its lock in turns. `mark`:
    where that server is to have it written down, in the statement's own transaction."""
    worker = await world.servers[server].fresh()
    try:
        await mysql_alter.prepare_worker(worker, change.database, lock_wait_s=LOCK_WAIT_S)
        if strict is not None:
            await mysql_alter.be_strict(worker, strict)
        if not await mysql_server.take_lock(worker, worker_lock(change.id)):
            raise StepFailed(f"another session works on {server} for this schema change")
        if mark is not None:
            await store.create(worker)
            await worker.run("SET SESSION autocommit = 0")
        ends = clock.mono() + LOCK_BUDGET_S
        while True:
            try:
                await watch(world, server, worker, statement, LONGEST_S)
                if mark is not None:
                    await store.put_filling(worker, *mark, Filling(clock.unix(), done=True))
                    await worker.run("COMMIT", limit_s=LONGEST_S)
                return
            except MysqlError as error:
                if mark is not None:
                    await worker.run("ROLLBACK", limit_s=LONGEST_S)
                if error.code != mysql_alter.LOCK_WAIT_TIMEOUT or clock.mono() > ends:
                    raise
            # Those who waited behind us have their turn first.
            await _wait_quiet(world, await world.session(server), server)
    finally:
        await worker.close()


async def end_or_wait(
    world: PairWorld, active: str, server: str, change_id: str, *, end: bool
) -> None:
    """See what a statement of a dead slackwater came to: wait for it, or `end` it first.

    Servers go on with an ALTER whose client is gone. Afterwards it is written down as done when
    the definitions have changed.
    """
    session = await world.session(server)
    owner = await mysql_server.lock_owner(session, worker_lock(change_id))
    if owner is not None:
        with contextlib.suppress(SlackwaterError):
            if end:
                await mysql_server.kill(session, owner)
        verb = "ending" if end else "waiting for"
        world.tell({"at": clock.unix(), "event": "told",
                    "text": f"{server}: {verb} the statement that still runs there"})

        async def gone() -> bool:
            await keep_alive(world)
            return await mysql_server.lock_owner(session, worker_lock(change_id)) is None

        await wait_until(gone, bool, what=f"the statement on {server} ending",
                         limit_s=LONGEST_S, every_s=0.2)
    change = await store.current(world, active, change_id)
    was = change.begun.get(server)
    if was is None:
        return
    now = mysql_alter.fingerprint(await _definitions(world, server, change))
    if now != was:
        await _note_done(world, active, server, change)
    else:
        await _note_not_begun(world, active, server, change)


async def take_back(
    world: PairWorld, active: str, server: str, change_id: str, given: tuple[str, ...] = (), *,
    strict: bool = True,
) -> None:
    """Bring the old definitions back on a passive server: by statements that follow from them, or
    by those that were `given`. Not `strict`: values that do not fit are cut to what does, as
    replication has done on the other server. Raises StepFailed where it would need rows of that."""
    await end_or_wait(world, active, server, change_id, end=True)
    change = await store.current(world, active, change_id)
    if not change.touched(server):
        await make_whole(world, change, server)
        return
    await _must_be_passive(world, server)
    session = await world.session(server)
    statements = given
    if not given:
        back = way_back(change.before, await _definitions(world, server, change))
        if back.lost:
            await make_whole(world, change, server)
            raise StepFailed(
                f"{server} keeps {change.done.get(server, 0)} statement(s) of the change: "
                + "; ".join(back.lost) + " (the same `slackwater alter` again goes on)"
            )
        statements = back.statements
    change = await _lift(world, active, server, change)
    try:
        await mysql_alter.stop_applier(session)
        for number in range(await _given_done(world, server, change, given), len(statements)):
            mark = None
            if given:
                change = await _begin_given(world, active, server, change, given, number)
                mark = _mark_of(change, given, number)
            await execute(world, server, change, statements[number], strict=strict, mark=mark)
        now = await _definitions(world, server, change)
        wrong = [t for t, text in change.before.items() if now[t] != text]
        if wrong:
            raise StepFailed(f"{server}: {', '.join(wrong)} still differ(s) from what it was")
        done = {**change.done, server: 0}
        left = {k: v for k, v in change.back.items() if k != server}
        change = await store.update(world, active, change_id, done=done, back=left)
    finally:
        await _afterwards(world, change, server)


async def _given_done(
    world: PairWorld, server: str, change: Change, given: tuple[str, ...]
) -> int:
    """How many of a person's statements took effect there before this was cut off."""
    if server not in change.back:
        return 0
    number, before, which = change.back[server]
    if which != _fingerprint_of(given):
        return 0
    if mark := _mark_of(change, given, number):
        session = await world.session(server)
        return number + int(await store.filling(session, *mark) is not None)
    now = mysql_alter.fingerprint(await _definitions(world, server, change))
    return number + int(now != before)


def _mark_of(change: Change, given: tuple[str, ...], number: int) -> tuple[str, int] | None:
    """Where a data statement of a person is written down as done: no definition tells it, and to
    run it again may not be the same. None for other statements."""
    script = split(given[number])
    if not script or what(script[0]) is not What.DATA:
        return None
    return _fingerprint_of((change.id, *given)), number


async def _begin_given(
    world: PairWorld, active: str, server: str, change: Change, given: tuple[str, ...], number: int
) -> Change:
    before = mysql_alter.fingerprint(await _definitions(world, server, change))
    back = {**change.back, server: (number, before, _fingerprint_of(given))}
    return await store.update(world, active, change.id, back=back)


def _fingerprint_of(statements: tuple[str, ...]) -> str:
    return mysql_alter.fingerprint({f"{n:09}": text for n, text in enumerate(statements)})


async def make_whole(world: PairWorld, change: Change, server: str) -> None:
    """The conversions that it needs, super_read_only as it was, and its applier running."""
    session = await world.session(server)
    await convert(session, change.modes(server))
    if server in change.lifted and await mysql_alter.super_read_only(session) is False:
        await mysql_alter.put_super_read_only(session)
    await mysql_alter.start_applier(session)


async def convert(session: Session, modes: tuple[str, ...]) -> None:
    """Add `modes` to what the server converts, and have its applier know it."""
    _, now = await mysql_alter.conversions(session)
    has = [w for w in now.upper().split(",") if w]
    lacks = [m for m in modes if m not in has]
    if lacks:
        await mysql_alter.stop_applier(session)
        await mysql_alter.set_conversions(session, ",".join([*has, *lacks]))
        await mysql_alter.start_applier(session)


async def convert_again(world: PairWorld, active: str, server: str) -> None:
    """A restart has made the server forget what to convert while a schema change is half done."""
    change = await store.open_change(await world.session(active))
    if change is not None and change.apart and server in change.conversions:
        await convert(await world.session(server), change.modes(server))


async def _afterwards(world: PairWorld, change: Change, server: str) -> None:
    """However it ended, as far as the server can be reached."""
    try:
        await make_whole(world, change, server)
    except OutsideError:
        await world.connect()  # it may have restarted: then its option file has read_only
        await make_whole(world, change, server)


async def _definitions(world: PairWorld, server: str, change: Change) -> dict[str, str]:
    return await mysql_alter.definitions(
        await world.session(server), change.database, change.tables
    )


async def _must_be_passive(world: PairWorld, server: str) -> None:
    if await world.writable(server) is not False:
        raise StepFailed(f"{server} is not surely read-only: it is not altered")


async def _lift(world: PairWorld, active: str, server: str, change: Change) -> Change:
    """Written down before, on the servers: another host may be the one that puts it back."""
    session = await world.session(server)
    if await mysql_alter.super_read_only(session):
        if server not in change.lifted:
            change = await store.update(
                world, active, change.id, lifted=(*change.lifted, server))
        await mysql_alter.lift_super_read_only(session)
    return change


async def _wait_quiet(world: PairWorld, session: Session, server: str) -> None:
    """A moment without old statements: what holds a table there would keep the ALTER waiting."""
    async with asyncio.timeout(QUIET_LIMIT_S + 10):
        quiet = await wait_for_quiet(
            session, older_than_s=OLD_STATEMENT_S, limit_s=QUIET_LIMIT_S, clients_gone=False,
            exclude_ids=world.own_ids(server), exclude_user=world.servers[server].at.user,
        )
    if not quiet.reached:
        world.tell({"at": clock.unix(), "event": "told",
                    "text": f"{server}: not quiet, trying all the same: {quiet.who()}"})
