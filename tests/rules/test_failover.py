"""A failover is refused while a client still reaches the active server through a balancer."""

from __future__ import annotations

import pytest
from tests.rules.builder import balancer, channel, server

from slackwater.facts.failover import (
    REFUSES_US,
    BalancerView,
    FailoverSeen,
    Passive,
    Seen,
    Sight,
)
from slackwater.facts.flavour import Flavour
from slackwater.rules.failover import refusals


@pytest.mark.parametrize(("source_id", "behind", "alive"), [
    (1, None, False),
    (1, 1, True),
    # The passive was restarted since, and cannot reach its source: it does not know that one's id.
    (0, None, False),
    (0, 1, True),
    (1, 2, False),  # the passive itself
    (1, REFUSES_US, True),  # its account, or it is full of clients
])
def test_who_answers_clients_is_alive(source_id: int, behind: int | None, alive: bool) -> None:
    follows = channel("a", source_server_id=source_id, io_state="Connecting", io_running=False)
    seen = FailoverSeen(
        ("a", "b"), {"a": Seen(Sight.UNREACHABLE), "b": Seen(Sight.READ_ONLY)},
        {"lb1": BalancerView(balancer().state, behind, "a")},
        Passive(server("b", follows).facts, (follows,)))
    reasons = refusals(seen, "a", "b", 60.0)
    assert ["alive and serves its clients" in r for r in reasons] == [True] * alive, reasons


def test_a_balancer_that_sends_clients_to_the_passive_says_nothing_of_the_active() -> None:
    follows = channel("a", source_server_id=1, io_state="Connecting", io_running=False)
    seen = FailoverSeen(
        ("a", "b"), {"a": Seen(Sight.UNREACHABLE), "b": Seen(Sight.READ_ONLY)},
        {"lb1": BalancerView(balancer("b").state, REFUSES_US, "b")},
        Passive(server("b", follows).facts, (follows,)))
    assert "alive" not in str(refusals(seen, "a", "b", 60.0))


def test_an_old_active_that_can_only_be_read_only_is_not_fenced() -> None:
    """With MySQL 5.6 administrators would write on, beside the promoted one."""
    follows = channel("a", auto_position=True)
    sight = Seen(Sight.SERVES, flavour=Flavour.parse("5.6.24"))
    seen = FailoverSeen(
        ("a", "b"), {"a": sight, "b": Seen(Sight.READ_ONLY)},
        {"lb1": BalancerView(balancer().state, None, "a")},
        Passive(server("b", follows, version="5.7.29").facts, (follows,)))
    assert "a: MySQL 5.6.24 is too old" in str(refusals(seen, "a", "b", 60.0))
