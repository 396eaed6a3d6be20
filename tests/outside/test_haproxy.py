"""Holding, aiming and releasing on a real HAProxy."""

import asyncio
import contextlib
import functools
import os
import signal
import subprocess
import sys
import time

import pytest
from real_haproxy import Client, clients, in_seconds, lab, until

from slackwater.errors import OutsideError
from slackwater.facts.balancer import HOLD
from slackwater.outside.haproxy.haproxy import HAProxy

pytestmark = pytest.mark.servers


def async_test(test):
    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 60))

    return run


async def queued(balancer, count):
    async def so():
        return (await balancer.look()).queued == count

    await until(so)


@async_test
async def test_new_clients_wait_old_ones_go_on_and_release_serves_all():
    async with lab() as it:
        at = it.pairs["pair"]
        balancer = HAProxy(at)
        assert await balancer.capable() == []
        async with clients(at, 1) as (old,):
            assert await old.greeted() == "a"
            await balancer.prepare_hold(active="a")
            deadline = in_seconds(10)
            await balancer.hold(active="a", back="a", deadline=deadline)
            async with clients(at, 20) as waiting:
                await queued(balancer, 20)
                state = await balancer.look()
                assert state.holding and state.active is None and balancer.holds(state)
                assert state.hold is not None and state.hold.back == "a"
                assert abs(state.hold.deadline - deadline) < 0.1
                assert await old.echo("still here") == "still here"
                await balancer.release(to="a")
                assert {await c.greeted() for c in waiting} == {"a"}
        state = await balancer.look()
        assert state.active == "a" and state.hold is None and state.queued == 0
        assert not balancer.pinned and state.servers[HOLD].weight == 0
        assert await balancer.capable() == []


@async_test
async def test_flip_sends_waiting_and_new_clients_to_the_other_and_moves_the_alias():
    async with lab() as it:
        at = it.pairs["pair"]
        balancer = HAProxy(at)
        await balancer.prepare_hold(active="a")
        await balancer.hold(active="a", back="a", deadline=in_seconds(10))
        async with clients(at, 10) as waiting:
            await queued(balancer, 10)
            await balancer.release(to="b")
            assert {await c.greeted() for c in waiting} == {"b"}
        await balancer.tidy(active="b")
        async with clients(at, 1) as (new,):
            assert await new.greeted() == "b"
        state = await balancer.look()
        assert state.active == "b" and state.servers["a"].admin_state == "maint"
        assert state.servers[HOLD].address == state.servers["b"].address
        assert state.servers[HOLD].admin_state == "maint"
        # And back again: the second switchover starts from b.
        await balancer.hold(active="b", back="b", deadline=in_seconds(10))
        async with clients(at, 1) as (waiter,):
            await queued(balancer, 1)
            await balancer.release(to="a")
            assert await waiter.greeted() == "a"


@async_test
async def test_hold_and_release_twice_are_once():
    async with lab() as it:
        at = it.pairs["pair"]
        balancer = HAProxy(at)
        await balancer.release(to="a")
        for _ in range(2):
            await balancer.prepare_hold(active="a")
            await balancer.hold(active="a", back="a", deadline=in_seconds(10))
        async with clients(at, 1) as (waiter,):
            await queued(balancer, 1)
            for _ in range(2):
                await balancer.release(to="a")
            assert await waiter.greeted() == "a"
        assert it.servers["pair"]["b"].served == 0


@async_test
async def test_a_half_made_hold_is_undone_by_looking_from_a_new_process():
    async with lab() as it:
        at = it.pairs["pair"]
        dead = HAProxy(at)
        await dead.prepare_hold(active="a")
        recovering = HAProxy(at)
        await recovering.release(to="a")
        assert (await recovering.look()).active == "a"
        await dead.close()

        async def no_pin():
            return (await recovering.look()).servers[HOLD].sessions == 0

        await until(no_pin)
        assert await recovering.capable() == []


@async_test
async def test_the_balancer_ends_the_hold_at_its_deadline_by_itself():
    async with lab() as it:
        at = it.pairs["pair"]
        balancer = HAProxy(at)
        await balancer.prepare_hold(active="a")
        began = time.monotonic()
        await balancer.hold(active="a", back="a", deadline=in_seconds(0.4))
        async with clients(at, 5) as waiting:
            await queued(balancer, 5)
            assert {await c.greeted() for c in waiting} == {"a"}
            assert 0.38 <= time.monotonic() - began < 2
        state = await balancer.look()
        assert state.active == "a" and state.hold is None
        assert state.expired and not balancer.holds(state)
        with pytest.raises(OutsideError, match="no longer in force"):
            await balancer.aim("b")
        # Woken up, it may hold again with the pin that it still has, or release for nothing.
        await balancer.hold(active="a", back="a", deadline=in_seconds(10))
        assert balancer.holds(await balancer.look())
        await balancer.release(to="a")
        await balancer.release(to="a")
        assert (await balancer.look()).active == "a"


