"""Who is active by every voice, and whether they agree."""

from __future__ import annotations

import pytest
from tests.rules.builder import balancer, channel, pair, server

from slackwater.rules.agreement import agreement


def test_all_agree():
    found = agreement(pair())
    assert found.active == "a"
    assert found.disagreements == ()
    assert found.says == {
        "read_only": "a", "balancer lb1": "a", "file of lb1": "a", "balancer lb2": "a",
        "file of lb2": "a",
    }


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
