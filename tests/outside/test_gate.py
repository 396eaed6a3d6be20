"""The gate on real kernels: real listeners that are really stopped, in namespaces of its own."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench.hold.namespace import HERE, HERE6, own_namespace, reason_against
from bench.hold.people import Clients, Server
from tests.servers.patience import PATIENCE, eventually

from slackwater.errors import OutsideError, Refused, UsageError
from slackwater.facts.gate import COSTS, GateAbility
from slackwater.outside.gate import gate
from slackwater.outside.gate import holder as gate_holder
from slackwater.outside.gate import rules as gate_rules
from slackwater.outside.gate.netlink import Netfilter

PORT, OTHER = 3306, 8080
LIMIT_S = 20 * PATIENCE
DROP = GateAbility("drop", COSTS["drop"])

FOREIGN = """
table inet others {
  set banned { type ipv4_addr; flags timeout; timeout 1d; }
  chain in { type filter hook input priority 0; policy accept; ip saddr @banned drop; }
  chain early { type filter hook input priority -10; policy accept; tcp dport 9 drop; }
}
table ip6 more {
  chain in { type filter hook input priority 10; udp dport 9 drop; }
}
"""


@pytest.fixture(scope="module")
def space():
    if against := reason_against():
        pytest.skip(against)
    with own_namespace() as made:
        yield made


@pytest.fixture(scope="module")
def able(space):
    found = asyncio.run(gate.ability())
    if found.way in ("", "drop"):
        pytest.skip(f"no NFQUEUE: {'; '.join(found.missing)}")
    return found


@pytest.fixture
def server(space):
    made = Server(PORT)
    made.start()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def nothing_stays(space):
    yield
    with Netfilter() as net:
        left = gate_rules.tables(net)
        for table in left:
            gate_rules.remove(net, table)
    assert left == []


async def all_wait(count, *gates):
    """Until so many clients wait (as the holders' beats tell)."""
    end = asyncio.get_running_loop().time() + LIMIT_S
    while (seen := sum(held.held for held in gates)) < count:
        assert asyncio.get_running_loop().time() < end, f"only {seen} of {count} wait"
        await asyncio.sleep(0.01)


def requests(count=30, hosts=("127.0.0.1", "::1"), port=PORT, **more):
    return Clients(hosts, port, count, 0.3, **more)


async def served(clients, count=30):
    at, errors = await asyncio.to_thread(clients.result)
    assert (len(at), errors) == (count, [])
    return at


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


def rule_sets():
    said = subprocess.run(["nft", "-s", "list", "ruleset"], capture_output=True, check=True)
    saved = [subprocess.run([f"{p}-save"], capture_output=True, check=True).stdout
             for p in ("iptables", "ip6tables") if shutil.which(p)]  # fmt: skip
    lines = [line for s in saved for line in s.splitlines() if not line.startswith(b"#")]
    return said.stdout, lines


@pytest.mark.parametrize("how", ["opened", "killed"])
def test_other_rules_are_untouched(how, able, server):
    if not shutil.which("nft"):
        pytest.skip("nft is not installed")
    subprocess.run(["nft", "-f", "-"], input=FOREIGN.encode(), check=True)
    if shutil.which("iptables"):
        rule = ["-A", "INPUT", "-p", "udp", "--dport", "9", "-j", "DROP"]
        subprocess.run(["iptables", *rule], check=True)
        subprocess.run(["ip6tables", *rule], check=True)
    before = rule_sets()
    assert before[0].count(b"chain") >= 3

    async def scene():
        held = gate.Gate([PORT, OTHER], ability=able)
        await held.close()
        during = rule_sets()
        assert before[1] == during[1] and before[0] != during[0]
        if how == "killed":
            os.kill(held.holder_pid, signal.SIGKILL)
        await held.open()

    try:
        asyncio.run(scene())
        assert rule_sets() == before
    finally:
        subprocess.run(["nft", "flush", "ruleset"], check=True)


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


SLACKWATER = f"""
import asyncio, os, signal, sys
from slackwater.outside.gate import gate
async def main():
    held = gate.Gate([{PORT}], ability=await gate.ability(), cap_s=float(sys.argv[1]))
    await held.close()
    if sys.argv[2:]:
        held.hold_for_command()
    print(held.holder_pid, flush=True)
    await asyncio.sleep(3600)
asyncio.run(main())
"""


def start_slackwater(cap_s, *more):
    process = subprocess.Popen(
        [sys.executable, "-c", SLACKWATER, str(cap_s), *more], stdout=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline())


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


def test_a_flushed_rule_set_is_put_back(able, server):
    if not shutil.which("nft"):
        pytest.skip("nft is not installed")

    async def scene():
        held = gate.Gate([PORT], ability=able, cap_s=60)
        await held.close()
        await asyncio.to_thread(subprocess.run, ["nft", "flush", "ruleset"], check=True)
        end = asyncio.get_running_loop().time() + LIMIT_S
        while not await held.verify():
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.01)
        clients = requests(6)
        await all_wait(6, held)
        assert (await held.open()).restarts == 0
        await served(clients, 6)

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


def test_a_kernel_that_refuses_is_told_and_nothing_stays(space):
    """This way does not exist: the holder says so, `close` raises, the port is open."""
    unable = GateAbility("nfqueue", "")
    if asyncio.run(gate.ability()).way == "nfqueue":
        pytest.skip("this kernel has nft's queue statement")
    with pytest.raises(OutsideError, match="holder of port 3306"):
        asyncio.run(gate.Gate([PORT], ability=unable).close())


@pytest.mark.parametrize("ports", [[], [0], [70000], [3306, -1]])
def test_ports_that_are_none(ports):
    with pytest.raises(UsageError):
        gate.Gate(ports, ability=DROP)


ASK = """
import asyncio, os, sys
from slackwater.outside.gate import gate
if sys.argv[1] == "nobody":  # after the imports: Python may be where only root looks
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
found = asyncio.run(gate.ability())
print(repr(found.way)); print(*found.missing, sep="\\n")
"""
REDUCED = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-all"]


@pytest.mark.parametrize(("before", "who", "says"), [
    ([], "nobody", "not root"), (REDUCED, "root", "root, but without CAP_NET_ADMIN"),
])  # fmt: skip
def test_without_the_right_to_it_a_refusal_says_what_to_do(before, who, says, space):
    if before and not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    command = [*before, sys.executable, "-c", ASK, who]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    way, *missing = said.stdout.splitlines()
    assert way == "''" and len(missing) == 1
    assert missing[0].startswith(says)
    assert "sudo" in missing[0] and "--cap-add NET_ADMIN" in missing[0]
    with pytest.raises(Refused, match="NET_ADMIN"):
        gate.Gate([PORT], ability=GateAbility("", "", tuple(missing)))
