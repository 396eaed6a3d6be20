"""Who stands in the way of a quiet moment."""

from __future__ import annotations

from slackwater.facts.server import ClientSession
from slackwater.rules.quiet import left


def session(number: int, **changed: object) -> ClientSession:
    values = {"user": "web", "host": "10.0.0.7:5000", "db": "shop", "command": "Sleep",
              "state": "", "info": "", "idle_ms": 5.0} | changed
    return ClientSession(id=number, **values)  # type: ignore[arg-type]


IDLE = session(1)
RUNS = session(2, command="Query", idle_ms=None, running_s=30.0, info="SELECT  SLEEP(100)")
GONE = session(3, command="Killed", idle_ms=None)


def test_without_old_work_it_is_quiet() -> None:
    assert left([IDLE, GONE], {1: 2.0}, older_than_s=5, clients_gone=False) == ()


def test_old_statements_and_old_transactions_stand_in_the_way() -> None:
    assert [one.session.id for one in left([IDLE, RUNS], {}, older_than_s=5, clients_gone=False)
            ] == [2]
    (found,) = left([IDLE, GONE], {1: 60.0}, older_than_s=5, clients_gone=False)
    assert "a transaction open for 60 s" in str(found)
    assert "web@10.0.0.7:5000" in str(found)


def test_for_a_hold_everybody_does_but_who_is_gone() -> None:
    found = left([IDLE, RUNS, GONE], {}, older_than_s=5, clients_gone=True)
    assert [one.session.id for one in found] == [1, 2]
    assert "a statement for 30 s: SELECT SLEEP(100)" in str(found[1])


def test_who_still_rolls_back_is_not_gone() -> None:
    (found,) = left([GONE], {3: 9.0}, older_than_s=5, clients_gone=True)
    assert found.session.id == 3
