"""The load's arithmetic, without any server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.lab.load_plan import KINDS, LoadPlan
from slackwater.lab.load_record import (
    ACKED,
    Record,
    Samples,
    longest_gap,
    percentile,
    spread_ms,
)


def test_percentile_is_the_nearest_rank() -> None:
    values = [float(n) for n in range(1, 1001)]
    assert [percentile(values, share) for share in (0.5, 0.99, 0.999, 1.0)] == [
        500.0,
        990.0,
        999.0,
        1000.0,
    ]
    assert percentile([7.0], 0.001) == 7.0
    assert percentile([], 0.5) == 0.0


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.001, 1))
def test_a_percentile_has_its_share_at_or_below(values: list[float], share: float) -> None:
    found = percentile(sorted(values), share)
    assert found in values
    assert sum(v <= found for v in values) >= share * len(values) - 1e-6


def test_spread_is_told_in_ms() -> None:
    assert spread_ms([0.002, 0.001]) == {"count": 2, "p50": 1, "p99": 2, "p999": 2, "max": 2}


def test_longest_gap_is_over_all_kinds() -> None:
    assert longest_gap([[1.0, 5.0], [2.0, 4.5], []]) == 2.5
    assert longest_gap([[1.0], []]) == 0.0


def test_a_stall_counts_for_every_window_that_it_touches() -> None:
    samples = Samples()
    for start, end in ((0.0, 0.1), (1.0, 3.0), (2.9, 3.1), (4.0, 4.1)):
        samples.add(end, end - start)
    assert samples.stall_between(1.5, 1.6) == pytest.approx(2.0)
    assert samples.stall_between(3.05, 3.06) == pytest.approx(0.2, abs=1e-6)
    assert samples.stall_between(3.2, 3.9) == 0.0


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 20)), max_size=60),
    st.floats(0, 120),
    st.floats(0, 30),
)
def test_stall_between_agrees_with_looking_at_each(
    raw: list[tuple[float, float]], first: float, length: float
) -> None:
    samples = Samples()
    for end, wait in sorted(raw):
        samples.add(end, wait)
    last = first + length
    stored = zip(samples.ends, samples.waits, strict=True)
    touched = [wait for end, wait in stored if end >= first and end - wait <= last]
    assert samples.stall_between(first, last) == max(touched, default=0.0)


def test_errors_that_differ_in_a_number_are_one_kind() -> None:
    record = Record(10)
    for thread in (7, 12345):
        record.fail("pooled", "write", 1290, f"thread {thread} died", start=1.0, now=1.5)
    (fault,) = record.faults()
    assert (fault.count, fault.name, fault.longest_ms) == (2, "ER_OPTION_PREVENTS_STATEMENT", 500)


def test_timeline_puts_each_start_and_end_in_its_bucket() -> None:
    record = Record(10, clock=0.0)
    record.unix_offset = 1000.0
    record.fate(record.take(), ACKED)
    record.samples["request"].add(0.025, 0.02)
    record.fail("tested", "ping", 2013, "x", start=0.0, now=0.031)
    told = [(b.at_ms, b.kind, b.started, b.acked, b.errors) for b in record.timeline()]
    assert told == [
        (1_000_000, "request", 1, 0, 0),
        (1_000_020, "request", 0, 1, 0),
        (1_000_030, "tested", 0, 0, 1),
    ]
    assert record.acked == 1 and set(record.samples) == set(KINDS)


def test_a_window_has_the_waits_that_ended_in_it() -> None:
    samples = Record(10, clock=0.0).samples["request"]
    for end, wait in ((1.0, 0.5), (2.0, 0.25), (3.0, 2.5)):
        samples.add(end, wait)
    assert list(samples.ended_between(1.5, 2.5)) == [0.25]
    assert list(samples.ended_between(0.0, 3.0)) == [0.5, 0.25, 2.5]
    assert not samples.ended_between(4.0, 5.0)


def test_a_plan_that_makes_no_sense_tells_every_reason() -> None:
    assert LoadPlan().rejected() == []
    assert len(LoadPlan(seconds=-1, rate=0, transactions=2, sources=0).rejected()) == 4
