"""Which sessions are closed now: never one in a transaction, never one about to work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rules.builder import session

from slackwater.rules.settle import (
    MANY,
    REST_MS,
    YOUNG_PER_REST,
    YOUNG_REST_MS,
    decide,
    long_idle,
    rest_needed_ms,
)

YOUNG_FROM = 1000


def closed(*sessions, transactions=None, rest_ms=4.0):
    return decide(sessions, transactions or {}, rest_ms, YOUNG_FROM).close


def test_a_session_at_rest_is_closed():
    assert closed(session(7, idle_ms=4.0)) == (7,)
    assert closed(session(7, idle_ms=3.9)) == ()


def test_a_session_whose_rest_is_not_known_is_waited_for():
    assert closed(session(idle_ms=None)) == ()


def test_a_session_in_a_transaction_is_waited_for_however_long_it_rests():
    assert closed(session(7, idle_ms=1e6), transactions={7: 0.1}) == ()


def test_a_busy_session_is_waited_for():
    busy = session(command="Query", idle_ms=None)
    assert decide([busy], {}, 4.0, YOUNG_FROM).wait == (busy,)


def test_a_young_session_gets_time_to_begin():
    young = session(YOUNG_FROM, idle_ms=YOUNG_REST_MS - 1)
    assert closed(young) == ()
    assert closed(session(YOUNG_FROM, idle_ms=YOUNG_REST_MS)) == (YOUNG_FROM,)


def test_on_a_slow_machine_a_young_session_gets_more_time():
    rest_ms = 30.0
    assert closed(session(YOUNG_FROM, idle_ms=YOUNG_REST_MS), rest_ms=rest_ms) == ()
    long = YOUNG_PER_REST * rest_ms
    assert closed(session(YOUNG_FROM, idle_ms=long), rest_ms=rest_ms) == (YOUNG_FROM,)


def test_after_a_ping_a_pool_is_about_to_work():
    assert closed(session(idle_ms=50.0, last_command="Ping")) == ()
    assert closed(session(7, idle_ms=YOUNG_REST_MS, last_command="Ping")) == (7,)


def test_a_killed_session_is_neither_closed_nor_waited_for():
    settling = decide([session(command="Killed")], {}, 4.0, YOUNG_FROM)
    assert settling.close == settling.wait == ()


def test_less_rest_is_asked_for_as_the_hold_goes_on_and_more_on_a_slow_machine():
    needed = [rest_needed_ms(start, 0.0) for start, _ in REST_MS]
    assert needed == [rest for _, rest in REST_MS]
    assert needed == sorted(needed, reverse=True)
    assert rest_needed_ms(1e6, 0.0) == REST_MS[-1][1]
    assert rest_needed_ms(0.0, 10.0) > rest_needed_ms(0.0, 0.0)


def test_who_went_on_resting_since_the_look_is_closed_without_another():
    nearly = session(idle_ms=2.5)
    waiting = decide([nearly], {}, 4.0, YOUNG_FROM)
    assert (waiting.close, waiting.soonest_ms) == ((), 1.5)
    assert decide([nearly], {}, 4.0, YOUNG_FROM, 1.5).close == (nearly.id,)


@pytest.mark.parametrize("other", [
    session(9, command="Query", idle_ms=None), session(YOUNG_FROM, idle_ms=1.0),
    session(9, idle_ms=1.0, last_command="Ping"),
])
def test_nobody_knows_when_one_at_work_ends(other):
    assert decide([session(idle_ms=2.5), other], {}, 4.0, YOUNG_FROM).soonest_ms == 0.0
    assert decide([session(idle_ms=2.5)], {session().id: 1.0}, 4.0, YOUNG_FROM).soonest_ms == 0.0


sessions = st.lists(
    st.builds(
        session,
        st.integers(1, 2 * YOUNG_FROM),
        command=st.sampled_from(["Sleep", "Query", "Killed", "Connect"]),
        idle_ms=st.none() | st.floats(0, 1e6),
        last_command=st.sampled_from(["", "Ping", "insert"]),
    ),
    max_size=20, unique_by=lambda s: s.id,
)  # fmt: skip


@given(sessions, st.dictionaries(st.integers(1, 2 * YOUNG_FROM), st.just(1.0)), st.floats(0, 200))
def test_always(every, transactions, rest_ms):
    settling = decide(every, transactions, rest_ms, YOUNG_FROM)
    waiting = {s.id for s in settling.wait}
    alive = {s.id for s in every if s.command != "Killed"}
    assert set(settling.close) | waiting == alive
    assert not set(settling.close) & waiting
    assert not set(settling.close) & set(transactions)
    by_id = {s.id: s for s in every}
    for number in settling.close:
        assert by_id[number].command == "Sleep"
        assert by_id[number].idle_ms >= rest_ms


def test_many_who_rest_for_long_are_closed_before_the_hold():
    many = [session(i, idle_ms=30_000.0) for i in range(1, MANY + 1)]
    busy = session(90, idle_ms=29_999.0)
    assert long_idle([*many, busy], {}, 30.0) == [s.id for s in many]
    assert long_idle([*many, busy], {1: 40.0}, 30.0) == []  # no longer many
    unknown = [session(i, idle_ms=None) for i in range(100, 120)]
    assert long_idle(unknown, {}, 30.0) == []
