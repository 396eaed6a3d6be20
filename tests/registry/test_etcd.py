"""What etcd is asked for: few transactions for many changes, none for a renewal, and one watch."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.registry import stores
from tests.registry.test_stores import of, record
from tests.servers.patience import PATIENCE

from slackwater.facts.pools import Pool
from slackwater.outside.registry.etcd import Etcd
from slackwater.outside.registry.store import Stale
from slackwater.outside.registry.store_etcd import EtcdStore
from slackwater.outside.registry.store_file import FileStore
from slackwater.service.registry.roster import Roster

Make = Callable[[], EtcdStore]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not shutil.which("etcd"):
        pytest.skip("etcd is not installed")
    with stores.etcd(tmp_path_factory.mktemp("e") / "etcd") as nodes:
        yield nodes[0].url


def run(url: str, test: Callable[[Make], Awaitable[None]]) -> None:
    """With stores that are closed at the end."""

    async def whole() -> None:
        made: list[EtcdStore] = []

        def make() -> EtcdStore:
            made.append(EtcdStore([url]))
            return made[-1]

        try:
            async with asyncio.timeout(40 * PATIENCE):
                await test(make)
        finally:
            for store in made:
                await store.close()

    asyncio.run(whole())


async def revision(url: str) -> int:
    """How many transactions etcd has had."""
    etcd = Etcd([url])
    try:
        return (await etcd.range("/", limit=1))[0]
    finally:
        await etcd.close()


async def until(look: Callable[[], bool]) -> None:
    while not look():
        await asyncio.sleep(0.01)


def test_many_changes_at_once_are_few_transactions(url: str) -> None:
    async def test(make: Make) -> None:
        store = make()
        await store.load()
        before = await revision(url)
        every = [record("a", f"w{i}", lease_s=600.0) for i in range(500)]
        await asyncio.gather(*(store.put(r) for r in every))
        assert len(of(await make().load(), "a")) == 500
        written = await revision(url)
        assert written - before <= 50
        await asyncio.gather(*(store.renew(r) for r in every))
        assert await revision(url) == written  # who is known to be alive costs nothing
        await asyncio.gather(*(store.remove("a", r.member.id) for r in every))
        assert await revision(url) - written <= 50
        assert of(await make().load(), "a") == {}

    run(url, test)


def test_of_two_registries_the_newer_word_of_a_member_counts(url: str) -> None:
    """Each goes by what it last heard; etcd says when that is not how it is any more."""

    async def test(make: Make) -> None:
        one, two = make(), make()
        for store in (one, two):
            await store.load()
        await one.put(record("b", boot=1, seq=1))
        await two.put(record("b", boot=1, seq=5, draining=True))  # without having heard of it
        with pytest.raises(Stale):
            await one.put(record("b", boot=1, seq=4))
        await two.remove("b", "w1")
        await one.put(record("b", boot=2, weight=3))
        assert of(await make().load(), "b")["w1"].member.weight == 3

    run(url, test)


def test_who_another_registry_hears_is_not_late_here(url: str, tmp_path: Path) -> None:
    """Though nothing changes in etcd while it is renewed, and nobody renews it here."""

    async def test(make: Make) -> None:
        rosters = [Roster(make(), {"c": Pool("c")}, last_good=FileStore(tmp_path / f"{i}.json"))
                   for i in range(2)]
        following = []
        for roster in rosters:
            await roster.start()
            following.append(asyncio.ensure_future(roster.follow()))
        hearing, other = rosters
        said = record("c", lease_s=3.0)
        await hearing.put(said)
        await until(lambda: "w1" in other.pools["c"])
        before, begun = await revision(url), time.monotonic()
        while time.monotonic() < begun + 3.6:
            await hearing.put(said)
            await asyncio.sleep(0.1)
            entry = other.entry(("c", "w1"))
            assert entry is not None and not entry.standing(time.monotonic()).late
        assert await revision(url) == before
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)

    run(url, test)


def test_a_registry_that_is_gone_vouches_for_nobody(url: str) -> None:
    async def test(make: Make) -> None:
        gone, other = make(), make()
        await gone.put(record("d", lease_s=3.0))
        await gone.close()
        assert (await other.load()).ages[("d", "w1")] == 0.0
        while (await other.load()).ages[("d", "w1")] <= 3.0:
            await other.wait(5.0)
        await other.renew(record("d", lease_s=3.0))
        assert (await other.load()).ages[("d", "w1")] < 3.0

    run(url, test)
