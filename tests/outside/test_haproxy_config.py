"""The owned file: what it holds, how it is checked and installed, what a reload makes of it."""

import asyncio
import stat
from pathlib import Path

import pytest
from real_haproxy import clients, in_seconds, lab

from slackwater.errors import ConfigError, OutsideError
from slackwater.facts.balancer import BalancerAddress
from slackwater.outside.haproxy import config
from slackwater.outside.haproxy.capable import reasons_in_file
from slackwater.outside.haproxy.file import install
from slackwater.outside.haproxy.haproxy import HAProxy
from slackwater.outside.host import Host

HERE = Host()

AT = BalancerAddress(
    name="lb1",
    runtime="tcp:10.0.0.5:9999",
    backend="shop",
    frontend="10.0.0.9:3306",
    pin="unix:/run/haproxy/shop.pin",
    holds_map="/etc/haproxy/slackwater-holds.map",
    config_file="/etc/haproxy/slackwater-shop.cfg",
)
SERVERS = {"a": "10.0.0.1:3306", "b": "10.0.0.2:3306"}


def test_render_tells_the_operator_what_to_add_and_leaves_global_alone():
    text = config.render("shop", AT, SERVERS, "a", maxconn=100)
    assert text.startswith(config.MARK)
    assert "lua-load /etc/haproxy/slackwater-holds.lua" in text
    assert "-f /etc/haproxy/slackwater-shop.cfg" in text
    assert "\nglobal" not in text
    assert "server a 10.0.0.1:3306 maxconn 100\n" in text
    assert "server b 10.0.0.2:3306 maxconn 100 disabled\n" in text
    assert "server hold 10.0.0.1:3306 maxconn 1 weight 0 disabled\n" in text


def test_active_can_be_read_and_changed_and_nothing_else_changes():
    text = config.render("shop", AT, SERVERS, "a", maxconn=100)
    assert config.read_active(text) == "a"
    flipped = config.with_active(text, "b")
    assert config.read_active(flipped) == "b"
    assert flipped == config.render("shop", AT, SERVERS, "b", maxconn=100)
    assert config.with_active(flipped, "b") == flipped
    assert config.with_active(flipped, "a") == text
    assert config.read_active(text.replace(" disabled", "")) is None
    assert config.read_active("") is None
    with pytest.raises(ConfigError, match="no server 'c'"):
        config.with_active(text, "c")


@pytest.mark.parametrize(
    ("servers", "active"),
    [
        ({"hold": "h:1", "a": "h:2"}, "a"),
        ({"a b": "h:1"}, "a b"),
        ({"a": "h"}, "a"),
        ({"a": "h:1"}, "b"),
        ({"a": "h:1 backup x:1"}, "a"),
    ],
)
def test_render_refuses_what_haproxy_would_misread(servers, active):
    with pytest.raises(ConfigError):
        config.render("shop", AT, servers, active, maxconn=100)


def test_timeouts_in_seconds():
    text = config.render("shop", AT, SERVERS, "a", maxconn=100)
    assert config.read_timeouts(text)["client"] == 9 * 3600
    assert config.read_timeouts("timeout queue 1500\n  timeout queue 2m\n") == {"queue": 1.5}


@pytest.mark.servers
def test_install_checks_with_the_main_file_and_keeps_mode_and_old_text():
    async def test():
        async with lab(start=False) as it:
            path = Path(it.pairs["pair"].config_file)
            path.chmod(0o640)
            before = path.read_text()
            with pytest.raises(OutsideError, match="no-such-word") as caught:
                await install(HERE, before + "    no-such-word\n", path, main=[it.main])
            assert caught.value.sent is False and path.read_text() == before
            await install(HERE, config.with_active(before, "b"), path, main=[it.main])
            assert config.read_active(path.read_text()) == "b"
            assert stat.S_IMODE(path.stat().st_mode) == 0o640
            assert not [p for p in path.parent.iterdir() if p.name.startswith(".")]
            with pytest.raises(OutsideError):
                await install(HERE, "x", path.parent / "none" / "x.cfg", main=[it.main])

    asyncio.run(test())


@pytest.mark.servers
def test_a_restart_after_the_flip_finds_the_new_active():
    async def test():
        async with lab() as it:
            at = it.pairs["pair"]
            path = Path(at.config_file)
            balancer = HAProxy(at)
            await balancer.hold(active="a", back="a", deadline=in_seconds(10))
            await balancer.release(to="b")
            state = await balancer.look()
            found = reasons_in_file(str(path), path.read_text(), state, hold_s=5)
            assert any("a reload would move" in reason for reason in found)
            await install(HERE, config.with_active(path.read_text(), "b"), path, main=[it.main])
            assert reasons_in_file(str(path), path.read_text(), state, hold_s=5) == []
            it.stop()
            await it.start()
            state = await balancer.look()
            assert state.active == config.read_active(path.read_text()) == "b"
            async with clients(at, 1) as (client,):
                assert await client.greeted() == "b"
            await balancer.hold(active="b", back="b", deadline=in_seconds(10))
            await balancer.release(to="a")

    asyncio.run(test())