@async_test
async def test_refreshing_moves_the_deadline_and_aim_does_not():
    async with lab() as it:
        at = it.pairs["pair"]
        balancer = HAProxy(at)
        await balancer.prepare_hold(active="a")
        await balancer.hold(active="a", back="a", deadline=in_seconds(0.5))
        began = time.monotonic()
        await balancer.hold(active="a", back="a", deadline=in_seconds(1.0))
        async with clients(at, 3) as waiting:
            await queued(balancer, 3)
            await balancer.aim("b")
            assert {await c.greeted() for c in waiting} == {"b"}
            assert 0.95 <= time.monotonic() - began < 2
        state = await balancer.look()
        assert state.active == "b" and state.servers["a"].admin_state == "maint"
        await balancer.release(to="b")


@async_test
async def test_a_hold_that_a_hung_balancer_finds_too_late_ends_at_once():
    async with lab() as it:
        at = it.pairs["pair"]
        balancer = HAProxy(at, limit_s=0.3)
        await balancer.prepare_hold(active="a")
        # The line itself waits on: HAProxy may drop one whose sender is gone, and may not.
        balancer._runtime.send = functools.partial(balancer._runtime.send, limit_s=60)
        it.process.send_signal(signal.SIGSTOP)
        try:
            late = asyncio.create_task(balancer.hold(active="a", back="a", deadline=in_seconds(60)))

            async def sent() -> bool:
                return balancer._hold_by != ""

            await until(sent)
            given_up = int(balancer._hold_by.removeprefix("/"))

            async def past() -> bool:
                return time.time() > given_up + 1.5  # time(2) may lag by some ms

            await until(past)
        finally:
            it.process.send_signal(signal.SIGCONT)
        await asyncio.gather(late, return_exceptions=True)  # executed; what it saw does not matter

        async def ended() -> bool:
            seen = await HAProxy(at).look()
            return seen.switch.expired.get("pair", ("", ""))[1] == "it came too late"

        await until(ended)
        state = await balancer.look()
        assert state.active == "a" and state.hold is None and not state.holding
        await balancer.close()


