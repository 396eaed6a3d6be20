"""The grammar of members, and the rules of leases, colours and pace: values in, values out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.facts.members import Member, Record, Shares, plain_address, why_stale
from slackwater.rules.registry import colours, pace
from slackwater.rules.registry.leases import Limits, Standing, judge
from slackwater.rules.registry.pace import Pace


@pytest.mark.parametrize("change", [
    {"pool": "Web"}, {"pool": "web\n"}, {"pool": ""}, {"pool": "w" * 33}, {"pool": "a b"},
    {"id": "w1\nserver evil"}, {"id": "-f"}, {"id": ""}, {"id": "w;1"}, {"id": "é"},
    {"id": "w" * 64}, {"id": None}, {"id": 5},
    {"address": "host"}, {"address": "10.0.0.7 "}, {"address": "0.0.0.0"}, {"address": "10.0.0.07"},
    {"address": "224.0.0.1"}, {"address": "fe80::1%eth0"}, {"address": "fe80::1"}, {"address": ""},
    {"address": "::ffff:10.0.0.7"}, {"address": "2001:DB8::1"}, {"address": "255.255.255.255"},
    {"port": 0}, {"port": 65536}, {"port": "80"}, {"port": True}, {"port": 80.0},
    {"weight": 0}, {"weight": 101}, {"weight": True},
    {"colour": "Blue"}, {"colour": "b\n"}, {"colour": "b" * 17}, {"colour": None},
    {"draining": "no"},
])  # fmt: skip
def test_a_member_that_breaks_the_grammar_cannot_be_made(change: dict[str, object]) -> None:
    good: dict[str, object] = {"pool": "web", "id": "w1", "address": "10.0.0.7", "port": 80}
    Member(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        Member(**{**good, **change})  # type: ignore[arg-type]


@given(st.text(), st.text(), st.text(), st.integers(), st.integers(), st.text())
def test_no_accepted_word_has_a_sign_that_means_something(
    pool: str, name: str, address: str, port: int, weight: int, colour: str
) -> None:
    try:
        made = Member(pool, name, address, port, weight, colour)
    except ValueError:
        return
    for word in (made.pool, made.id, made.address, made.colour):
        assert not set(word) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789._:-")


def test_addresses_have_one_form() -> None:
    assert plain_address("2001:0DB8::0007") == "2001:db8::7"
    assert plain_address("::ffff:10.0.0.7") == "10.0.0.7"


@settings(max_examples=30, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_anything_read_from_a_store_is_a_record_or_a_value_error(said: object) -> None:
    keys = ("pool", "id", "address", "port", "weight", "colour", "draining", "lease", "boot", "seq")
    for given_ in (dict.fromkeys(keys, said), said):
        if isinstance(given_, dict):
            with pytest.raises(ValueError):
                Record.read(given_)


@pytest.mark.parametrize(("old", "new", "stale"), [
    ((1, 5), (1, 6), False), ((1, 5), (1, 5), True), ((1, 5), (1, 4), True),
    ((2, 1), (1, 9), True), ((1, 9), (2, 0), False), ((0, 0), (0, 0), False),
    ((3, 1), (0, 0), False),
])  # fmt: skip
def test_order(old: tuple[int, int], new: tuple[int, int], stale: bool) -> None:
    member = Member("web", "w1", "10.0.0.7", 80)
    assert bool(why_stale(Record(member, 15.0, *old), Record(member, 15.0, *new))) is stale


def many(count: int, **more: object) -> list[Standing]:
    good: dict[str, object] = {"draining": False, "age_s": 1.0, "lease_s": 15.0, "admitted": True}
    return [Standing(f"w{i}", **{**good, **more}) for i in range(count)]  # type: ignore[arg-type]


def ids(found: list[Standing]) -> frozenset[str]:
    return frozenset(s.id for s in found)


def test_all_well() -> None:
    verdict = judge(many(3), Limits(), settled=True)
    assert verdict.serving == {"w0", "w1", "w2"} and not verdict.remove and not verdict.frozen


def test_a_lease_that_ended_is_a_suspicion_only() -> None:
    silent = Standing("x", False, 20.0, 15.0, True)
    verdict = judge([*many(5), silent], Limits(), settled=True)
    assert "x" in verdict.serving and not verdict.remove


@pytest.mark.parametrize("dead", [
    Standing("x", False, 20.0, 15.0, True, fails=1, failing_s=0.5),
    Standing("x", False, 46.0, 15.0, True),
    Standing("x", False, 900.0, 0.0, True, fails=9, failing_s=31.0),
], ids=["silent and a probe failed", "silent for three leases", "no lease, dead by probes"])
def test_who_is_removed(dead: Standing) -> None:
    assert judge([*many(5), dead], Limits(), settled=True).remove == ("x",)


def test_without_a_lease_silence_says_nothing() -> None:
    quiet = Standing("x", False, 9e9, 0.0, True)
    verdict = judge([*many(5), quiet], Limits(), settled=True)
    assert "x" in verdict.serving and not verdict.remove


def test_nobody_expires_right_after_the_start() -> None:
    verdict = judge(many(5, age_s=999.0, fails=9, failing_s=99.0), Limits(), settled=False)
    assert not verdict.remove and not verdict.frozen and len(verdict.serving) == 5


def test_a_partition_freezes_and_who_answers_goes_on() -> None:
    cut = [Standing(f"c{i}", False, 99.0, 15.0, True) for i in range(8)]
    verdict = judge([*many(2), *cut], Limits(), settled=True)
    assert verdict.frozen and not verdict.remove and len(verdict.serving) == 10


def test_a_freeze_ends_by_probing_one_at_a_time() -> None:
    left = [Standing(f"c{i}", False, 99.0 + i, 15.0, True, fails=5, failing_s=31.0)
            for i in range(8)] + many(2)
    gone = []
    while judge(left, Limits(), settled=True).frozen:
        verdict = judge(left, Limits(), settled=True)
        assert len(verdict.remove) == 1
        gone += verdict.remove
        left = [s for s in left if s.id not in verdict.remove]
    assert gone[0] == "c7" and len(left) >= 2


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_pool_is_never_emptied(size: int) -> None:
    left = many(size, age_s=9999.0, fails=99, failing_s=9999.0)
    for _ in range(20):
        verdict = judge(left, Limits(), settled=True)
        left = [s for s in left if s.id not in verdict.remove]
        assert verdict.serving == ids(left) and left
    assert len(left) == 1


def test_who_fails_probes_gets_nothing_new_but_not_all() -> None:
    ill = many(1, fails=2, failing_s=1.0)[0]
    other = Standing("other", False, 1.0, 15.0, True)
    assert judge([ill, other], Limits(), settled=True).serving == {"other"}
    assert judge([ill], Limits(), settled=True).serving == {"w0"}


def test_a_newcomer_serves_when_a_probe_has_passed() -> None:
    new = Standing("new", False, 1.0, 15.0, admitted=False)
    assert "new" not in judge([*many(2), new], Limits(), settled=True).serving
    assert judge([new], Limits(), settled=True).serving == frozenset()


def test_who_drains_gets_nothing_new_though_it_be_the_last() -> None:
    assert judge(many(1, draining=True), Limits(), settled=True).serving == frozenset()


@given(st.lists(st.builds(
    Standing, st.uuids().map(str), st.booleans(), st.floats(0, 1e6), st.sampled_from([0.0, 15.0]),
    st.booleans(), st.integers(0, 9), st.floats(0, 1e6)), max_size=12, unique_by=lambda s: s.id))
def test_whatever_is_known(pool: list[Standing]) -> None:
    """Who served before can only all be gone if they drain; removal has its bounds."""
    verdict = judge(pool, Limits(), settled=True)
    able = [s for s in pool if s.admitted and not s.draining]
    if any(s.fails == 0 and not s.late for s in able):
        assert verdict.serving
    left = [s for s in pool if s.id not in verdict.remove and not s.draining]
    assert left or not any(not s.draining for s in pool)
    assert len(verdict.remove) <= max(1, int(0.15 * len(pool)))


def members(count: int, colour: str, weight: int = 10) -> list[Member]:
    port = 1000 + 100 * ord(colour[0])
    return [Member("web", f"{colour}{i}", "10.0.0.7", port + i, weight, colour)
            for i in range(count)]


def part(weights: dict[str, int], colour: str) -> float:
    whole = sum(weights.values())
    return sum(w for i, w in weights.items() if i.startswith(colour)) / whole


@pytest.mark.parametrize(("blue", "green", "share"), [
    (3, 3, 50), (1, 9, 50), (10, 1, 10), (1, 50, 1), (50, 1, 1), (4, 4, 100), (2, 3, 0),
])
def test_a_colour_gets_its_share_however_many_it_has(blue: int, green: int, share: int) -> None:
    every = [*members(blue, "blue"), *members(green, "green")]
    weights = colours.effective(every, {m.id for m in every},
                                Shares((("blue", 100 - share), ("green", share)), 1))
    assert abs(part(weights, "green") * 100 - share) <= 1.5
    assert all(1 <= w <= 100 for w in weights.values())


def test_a_colour_of_which_nobody_serves_does_not_empty_the_pool() -> None:
    every = members(3, "blue")
    weights = colours.effective(every, {m.id for m in every}, Shares((("green", 100),), 1))
    assert len(weights) == 3


def test_the_view_has_no_address_twice() -> None:
    both = [Member("web", "a", "10.0.0.7", 80), Member("web", "b", "10.0.0.7", 80)]
    view = colours.view("web", both, {"a", "b"}, Shares())
    assert [t.id for t in view.targets] == ["a"]


@pytest.mark.parametrize(("healthy", "degraded", "reasons"), [
    ([True, True], False, 0), ([True, False], False, 1), ([True, False], True, 0),
    ([False, False], True, 1), ([], False, 1),
])
def test_why_not_switch(healthy: list[bool], degraded: bool, reasons: int) -> None:
    known = list(zip(members(len(healthy), "green"), healthy, strict=True))
    found = colours.why_not(Shares((("green", 100),), 1), known, degraded=degraded)
    assert len(found) == reasons


@pytest.mark.parametrize("parts", [
    (("blue", 50),), (("blue", 50), ("blue", 50)), (("", 100),), (("b b", 100),), (("blue", 101),),
    (("blue", True), ("green", 99)),
])
def test_shares_that_make_no_sense(parts: tuple[tuple[str, int], ...]) -> None:
    with pytest.raises(ValueError):
        Shares(parts)


def test_a_burst_is_few_reloads() -> None:
    """500 changes in two seconds, each reload taking none: at most two."""
    rhythm, reloads = Pace(), []
    times = [i * 0.004 for i in range(500)]
    first: float | None = None
    reloaded, now, done = -1e9, 0.0, 0
    while done < len(times) and now < 60:
        waiting = [t for t in times[done:] if t <= now]
        if waiting:
            first = waiting[0] if first is None else first
            if rhythm.wait_s(first, waiting[-1], reloaded, now) == 0:
                reloads.append(now)
                done, first, reloaded = done + len(waiting), None, now
        now += 0.01
    assert done == 500 and len(reloads) <= 2


def test_many_members_renew_less_often() -> None:
    assert pace.lease_s(15.0, 100) == 15.0
    assert 10_000 / pace.renew_after_s(pace.lease_s(15.0, 10_000)) <= pace.RENEWALS_PER_S
    assert pace.lease_s(0.0, 10_000) == 0.0
