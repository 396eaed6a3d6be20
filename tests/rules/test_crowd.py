"""How many clients a server is given at once."""

from slackwater.rules.crowd import room, says


def test_some_connections_are_spared_and_those_in_use_are_not_given_twice() -> None:
    assert room(151) == 136
    assert room(151, connected=30) == 106
    assert room(1000) == 900


def test_somebody_is_always_let_in() -> None:
    assert room(5, connected=5) == 1


def test_who_cannot_be_paced_is_told_so() -> None:
    assert "as others leave" in says("a", 151, paced=True)
    assert "1040" in says("a", 151, paced=False)