HOLDER = """
import asyncio, sys, time
from slackwater.facts.balancer import BalancerAddress
from slackwater.outside.haproxy.haproxy import HAProxy
async def main():
    lb = HAProxy(BalancerAddress(*sys.argv[1:8]))
    await lb.prepare_hold(active="a")
    await lb.hold(active="a", back="a", deadline=time.time() + float(sys.argv[8]))
    print("held", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.parametrize(("how", "ttl_s"), [(signal.SIGKILL, 3.0), (signal.SIGSTOP, 1.5)])
@async_test
async def test_killed_or_stopped_while_holding_loses_no_client(how, ttl_s):
    async with lab() as it:
        at = it.pairs["pair"]
        child = subprocess.Popen(  # noqa: ASYNC220 - starting it blocks for a moment only
            [sys.executable, "-c", HOLDER, *vars(at).values(), str(ttl_s)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        try:
            await asyncio.to_thread(child.stdout.readline)
            held = time.monotonic()
            balancer = HAProxy(at)
            async with clients(at, 10) as waiting:
                await queued(balancer, 10)
                os.kill(child.pid, how)
                # Killed: its pin is gone, so one client at a time passes through the alias.
                # Which one is first is HAProxy's choice: its threads share the queue.
                greeted = [asyncio.create_task(c.greeted()) for c in waiting]
                await asyncio.wait(greeted, return_when=asyncio.FIRST_COMPLETED)
                assert (time.monotonic() - held < ttl_s - 0.2) == (how == signal.SIGKILL)
                assert set(await asyncio.gather(*greeted)) == {"a"}
                assert time.monotonic() - held < ttl_s + 1
            assert (await balancer.look()).active == "a"
        finally:
            child.kill()
            child.wait()
            child.stdout.close()


@async_test
async def test_lost_pin_serves_clients_one_by_one_through_the_alias():
    async with lab() as it:
        at = it.pairs["pair"]
        balancer = HAProxy(at)
        await balancer.hold(active="a", back="a", deadline=in_seconds(10))
        async with clients(at, 3) as waiting:
            await queued(balancer, 3)
            await balancer.close()
            for client in waiting:
                assert await client.greeted() == "a"
                client.close()
            assert (await balancer.look()).holding
        with pytest.raises(OutsideError, match="held here already"):
            await balancer.hold(active="a", back="a", deadline=in_seconds(1))
        await balancer.release(to="a")


@async_test
async def test_an_aimed_hold_keeps_its_pin_and_without_it_lets_clients_in_where_it_is_aimed():
    async with lab() as it:
        at = it.pairs["pair"]
        balancer = HAProxy(at)
        await balancer.hold(active="a", back="a", deadline=in_seconds(10))
        async with clients(at, 20) as waiting:
            await queued(balancer, 20)
            for back in ("b", "a", "b"):
                await balancer.aim(back)
                state = await balancer.look()
                assert balancer.holds(state) and state.queued == 20
                assert state.servers[HOLD].sessions == 1, "the pin"
                assert state.servers[HOLD].address == state.servers[back].address
            assert it.servers["pair"]["b"].served == 0
            await balancer.close()

            async def in_turn(client):
                name = await client.greeted()
                client.close()
                return name

            assert set(await asyncio.gather(*map(in_turn, waiting))) == {"b"}
        assert it.servers["pair"]["a"].served == 1, "the pin"
        await balancer.release(to="b")


@async_test
async def test_a_client_left_on_the_alias_is_in_nobodys_way_and_ended_with_the_old_servers():
    async with lab() as it:
        at = it.pairs["pair"]
        balancer = HAProxy(at)
        async with clients(at, 1) as (old,):
            assert await old.greeted() == "a"
            await balancer.hold(active="a", back="a", deadline=in_seconds(10))
            await balancer.close()
            async with clients(at, 1) as (through,):
                assert await through.greeted() == "a"
                await balancer.release(to="b")
                assert not any("on pair/hold" in lack for lack in await balancer.capable())
                # Before the alias moves on with `tidy`, as the switchover does it.
                assert await balancer.close_sessions("a") == 2
                assert await through.greeted() == "" and await old.greeted() == ""
        assert await balancer.close_sessions("a") == 0
        with pytest.raises(OutsideError, match="no server nope"):
            await balancer.close_sessions("nope")


@pytest.mark.parametrize("way", ["close_sessions", "cut_off"])
@async_test
async def test_those_who_had_waited_are_ended_too(way):
    # HAProxy's own `shutdown sessions server` leaves them out, on 2.6.12.
    async with lab("pair", "blog") as it:
        at = it.pairs["pair"]
        balancer = HAProxy(at)
        await balancer.hold(active="a", back="a", deadline=in_seconds(10))
        async with clients(at, 250) as waited, clients(it.pairs["blog"], 1) as (stranger,):
            await queued(balancer, 250)
            await balancer.release(to="a")
            assert {await c.greeted() for c in waited} == {"a"}
            assert await stranger.greeted() == "a"
            async with clients(at, 1) as (direct,):
                assert await direct.greeted() == "a"
                await balancer.release(to="b")
                await getattr(balancer, way)("a")
                assert (await balancer.look()).servers["a"].sessions == 0
                assert {await c.greeted() for c in (*waited, direct)} == {""}
            assert await stranger.echo("another pair's") == "another pair's"


@async_test
async def test_a_session_that_ends_meanwhile_is_not_taken_for_the_next_in_its_place():
    async with lab() as it:
        at = it.pairs["pair"]
        balancer = HAProxy(at)
        await balancer.hold(active="a", back="a", deadline=in_seconds(10))
        async with clients(at, 400) as waited, contextlib.AsyncExitStack() as new:
            await queued(balancer, 400)
            await balancer.release(to="a")
            assert {await c.greeted() for c in waited} == {"a"}
            await balancer.release(to="b")
            closing = asyncio.create_task(balancer.close_sessions("a"))
            came = []
            for old in waited:
                old.close()
                (client,) = await new.enter_async_context(clients(at, 1))
                came.append(client)
                assert await client.greeted() == "b"
            await closing
            assert [await c.echo("here") for c in came] == ["here"] * len(came)


@async_test
async def test_a_session_is_ended_by_what_its_server_names_it():
    async with lab() as it:
        at = it.pairs["pair"]
        balancer, server = HAProxy(at), it.servers["pair"]["a"]
        async with clients(at, 3) as connected:
            assert [await c.greeted() for c in connected] == ["a"] * 3
            ways = await balancer.sessions.ways("a")
            assert set(ways) == server.peers() and await balancer.sessions.ways("b") == {}
            chosen = {own: ways[own] for own in list(ways)[:1]}
            pointers = list(chosen.values())
            assert await balancer.sessions.ways("a", [*pointers, "0x123"]) == chosen
            assert await balancer.sessions.end(pointers)
            assert sorted([await c.echo("here") for c in connected]) == ["", "here", "here"]
            assert server.peers() == set(ways) - set(chosen)
            assert not await balancer.sessions.end(["0x123"])


@pytest.mark.parametrize(
    "entry", ["garbage", "id/300/nobody", "id/300/", "id/300/hold", "//", "id/x/a", None]
)
@async_test
async def test_a_broken_entry_still_ends_in_a_release(entry):
    async with lab() as it:
        at = it.pairs["pair"]
        balancer = HAProxy(at)
        await balancer.hold(active="a", back="a", deadline=in_seconds(10))
        map_ = f"{at.holds_map} pair"
        change = f"set map {map_} {entry}" if entry else f"del map {map_}"
        async with clients(at, 2) as waiting:
            await queued(balancer, 2)
            await balancer._runtime.send(change)
            assert {await c.greeted(3) for c in waiting} == {"a"}
        state = await balancer.look()
        assert state.active == "a" and state.switch is not None and state.switch.errors == 0
        await balancer.release(to="a")


@async_test
async def test_two_pairs_share_one_balancer():
    async with lab("shop", "blog") as it:
        shop, blog = (HAProxy(at) for at in it.pairs.values())
        await asyncio.gather(*(pair.prepare_hold(active="a") for pair in (shop, blog)))
        await asyncio.gather(
            shop.hold(active="a", back="a", deadline=in_seconds(0.8)),
            blog.hold(active="a", back="b", deadline=in_seconds(2.0)),
        )
        async with clients(shop.at, 2) as at_shop, clients(blog.at, 2) as at_blog:
            await asyncio.gather(queued(shop, 2), queued(blog, 2))
            assert {await c.greeted() for c in at_shop} == {"a"}
            assert (await blog.look()).queued == 2 and not (await shop.look()).holding
            assert {await c.greeted() for c in at_blog} == {"b"}
        assert ((await shop.look()).active, (await blog.look()).active) == ("a", "b")
        await asyncio.gather(shop.release(to="a"), blog.release(to="b"))


@async_test
async def test_a_release_in_the_moment_of_the_deadline_leaves_one_active():
    async with lab() as it:
        balancer = HAProxy(it.pairs["pair"])
        for n in range(8):
            await balancer.prepare_hold(active="a")
            deadline = in_seconds(0.3)
            await balancer.hold(active="a", back="a", deadline=deadline)
            await asyncio.sleep(max(0.0, deadline - time.time() + 0.006 * (n - 1)))
            await balancer.release(to="b")
            state = await balancer.look()
            assert state.active == "b" and state.hold is None
            await balancer.release(to="a")


@async_test
async def test_stale_pin_of_another_host_is_ended():
    async with lab() as it:
        at = it.pairs["pair"]
        vanished, balancer = HAProxy(at), HAProxy(at)
        await vanished.prepare_hold(active="a")
        await balancer.release(to="a")
        await balancer.hold(active="a", back="a", deadline=in_seconds(10))
        state = await balancer.look()
        assert balancer.holds(state) and state.servers[HOLD].sessions == 1
        await balancer.release(to="a")
        await vanished.close()


@async_test
async def test_the_way_to_the_passive_is_tried_and_nothing_is_left_of_it():
    async with lab() as it:
        at = it.pairs["pair"]
        balancer, passive = HAProxy(at), it.servers["pair"]["b"]
        for _ in range(2):
            await balancer.reach("b")
        assert passive.served == 2 and not balancer.pinned
        assert await balancer.capable() == []
        await balancer.hold(active="a", back="a", deadline=in_seconds(10))
        assert balancer.holds(await balancer.look())
        await balancer.release(to="a")
        await passive.stop()
        with pytest.raises(OutsideError, match="cannot reach b"):
            await balancer.reach("b")
        await balancer.release(to="a")
        async with clients(at, 1) as (client,):
            assert await client.greeted() == "a"
        assert await balancer.capable() == []


@async_test
async def test_a_wrong_call_is_refused_before_anything_is_sent():
    async with lab() as it:
        at = it.pairs["pair"]
        balancer = HAProxy(at)
        wrong = [
            balancer.hold(active="nope", back="a", deadline=in_seconds(1)),
            balancer.hold(active="a", back="nope", deadline=in_seconds(1)),
            balancer.hold(active="a", back="a", deadline=in_seconds(-1)),
            balancer.hold(active="a", back="a", deadline=in_seconds(3600)),
            balancer.release(to="nope"),
        ]
        for call in wrong:
            with pytest.raises(OutsideError) as caught:
                await call
            assert caught.value.sent is False
        await balancer.release(to="a")
        client = await Client.connect(at.frontend)
        assert await client.greeted() == "a"
        client.close()
