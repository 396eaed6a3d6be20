"""capable() names each lack of a real HAProxy; the runtime client says what was sent."""

import asyncio
import dataclasses
import re
from pathlib import Path

import pytest
from real_haproxy import free_port, lab

from slackwater.errors import OutsideError
from slackwater.outside.haproxy import config
from slackwater.outside.haproxy.capable import reasons_in_file
from slackwater.outside.haproxy.haproxy import HAProxy
from slackwater.outside.haproxy.runtime import Runtime

pytestmark = pytest.mark.servers


def edit(path, old, new):
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


def without_lua(it, at):
    edit(it.main, f"    lua-load {config.lua_path(at)}\n", "")


def stopped_task(it, at):
    edit(config.lua_path(at), "while true do", "while false do")


def erring_task(it, at):
    edit(config.lua_path(at), "local value, file = lookup(backend)", "error('broken')")


def without_hold(it, at):
    path = Path(at.config_file)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(x for x in lines if "hold" not in x or x.startswith("#")))


def without_pin_frontend(it, at):
    edit(at.config_file, f"frontend {at.pin_frontend}", "frontend other")


def as_operator(it, at):
    edit(it.main, "level admin", "level operator")


def other_map(it, at):
    other = f"{at.holds_map}.other"
    Path(other).write_text("")
    edit(config.lua_path(at), f'MAP = "{at.holds_map}"', f'MAP = "{other}"')


def short_queue(it, at):
    edit(at.config_file, "timeout queue 60s", "timeout queue 4s")


def short_client(it, at):
    edit(at.config_file, "timeout client 9h", "timeout client 3000ms")


def cutting(it, at):
    edit(at.config_file, "    balance leastconn",
         "    default-server on-marked-down shutdown-sessions")


def small(it, at):
    edit(it.main, "maxconn 8000", "maxconn 300")


def both_active(it, at):
    edit(at.config_file, " disabled\n    server hold", "\n    server hold")


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (without_lua, "holds would not end by themselves"),
        (stopped_task, "the Lua task that ends holds last ran"),
        (erring_task, "the Lua task that ends holds has errors: .*broken"),
        (without_hold, "has no server hold"),
        (without_pin_frontend, "there is no frontend pair-pin"),
        (as_operator, "has level operator, needs `level admin`"),
        (other_map, "the map .* is not loaded"),
        (short_queue, "`timeout queue` is 4 s"),
        (short_client, "`timeout client` is 3 s"),
        (cutting, "`on-marked-down shutdown-sessions`"),
        (small, "no room for 500 waiting clients .global maxconn."),
        (both_active, "has not exactly one usable server"),
    ],
)
def test_each_lack_is_told(break_it, reason):
    async def test():
        async with lab(start=False) as it:
            at = it.pairs["pair"]
            break_it(it, at)
            await it.start(alive=break_it is not stopped_task)
            balancer = HAProxy(at)
            state, text = await balancer.look(), Path(at.config_file).read_text()
            found = await balancer.capable()
            found += reasons_in_file(at.config_file, text, state, hold_s=5)
            assert any(re.search(reason, x) for x in found), found
            wrong = dataclasses.replace(at, backend="nope")
            assert "there is no backend nope" in await HAProxy(wrong).capable()

    asyncio.run(test())


def test_a_pin_address_that_leads_elsewhere_is_found_before_anyone_waits():
    async def test():
        async with lab() as it:
            at = it.pairs["pair"]
            wrong = HAProxy(dataclasses.replace(at, pin=f"tcp:{at.frontend}"))
            with pytest.raises(OutsideError, match="not at the hold server"):
                await wrong.prepare_hold(active="a")
            closed = dataclasses.replace(at, pin=f"tcp:127.0.0.1:{free_port()}")
            with pytest.raises(OutsideError, match="no greeting through the pin"):
                await HAProxy(closed).prepare_hold(active="a")
            right = HAProxy(at)
            await right.release(to="a")
            assert await right.capable() == []

    asyncio.run(test())


def test_the_runtime_client_tells_what_may_have_been_sent(tmp_path):
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    async def deaf(reader, writer):
        writer.close()

    async def test():
        nobody = Runtime(f"unix:{tmp_path}/none.sock", name="lb1")
        with pytest.raises(OutsideError, match="No such file") as caught:
            await nobody.send("show info")
        assert caught.value.sent is False
        for handler, words in ((silent, "no reply within"), (deaf, "lb1")):
            server = await asyncio.start_unix_server(handler, f"{tmp_path}/s")
            async with server:
                with pytest.raises(OutsideError, match=words) as caught:
                    await Runtime(f"unix:{tmp_path}/s", name="lb1", limit_s=0.1).send("x")
                assert caught.value.sent is True
        for command in ("a;b", "a\nb"):
            with pytest.raises(OutsideError, match="not one command"):
                await nobody.send(command)
        with pytest.raises(OutsideError, match="neither unix"):
            await Runtime("/run/x.sock", name="lb1").send("show info")

    asyncio.run(test())


def test_the_runtime_socket_may_be_tcp():
    async def test():
        async with lab(start=False) as it:
            at = it.pairs["pair"]
            port = free_port()
            more = f"    stats socket ipv4@127.0.0.1:{port} level admin\n"
            edit(it.main, "level admin\n", "level admin\n" + more)
            await it.start()
            balancer = HAProxy(dataclasses.replace(at, runtime=f"tcp:127.0.0.1:{port}"))
            assert await balancer.capable() == []

    asyncio.run(test())
