"""The gate on real kernels: nobody is refused, and nobody else notices."""

import asyncio
from pathlib import Path

import pytest
from bench.hold.namespace import HERE, HERE6
from bench.hold.people import Server
from tests.outside.gate.room import (
    DROP,
    LIMIT_S,
    OTHER,
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


@pytest.mark.parametrize("where", ["loopback", "peer"])
def test_nobody_is_refused_while_the_server_is_down(where, space, able, server):
    async def scene():
        held = gate.Gate([PORT], ability=able)
        await held.close()
        assert await held.verify() and held.left_s() > 0
        server.stop()
        if where == "peer":
            clients = requests(hosts=(HERE, HERE6), inside=space.peer)
        else:
            clients = requests()
        await all_wait(30, held)
        server.start()
        report = await held.open()
        await served(clients)
        assert (report.held, report.ended_by, report.restarts) == (30, "asked", 0)
        assert report.packets >= 30 and report.longest_ms <= report.shut_ms + report.lag_ms
        assert not await held.verify()
        assert await held.open() == report

    asyncio.run(scene())


@pytest.mark.parametrize("told", ["before", "while it is shut"])
def test_a_crowd_goes_in_as_others_leave(told, able, server):
    """More wait, by IPv4 and IPv6, than the server takes at once."""
    async def scene():
        held = gate.Gate([PORT], ability=able, cap_s=60)
        held.fits(PORT, 3 if told == "before" else 1000)
        await held.close()
        clients = requests()
        await all_wait(30, held)
        held.fits(PORT, 3)
        report = await held.open()
        await served(clients)
        assert report.held == 30 and 27 <= report.in_turn <= 30

    asyncio.run(scene())


def test_a_crowd_does_not_wait_for_who_stays_for_ever(able):
    """A server whose clients never leave: after some seconds all go on, as without a limit."""
    async def scene():
        stay = asyncio.Event()

        async def keep(_, writer):
            writer.write(b"hello\n")
            await stay.wait()
            writer.close()

        with Netfilter() as net:
            slow = await asyncio.start_server(keep, ["127.0.0.1", "::1"], PORT)
            held = gate.Gate([PORT], ability=able, cap_s=2.0)
            held.fits(PORT, 2)
            await held.close()
            clients = requests(10)
            await all_wait(10, held)
            report = await held.open()
            await served(clients, 10)
            stay.set()
            assert report.held == 10 and report.in_turn == 2
            assert gate_rules.tables(net) == []
            slow.close()
            await slow.wait_closed()

    asyncio.run(scene())


def test_other_ports_and_open_connections_are_left_alone(able, server):
    async def scene():
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        other = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", OTHER)
        held = gate.Gate([PORT], ability=able)
        await held.close()
        assert await reader.read() == b"hello\n"
        writer.close()
        async with asyncio.timeout(LIMIT_S):
            (await asyncio.open_connection("127.0.0.1", OTHER))[1].close()
        await held.open()
        other.close()
        await other.wait_closed()

    asyncio.run(scene())


def test_a_full_queue_refuses_nobody(able, server):
    async def scene():
        held = gate.Gate([PORT], ability=able, queue_length=5, cap_s=60)
        await held.close()
        server.stop()
        clients = requests(40)
        await all_wait(5, held)
        server.start()
        assert (await held.open()).held < 40
        await served(clients, 40)

    asyncio.run(scene())


@pytest.mark.parametrize("port", [PORT, OTHER])
def test_two_holds_at_once(port, able, server):
    """On the same port it is open when both are; nobody is refused, nothing is left."""
    async def scene():
        second = Server(port)
        if port != PORT:
            second.start()
        one = gate.Gate([PORT], ability=able, cap_s=60)
        two = gate.Gate([port], ability=able, cap_s=60)
        await one.close()
        await two.close()
        server.stop()
        second.stop()
        clients, others = requests(20), requests(20, port=port)
        await all_wait(40, one, two)
        if port != PORT:
            server.start()
        await one.open()
        assert await two.verify() and not await one.verify()
        if port != PORT:
            await served(clients, 20)
            second.start()
        else:
            server.start()
        await two.open()
        if port == PORT:
            await served(clients, 20)
        await served(others, 20)
        second.stop()

    asyncio.run(scene())


def test_two_processes_hold_the_same_port(able, server):
    process, holder = start_slackwater(60)

    async def scene():
        held = gate.Gate([PORT], ability=able, cap_s=60)
        await held.close()
        server.stop()
        clients = requests()
        await asyncio.to_thread(process.kill)
        server.start()
        await held.open()
        await served(clients)

    asyncio.run(scene())
    process.communicate()
    eventually(lambda: not gate_holder.started(holder), "it ends", limit_s=LIMIT_S)


def test_dropping_serves_everybody_too(able, server):
    async def scene():
        held = gate.Gate([PORT], ability=DROP, cap_s=60)
        await held.close()
        server.stop()
        clients = requests()
        server.start()
        report = await held.open()
        await served(clients)
        assert (report.way, report.held) == ("drop", 0)

    asyncio.run(scene())


def test_more_clients_than_the_backlog_holds(able):
    """The release is paced: an overrun backlog would make the kernel drop handshakes."""
    small = Server(PORT, backlog=8)
    small.start()

    async def scene():
        held = gate.Gate([PORT], ability=able, cap_s=60)
        await held.close()
        clients = requests(100)
        await all_wait(100, held)
        before = overflows()
        await held.open()
        await served(clients, 100)
        assert overflows() == before

    try:
        asyncio.run(scene())
    finally:
        small.stop()


def overflows():
    names, values = [line.split() for line in Path("/proc/net/netstat").read_text().splitlines()
                     if line.startswith("TcpExt")]  # fmt: skip
    return int(values[names.index("ListenOverflows")])


def test_opening_what_was_never_shut(able):
    async def scene():
        report = await gate.Gate([PORT], ability=able).open()
        assert report.held == 0
        prepared = gate.Gate([PORT], ability=able)
        await prepared.prepare()
        assert (await prepared.open()).held == 0 and not await prepared.verify()

    asyncio.run(scene())
