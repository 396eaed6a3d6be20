"""Whoever dies or hangs: what is held ends by itself."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from tests.outside.gate.room import (
    LIMIT_S,
    PORT,
    all_wait,
    requests,
    served,
    start_slackwater,
)
from tests.servers.patience import eventually

from slackwater.outside.gate import gate
from slackwater.outside.gate import holder as gate_holder
from slackwater.outside.gate import rules as gate_rules
from slackwater.outside.gate.netlink import Netfilter


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGSTOP])
def test_a_holder_that_dies_or_hangs_is_replaced(signal_, able, server):
    """With the server down: those who come meanwhile try again, and none is refused."""
    async def scene():
        held = gate.Gate([PORT], ability=able, cap_s=60)
        await held.close()
        server.stop()
        clients = requests()
        await all_wait(10, held)
        first = held.holder_pid
        os.kill(first, signal_)
        later = requests(10)
        end = asyncio.get_running_loop().time() + LIMIT_S
        while held.restarts == 0 or not await held.verify():
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.01)
        assert held.holder_pid != first and not Path(f"/proc/{first}").exists()
        server.start()
        report = await held.open()
        await served(clients)
        await served(later, 10)
        assert (report.restarts, report.ended_by) == (1, "asked")

    asyncio.run(scene())


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGSTOP])
def test_without_anybody_the_kernel_lets_go(signal_, able, server):
    """The holder and what watches it are gone, the server is up: clients wait for the kernel's
    clock at most. Then `clean` removes what is left."""
    async def scene():
        held = gate.Gate([PORT], ability=able, ttl_s=1.0)
        await held.close()
        await held._end_watching()
        os.kill(held.holder_pid, signal_)
        await served(requests(10), 10)
        assert not await held.verify()
        if signal_ == signal.SIGSTOP:
            assert await gate.leftovers() == []  # it is alive
            os.kill(held.holder_pid, signal.SIGKILL)
        await held._holder.end()
        assert len(await gate.leftovers()) == 1
        await gate.clean()
        assert await gate.leftovers() == []

    asyncio.run(scene())


def test_clean_waits_until_the_kernel_has_let_go(able, server):
    async def scene():
        held = gate.Gate([PORT], ability=able, ttl_s=3.0)
        await held.close()
        server.stop()
        await held._end_watching()
        os.kill(held.holder_pid, signal.SIGKILL)
        await held._holder.end()
        cleaning = asyncio.create_task(gate.clean())
        await asyncio.sleep(0)
        assert await held.verify()
        server.start()
        await cleaning
        await served(requests(4), 4)

    asyncio.run(scene())


def test_when_slackwater_is_killed_the_holder_waits_for_the_server(able, server):
    process, holder = start_slackwater(60)
    server.stop()
    clients = requests()
    process.kill()
    process.communicate()
    later = requests(10)  # nobody is left to be asked; the server is still down
    with Netfilter() as net:
        (table,) = gate_rules.tables(net)
        left = gate_rules.held_ports(net, table)[PORT]
        for _ in range(2):  # it goes on renewing: its elements' time goes up again

            def renewed():
                nonlocal left
                before, left = left, gate_rules.held_ports(net, table)[PORT]
                return left > before

            eventually(renewed, "the holder holds on", limit_s=LIMIT_S)
        server.start()
        asyncio.run(served(clients))
        asyncio.run(served(later, 10))
        eventually(lambda: not gate_rules.tables(net), "the holder leaves", limit_s=LIMIT_S)
    eventually(lambda: not gate_holder.started(holder), "it ends", limit_s=LIMIT_S)


def test_killed_just_as_the_command_begins(able, server):
    """It may stop the server any moment, and nobody can say: only the cap ends the hold."""
    process, holder = start_slackwater(2.0, "begins")
    begun = time.monotonic()
    process.kill()
    process.communicate()
    asyncio.run(served(requests(4), 4))
    assert time.monotonic() - begun > 1.0  # the server listens all the time
    eventually(lambda: not gate_holder.started(holder), "it ends", limit_s=LIMIT_S)


def test_the_hard_cap_holds_without_slackwater(able, server):
    process, holder = start_slackwater(1.0)
    server.stop()
    process.kill()
    process.communicate()
    at, errors = requests(4).result()
    assert at == [] and errors == ["ECONNREFUSED"] * 4  # the truth, in time
    eventually(lambda: not gate_holder.started(holder), "it ends", limit_s=LIMIT_S)


def test_the_hard_cap_holds_and_is_told(able, server):
    async def scene():
        held = gate.Gate([PORT], ability=able, cap_s=2.0)
        await held.close()
        await served(requests(4), 4)
        report = await held.open()
        assert (report.held, report.ended_by) == (4, "cap")
        assert held.left_s() < 0 and report.shut_ms >= 2000

    asyncio.run(scene())
