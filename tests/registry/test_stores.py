"""The contract of stores, on each of them: a file, MariaDB and MySQL, etcd. All real."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.registry import stores
from tests.servers.patience import PATIENCE

from slackwater.errors import OutsideError
from slackwater.facts.members import Member, Record, Shares
from slackwater.outside.registry.store import Image, Stale, Store
from slackwater.outside.registry.store_etcd import EtcdStore
from slackwater.outside.registry.store_file import FileStore
from slackwater.outside.registry.store_mysql import MysqlStore

Make = Callable[[], Store]
KINDS = ["file", "etcd", *(p.name for p in stores.programs())]


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Make]]:
    """One server of each kind for all tests here; each test has pools of its own."""
    import shutil
    import tempfile

    place = Path(tempfile.mkdtemp(prefix="slackwater-test-")).resolve()
    place.chmod(0o711)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        made: dict[str, Make] = {"file": lambda: FileStore(place / "members.json")}
        if shutil.which("etcd"):
            nodes = stack.enter_context(stores.etcd(place / "etcd"))
            made["etcd"] = lambda: EtcdStore([n.url for n in nodes])
        for program in stores.programs():
            folder = place / program.name
            folder.mkdir(mode=0o711)
            server = stack.enter_context(stores.database(program, folder))
            made[program.name] = lambda s=server: MysqlStore(  # type: ignore[misc]
                stores.address(s), stores.DATABASE, poll_s=0.05)
        yield made


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, things: dict[str, Make]) -> Make:
    if request.param not in things:
        pytest.skip(f"{request.param} is not installed")
    return things[request.param]


def run(make: Make, test: Callable[[Store], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = make()
        try:
            async with asyncio.timeout(30 * PATIENCE):
                await test(store)
        finally:
            await store.close()

    asyncio.run(whole())


def record(pool: str, name: str = "w1", **more: object) -> Record:
    order = {k: more.pop(k) for k in ("lease_s", "boot", "seq") if k in more}
    return Record(Member(pool, name, "10.0.0.7", 8080, **more), **order)  # type: ignore[arg-type]


def of(image: Image, pool: str) -> dict[str, Record]:
    return {r.member.id: r for r in image.records if r.member.pool == pool}


def test_what_is_put_is_there_for_the_next_one_too(make: Make) -> None:
    said = [record("a", "w1", weight=7, colour="blue", boot=5, seq=9),
            record("a", "w.2_x-3", draining=True, lease_s=0.0),
            Record(Member("a", "six", "2001:db8::7", 80, 100), 3600.0)]

    async def test(store: Store) -> None:
        for each in said:
            await store.put(each)
        other = make()
        try:
            assert of(await other.load(), "a") == {r.member.id: r for r in said}
        finally:
            await other.close()

    run(make, test)


def test_put_again_changes_it(make: Make) -> None:
    async def test(store: Store) -> None:
        await store.put(record("b", weight=7))
        await store.put(record("b", weight=9))
        assert of(await store.load(), "b")["w1"].member.weight == 9

    run(make, test)


def test_the_same_put_twice_is_no_error(make: Make) -> None:
    async def test(store: Store) -> None:
        for _ in range(2):
            await store.put(record("c", boot=3, seq=4))

    run(make, test)


@pytest.mark.parametrize("older", [(3, 3), (2, 99)])
def test_what_is_older_is_refused(make: Make, older: tuple[int, int]) -> None:
    async def test(store: Store) -> None:
        pool = f"d{older[0]}"
        await store.put(record(pool, boot=3, seq=4, draining=True))
        with pytest.raises(Stale):
            await store.put(record(pool, boot=older[0], seq=older[1]))
        assert of(await store.load(), pool)["w1"].member.draining
        await store.put(record(pool, boot=4, seq=0))
        assert not of(await store.load(), pool)["w1"].member.draining

    run(make, test)


def test_who_does_not_number_is_taken_at_its_word(make: Make) -> None:
    async def test(store: Store) -> None:
        await store.put(record("e", boot=3, seq=4))
        await store.put(record("e", weight=2))
        assert of(await store.load(), "e")["w1"].member.weight == 2

    run(make, test)


def test_remove_and_remove_again(make: Make) -> None:
    async def test(store: Store) -> None:
        await store.put(record("f"))
        for _ in range(2):
            await store.remove("f", "w1")
        assert of(await store.load(), "f") == {}

    run(make, test)


def test_who_was_just_heard_is_not_removed_for_silence(make: Make) -> None:
    """Another registry may have heard it. A file has one registry only."""

    async def test(store: Store) -> None:
        await store.put(record("g", lease_s=60.0))
        await store.renew(record("g", lease_s=60.0))
        await store.remove("g", "w1", silent_s=60.0)
        there = of(await store.load(), "g")
        assert there == {} if isinstance(store, FileStore) else "w1" in there

    run(make, test)


def test_a_renewal_of_what_was_wiped_brings_it_back(make: Make) -> None:
    async def test(store: Store) -> None:
        await store.put(record("h"))
        await store.remove("h", "w1")
        await store.renew(record("h"))
        assert "w1" in of(await store.load(), "h")

    run(make, test)


def test_ages_tell_who_was_heard(make: Make) -> None:
    async def test(store: Store) -> None:
        await store.put(record("i", lease_s=60.0))
        age = (await store.load()).ages.get(("i", "w1"), 0.0)
        assert 0.0 <= age < 60.0

    run(make, test)


def test_shares_change_one_revision_at_a_time(make: Make) -> None:
    async def test(store: Store) -> None:
        first = Shares((("blue", 90), ("green", 10)), 1)
        assert await store.put_shares("j", first)
        assert not await store.put_shares("j", Shares((("blue", 100),), 1))
        assert not await store.put_shares("j", Shares((("blue", 100),), 3))
        assert (await store.load()).shares["j"] == first
        assert await store.put_shares("j", Shares((), 2))
        assert (await store.load()).shares["j"] == Shares((), 2)

    run(make, test)


def test_many_at_once(make: Make) -> None:
    async def test(store: Store) -> None:
        every = [record("k", f"w{i}") for i in range(60)]
        await asyncio.gather(*(store.put(r) for r in every))
        assert len(of(await store.load(), "k")) == 60
        await asyncio.gather(*(store.remove("k", r.member.id) for r in every))
        assert of(await store.load(), "k") == {}

    run(make, test)


def test_of_two_who_change_shares_one_wins(make: Make) -> None:
    async def test(store: Store) -> None:
        both = [Shares((("blue", 100),), 1), Shares((("green", 100),), 1)]
        kept = await asyncio.gather(*(store.put_shares("l", s) for s in both))
        assert sorted(kept) == [False, True]

    run(make, test)


def test_a_change_of_others_is_seen(make: Make) -> None:
    async def test(store: Store) -> None:
        if isinstance(store, FileStore):
            assert await store.wait(0.01) is False  # nobody else writes there
            return
        await store.load()
        waiting = asyncio.ensure_future(store.wait(20 * PATIENCE))
        other = make()
        try:
            await other.put(record("m"))
        finally:
            await other.close()
        assert await waiting is True
        assert "w1" in of(await store.load(), "m")

    run(make, test)


def test_an_etcd_lease_that_ends_is_a_suspicion_only(things: dict[str, Make]) -> None:
    """The member stays; that it was not heard is told."""
    if "etcd" not in things:
        pytest.skip("etcd is not installed")

    async def test(store: Store) -> None:
        await store.put(record("n", lease_s=3.0))
        async with asyncio.timeout(30 * PATIENCE):
            while (await store.load()).ages[("n", "w1")] <= 3.0:
                await store.wait(5.0)
        assert "w1" in of(await store.load(), "n")
        await store.renew(record("n", lease_s=3.0))
        assert (await store.load()).ages[("n", "w1")] < 1.0

    run(things["etcd"], test)


@pytest.mark.parametrize("store", [
    MysqlStore(stores.ServerAddress(name="x", user="u", host="127.0.0.1", port=9), "d"),
    EtcdStore(["http://127.0.0.1:9"]),
    FileStore(Path("/proc/nowhere/members.json")),
], ids=lambda s: type(s).__name__)
def test_a_store_that_is_away_says_so(store: Store) -> None:
    async def test(store: Store) -> None:
        with pytest.raises(OutsideError):
            await store.put(record("a"))
        with pytest.raises(OutsideError):
            await store.put_shares("a", Shares((), 1))

    run(lambda: store, test)
