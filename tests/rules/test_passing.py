"""Connections that come past the balancers and end before anybody can see them twice."""

from __future__ import annotations

import pytest

from slackwater.facts.pair import Passing
from slackwater.rules.passing import Count, passing


def counts(*steps: tuple[int, int, int]) -> list[Count]:
    return [Count(at / 2, *step, ("app@10.0.0.9",)) for at, step in enumerate(steps)]


def test_more_at_the_server_in_each_window_came_past_the_balancers() -> None:
    seen = counts((100, 500, 100), (110, 513, 110), (120, 525, 120))
    assert passing(seen) == Passing(5.0, ("app@10.0.0.9",))


def test_a_pause_in_one_window_does_not_hide_them() -> None:
    seen = counts((0, 0, 0), (0, 4, 0), (0, 4, 0), (0, 8, 0), (0, 10, 0))
    assert passing(seen) == Passing(5.0, ("app@10.0.0.9",))


@pytest.mark.parametrize("seen", [
    counts((100, 500, 100), (100, 500, 100), (100, 500, 100)),  # nothing happens
    counts((100, 500, 101), (110, 510, 111), (120, 520, 122)),  # all by the balancers
    counts((100, 500, 100), (110, 514, 110), (120, 520, 120)),  # four waited to be accepted
    counts((100, 500, 100), (100, 501, 100), (100, 501, 100)),  # a lone monitor's connection
    counts((0, 0, 0), (0, 4, 0), (0, 4, 0), (0, 6, 0), (0, 6, 0)),  # in two of four
    counts((100, 500, 100)), [],
])
def test_else_nobody_is_sure(seen: list[Count]) -> None:
    assert passing(seen) is None
