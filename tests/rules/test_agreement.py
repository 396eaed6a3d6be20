"""Who is active by every voice, and whether they agree."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.rules.builder import balancer, channel, pair, server

from slackwater.facts.pair import Road
from slackwater.rules.agreement import agreement


def test_all_agree():
    found = agreement(pair())
    assert found.active == "a"
    assert found.disagreements == ()
    assert found.says == {
        "read_only": "a", "balancer lb1": "a", "file of lb1": "a", "balancer lb2": "a",
        "file of lb2": "a", "replication": "a",
    }


def with_replica(source="a", *, running=True, **changes):
    follows = channel(source, io_running=running, **changes)
    return pair(replicas=("r",), servers={**pair().servers, "r": server("r", follows)})


@pytest.mark.parametrize("source", ["a", "b"])
def test_a_replica_may_hang_off_either(source):
    found = agreement(with_replica(source))
    assert (found.active, found.disagreements) == ("a", ())


def test_replication_says_who_is_followed_where_only_one_is():
    one_way = pair(a=server("a", variables={"read_only": "ON"}),
                   b=server("b", channel("a"), variables={"read_only": "OFF"}))
    found = agreement(one_way)
    assert (found.says["read_only"], found.says["replication"]) == ("b", "a")
    assert "replication says a, read_only says b" in found.disagreements


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (pair(b=server("b", channel("a"), variables={"read_only": "OFF"})),
         "a and b both accept writes"),
        (pair(a=server("a", channel("b"), variables={"read_only": "ON"})),
         "no server of the pair accepts writes"),
        (pair(balancers={"lb1": balancer("b")}), "balancer lb1 says b, read_only says a"),
        (pair(balancers={"lb1": balancer(None)}), "balancer lb1 says nobody, read_only says a"),
        (pair(balancers={"lb1": balancer(file_active="b")}),
         "file of lb1 says b, read_only says a"),
        (pair(b=server("b")), "b replicates from nobody"),
        (pair(b=server("b", channel("a", sql_running=False, sql_error="1062: Duplicate"))),
         "b: replication from 10.0.0.1:3306 does not run: 1062: Duplicate"),
        (with_replica(sql_running=False, sql_error="1062: Duplicate"),
         "r: replication from 10.0.0.1:3306 does not run: 1062: Duplicate"),
        (with_replica(source_server_id=9, source_host="10.0.0.9"),
         "r does not follow a or b, but 10.0.0.9:3306 (server_id 9)"),
        (pair(replicas=("r",), servers={**pair().servers, "r": server("r")}),
         "r replicates from nobody"),
        (pair(b=server("b", channel("r"))), "b does not follow a, but 10.0.0.3:3306 (server_id 3)"),
        (pair(b=server("b", channel("r"))), "replication says b, read_only says a"),
        (with_replica(running=False), "replication says nobody, read_only says a"),
        (pair(balancers={"lb1": balancer(roads={"b": Road("10.0.0.2:3306", None, None)})}),
         "balancer lb1 has no server b: `slackwater balancer install lb1`, then reload HAProxy"),
        (pair(unreachable={"balancer lb2": "refused"}), "cannot reach balancer lb2: refused"),
    ],
)
def test_disagreement(seen, said):
    found = agreement(seen)
    assert said in found.disagreements
    assert found.active is None, "with a doubt, nobody is said to be active"
    assert set(found.says) >= {"read_only"}


def test_two_that_accept_writes_disagree_with_each_balancer_too():
    found = agreement(pair(b=server("b", channel("a"), variables={"read_only": "OFF"})))
    assert "balancer lb1 says a, read_only says nobody" in found.disagreements


def source(*, read_only="OFF", follows=(), replica=()):
    servers = {"a": server("a", *follows, variables={"read_only": read_only}),
               "b": server("b", *(replica or (channel("a"),)), variables={"read_only": "ON"})}
    return pair(pair=("a",), replicas=("b",), balancers={}, servers=servers)


def test_a_source_follows_nobody_and_its_replicas_follow_it():
    found = agreement(source())
    assert (found.active, found.disagreements) == ("a", ())
    assert agreement(source(follows=(channel("b", source_server_id=9),))).active == "a"


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (source(read_only="ON"), "a accepts no writes"),
        (source(replica=(channel("a", sql_running=False),)),
         "b: replication from 10.0.0.1:3306 does not run"),
        (source(replica=(channel("a", source_server_id=9, source_host="10.0.0.9"),)),
         "b does not follow a, but 10.0.0.9:3306 (server_id 9)"),
        (source(follows=(channel("b", sql_running=False, source_host="10.0.0.8"),)),
         "a: replication from 10.0.0.8:3306 does not run"),
    ],
)
def test_a_source_disagrees(seen, said):
    found = agreement(seen)
    assert found.active is None
    assert said in found.disagreements, found.disagreements


def unasked(*names, **changes):
    seen = pair(unreachable=dict.fromkeys(names, "no such file: ca.pem"), **changes)
    return replace(seen, servers={n: s for n, s in seen.servers.items() if n not in names})


def test_of_servers_that_cannot_be_asked_nothing_is_said():
    reached = ["cannot reach a: no such file: ca.pem", "cannot reach b: no such file: ca.pem"]
    assert list(agreement(unasked("a", "b")).disagreements) == [
        "cannot tell whether a server of the pair accepts writes: a and b cannot be asked", *reached
    ]
    assert list(agreement(unasked("a")).disagreements) == [
        "cannot tell whether a server of the pair accepts writes: a cannot be asked", reached[0]
    ]
    assert list(agreement(unasked("b")).disagreements) == [reached[1]], "a accepts writes"


def test_what_was_seen_is_compared_all_the_same():
    found = agreement(unasked("a", "b", balancers={"lb1": balancer(file_active="b")}))
    assert found.active is None
    assert "file of lb1 says b, balancer lb1 says a" in found.disagreements
