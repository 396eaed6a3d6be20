"""Ten thousand members in a hundred pools: renewals, memory, and the time of a pass."""

from __future__ import annotations

import asyncio
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.registry import stores

from slackwater.facts.members import Member, Record
from slackwater.facts.pools import Pool
from slackwater.outside.registry.store import Store
from slackwater.outside.registry.store_etcd import EtcdStore
from slackwater.outside.registry.store_file import FileStore
from slackwater.rules.registry import pace
from slackwater.rules.registry.leases import Limits
from slackwater.service.registry.keeper import Keeper
from slackwater.service.registry.roster import Roster

POOLS = 100


def measure(room: Path, members: int, rate: float, seconds: float) -> None:
    """Print a table. `rate`: renewals a second that are asked of it, one after the other."""
    print(f"{members} members in {POOLS} pools; leases of {pace.lease_s(15.0, members):.0f} s, "
          f"{3 * members / pace.lease_s(15.0, members):.0f} renewals a second in operation")
    print("| store | registered, a second | renewal, ms: median, p99 | pass over all, ms | "
          "start, ms | memory, MiB |\n|---|---|---|---|---|---|")
    with ExitStack() as stack:
        etcd = stack.enter_context(stores.etcd(room / "etcd"))
        made: dict[str, Callable[[], Store]] = {
            "file": lambda: FileStore(room / "members.json"),
            "etcd": lambda: EtcdStore([n.url for n in etcd]),
        }
        for name, make in made.items():
            files = None if name == "file" else room / name
            told = asyncio.run(_one(make, members, rate, seconds, files))
            print(f"| {name} | " + " | ".join(told) + " |", flush=True)


def _records(members: int) -> list[Record]:
    return [Record(Member(f"p{i % POOLS}", f"m{i}", f"10.{i // 65025}.{i // 255 % 255}.{i % 255}",
                          80), pace.lease_s(15.0, members)) for i in range(members)]


async def _one(
    make: Callable[[], Store], members: int, rate: float, seconds: float, files: Path | None
) -> list[str]:
    pools = {f"p{i}": Pool(f"p{i}") for i in range(POOLS)}
    # Beside a store on other machines the registry keeps two files of its own.
    kept = [FileStore(files / n) if files else None for n in ("last-good.json", "untold.json")]
    store = make()
    roster = Roster(store, pools, last_good=kept[0], untold=kept[1])
    await roster.start()
    keeper = Keeper(roster, dict.fromkeys(pools, Limits()), probe_s=2.0)
    records, slots = _records(members), asyncio.Semaphore(8)
    following = asyncio.ensure_future(roster.follow())

    async def put(record: Record) -> None:
        async with slots:
            await roster.put(record)

    begun = time.monotonic()
    await asyncio.gather(*(put(r) for r in records))
    while roster.away or roster.pending:  # a store that was slow is told what it lacks
        await asyncio.sleep(0.05)
    registered = members / (time.monotonic() - begun)
    for entries in roster.pools.values():
        for entry in entries.values():
            entry.admitted = True
    taken = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.monotonic()
        await roster.put(records[len(taken) % members])
        taken.append((time.monotonic() - begun) * 1000)
        await asyncio.sleep(max(0.0, 1 / rate - (time.monotonic() - begun)))
    await keeper.judge(every=True)
    begun = time.monotonic()
    await keeper.judge(every=True)
    passed_ms = (time.monotonic() - begun) * 1000
    fresh = make()
    again = Roster(fresh, pools)
    begun = time.monotonic()
    await again.start()
    started_ms = (time.monotonic() - begun) * 1000
    assert again.count == members, f"{again.count} came back: {again.away or again.faults}"
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await store.close()
    await fresh.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    p99 = statistics.quantiles(taken, n=100)[98]
    return [f"{registered:.0f}", f"{statistics.median(taken):.2f}, {p99:.2f}", f"{passed_ms:.0f}",
            f"{started_ms:.0f}", f"{memory:.0f}"]
