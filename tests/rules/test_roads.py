"""Where balancers lead to: what is another address of the same server, and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.rules.builder import balancer, pair

from slackwater.facts.pair import Road
from slackwater.rules.roads import leads, waiting, wrong_roads

DB2 = {"db2": frozenset({"10.0.0.2", "10.1.0.2", "fd00::2"})}


def road(meant, now, **changes):
    return Road(meant, now, now, **changes)


@pytest.mark.parametrize(
    "fine",
    [
        road("10.0.0.2:3306", "10.0.0.2:3306"),
        road("[fd00::2]:3306", "[fd00:0:0::2]:3306"),
        road("10.0.0.2:3306", "[::ffff:10.0.0.2]:3306"),
        road("[fe80::2%eth0]:3306", "[fe80::2]:3306"),
        road("db2:3306", "10.1.0.2:3306", names=DB2),
        road("db2:3306", "[fd00::2]:3306", names=DB2),
        road("10.0.0.2:3306", "db2:3306", names=DB2),
        road("db2:3306", "db2.example:3306",
             names={**DB2, "db2.example": frozenset({"10.1.0.2"})}),
        road("10.0.0.2:3306", "127.0.0.1:3307", proven=frozenset({"127.0.0.1:3307"})),
        # Nobody can tell.
        road("db2:3306", "10.9.9.9:3306"),
        road("db2:3306", "10.9.9.9:3306", names={"db2": frozenset()}),
        road("db2:3306", "-:3306", names=DB2),
        road("10.0.0.2:3306", "127.0.0.1:3307", far=True),
        road("127.0.0.1:3306", "10.0.0.2:3306", far=True),
    ],
)
def test_the_same_server_or_nobody_can_tell(fine):
    assert leads(fine, fine.now)
    assert list(wrong_roads(pair(balancers={"lb1": balancer(roads={"b": fine})}))) == []


@pytest.mark.parametrize(
    "wrong",
    [
        road("10.0.0.2:3306", "10.0.0.3:3306"),
        road("10.0.0.2:3306", "10.0.0.2:3307"),
        road("10.0.0.2:3306", "10.0.0.3:3306", far=True),
        road("127.0.0.1:3306", "127.0.0.1:1"),
        road("[fd00::2]:3306", "[fd00::3]:3306"),
        road("db2:3306", "10.9.9.9:3306", names=DB2),
        road("db2:3306", "10.0.0.2:3307", names=DB2),
        road("10.0.0.2:3306", "10.0.0.3:3306", proven=frozenset({"10.0.0.4:3306"})),
    ],
)
def test_another_place(wrong):
    assert not leads(wrong, wrong.now)
    [reason] = wrong_roads(pair(balancers={"lb1": balancer(roads={"b": wrong})}))
    assert f"has server b at {wrong.now}, but slackwater.toml at {wrong.meant}: " in reason


def test_clients_that_wait_while_nothing_is_held_are_told():
    assert list(waiting(pair())) == []
    seen = balancer()
    full = replace(seen.state.servers["a"], sessions=140, limit=140)
    state = replace(seen.state, servers={**seen.state.servers, "a": full})
    [said] = waiting(pair(balancers={"lb1": replace(seen, state=state, waiting=914)}))
    assert said == ("914 client(s) wait at balancer lb1, and nothing is held: a has 140 of the 140 "
                    "sessions that this balancer gives it at once")
