"""Parsers of HAProxy's replies, on replies that HAProxy 2.6.12 gave during a hold."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.facts import balancer as facts

RECORDED = Path(__file__).parent / "haproxy"
HELD = (RECORDED / "held.txt").read_text()
NOW = 1_800_000_000.0


def state(text=HELD, backend="shop"):
    return facts.parse_state(text, backend, now=NOW)


def test_a_backend_during_a_hold():
    seen = state()
    assert seen.holding and seen.active is None and seen.queued == 3
    assert seen.hold is not None
    assert (seen.hold.id, seen.hold.back) == ("6ab14a3578ff", "a")
    assert seen.hold.deadline == NOW + 4.963
    assert seen.servers["a"].admin_state == seen.servers["b"].admin_state == "maint"
    assert seen.servers["a"].sessions == 2 and seen.servers["a"].total == 2
    hold = seen.servers["hold"]
    assert (hold.usable, hold.weight, hold.sessions) == (True, 1, 1)
    assert hold.address == seen.servers["a"].address == "127.0.0.1:37999"


def test_the_process_and_its_frontends():
    seen = state()
    assert seen.version == (2, 6, 12) and seen.version_text == "2.6.12-1+deb12u4"
    assert seen.maxconn == 8000 and seen.pid > 1 and not seen.stopping
    clients = seen.frontends["shop-clients"]
    assert (clients.status, clients.sessions, clients.limit) == ("OPEN", 5, 8000)
    assert set(seen.frontends) == {"shop-clients", "shop-pin", "blog-clients", "blog-pin"}


def test_the_other_backend_is_not_touched_by_the_hold():
    # Its servers were not asked for; its frontends are in `show stat`.
    seen = state(backend="blog")
    assert seen.hold is None and not seen.holding and seen.queued == 0
    assert seen.servers == {} and seen.active is None


def test_old_process_after_a_reload():
    assert state(HELD.replace("Stopping: 0", "Stopping: 1")).stopping


@pytest.mark.parametrize(
    ("bits", "expected"),
    [(0, "ready"), (4, "ready"), (1, "maint"), (5, "maint"), (0x20, "maint"), (8, "drain")],
)
def test_admin_state_bits(bits, expected):
    changed = HELD.replace("shop 1 a 127.0.0.1 0 1 ", f"shop 1 a 127.0.0.1 2 {bits} ")
    assert state(changed).servers["a"].admin_state == expected


def test_active_needs_to_be_the_only_one():
    one = HELD.replace("shop 1 a 127.0.0.1 0 1 ", "shop 1 a 127.0.0.1 2 0 ")
    assert state(one).active == "a" and not state(one).holding
    two = one.replace("shop 2 b 127.0.0.1 0 5 ", "shop 2 b 127.0.0.1 2 4 ")
    assert state(two).active is None


def test_ipv6_addresses_are_in_brackets():
    assert state(HELD.replace("a 127.0.0.1", "a ::1")).servers["a"].address == "[::1]:37999"


def test_maps_and_sessions():
    assert facts.parse_map_files((RECORDED / "maps.txt").read_text()) == [
        "/run/lab/slackwater-holds.map"
    ]
    entries = facts.parse_map((RECORDED / "map.txt").read_text())
    assert entries == [("shop", "6ab14a3578ff/4997/a")]
    sessions = facts.parse_sessions((RECORDED / "sess.txt").read_text(), "shop")
    pin = facts.BalancerSession("0x55aa785e6830", "unix:1", "shop-pin", "hold")
    assert pin in sessions
    assert [s.server for s in sessions if s.frontend == "shop-clients"].count("<none>") == 3


def test_the_switch_tells_holds_ends_and_errors():
    text = (
        "slackwater-switch 1 age_ms=12 errors=2\n"
        "hold shop id=ab left_ms=-3 back=\n"
        "expired blog id=cd why=its deadline has passed\n"
        "last_error no server to return to in x\n"
    )
    seen = facts.parse_switch(text)
    assert seen is not None
    assert seen.holds == {"shop": ("ab", -3.0, "")} and seen.errors == 2
    assert seen.expired == {"blog": ("cd", "its deadline has passed")}
    assert seen.last_error == "no server to return to in x"
    assert facts.parse_switch("Unknown command, but maybe one of …") is None
    assert state(HELD.replace("slackwater-switch 1", "slackwater-switch 9")).switch is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2.6.12-1+deb12u4", (2, 6, 12)),
        ("3.0-dev5", (3, 0, 0)),
        ("2.4.0", (2, 4, 0)),
        ("", None),
        ("dev", None),
    ],
)
def test_versions(text, expected):
    assert facts.parse_version(text) == expected


def test_an_empty_reply_is_a_state_with_nothing_in_it():
    seen = state("")
    assert seen.version is None and not seen.servers and seen.active is None
    assert not seen.holding and seen.switch is None


@given(st.integers(0, len(HELD)))
def test_a_reply_cut_anywhere_never_crashes(end):
    state(HELD[:end])


SESSION = """\
{pointer}: [23/Nov/2026:19:25:42.588478] id=3 proto=tcpv4 source=127.0.0.1:43088
  flags=0x4a, conn_retries=0, conn_exp=<NEVER> conn_et=0x000 srv_conn=0x5564f5221790, pend_pos=(nil)
  frontend=pair-clients (id=2 mode=tcp), listener=? (id=1) addr=127.0.0.1:21582
  backend={backend} (id=4 mode=tcp) addr={own}
  {server}
  task=0x5564f540ea90 (state=0x00 nice=0 calls=2 rate=0 exp=3s tmask=0x1 age=2s)
"""


def test_ways_of_a_server_s_sessions():
    there = "server=a (id=1) addr=127.0.0.1:17694"
    text = "".join(
        SESSION.format(pointer=f"0x{n}", backend=backend, own=own, server=server)
        for n, (backend, own, server) in enumerate([
            ("shop", "127.0.0.1:1", there), ("shop", "127.0.0.1:2", there.replace("=a", "=ab")),
            ("blog", "127.0.0.1:3", there), ("shop", "unknown", "server=<none>"),
            ("shop", "::1:5", there),
        ])
    )
    assert facts.parse_ways(text, "shop", "a") == {"127.0.0.1:1": "0x0", "::1:5": "0x4"}
    assert facts.parse_ways("No such session (use 'show sess').\n\n", "shop", "a") == {}
