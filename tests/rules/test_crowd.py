"""How many clients a server is given at once."""

import pytest

from slackwater.facts.gate import GateReport
from slackwater.rules.crowd import paced, room, says


def test_some_connections_are_spared_and_those_in_use_are_not_given_twice() -> None:
    assert room(151) == 136
    assert room(151, connected=30) == 106
    assert room(1000) == 900


def test_somebody_is_always_let_in() -> None:
    assert room(5, connected=5) == 1


def test_who_cannot_be_paced_is_told_so() -> None:
    assert "as others leave" in says("a", 151, paced=True)
    assert "1040" in says("a", 151, paced=False)


@pytest.mark.parametrize(("held", "in_turn", "fits", "ended", "words"), [
    (0, 0, {3306: 136}, "asked", ""),
    (300, 0, {3306: 136}, "lost", ""),  # nobody heard how it was
    (30, 0, {3306: 136}, "asked", "at once: there was room for 136"),
    (300, 290, {3306: 136}, "cap", "room for 136: 290 were let in one by one"),
    (30, 0, {}, "asked", "no server's own port"),
])  # fmt: skip
def test_it_is_told_how_they_were_let_in(
    held: int, in_turn: int, fits: dict[int, int], ended: str, words: str
) -> None:
    report = GateReport(held, held, 1.0, 1.0, 1.0, "nfqueue", ended, 0, in_turn, fits)  # type: ignore[arg-type]
    assert words in paced(report) and bool(words) == bool(paced(report))
