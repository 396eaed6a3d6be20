"""Whatever fails, traffic goes to who lives: registry, file, disk, store, net."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.registry import stores
from tests.registry.conftest import Serving
from tests.registry.rig import Backend, Registry, backends
from tests.servers.patience import PATIENCE, eventually

from slackwater.outside.registry.client import Access, Client

pytestmark = pytest.mark.servers


@pytest.fixture
def five() -> Iterator[dict[str, Backend]]:
    with backends([f"w{i}" for i in range(5)]) as made:
        yield made


KEYS: dict[tuple[str, str], Access] = {}


def ask(registry: Registry, *requests: tuple[str, str, dict[str, Any] | None],
        key: str = "fleet") -> list[dict[str, Any]]:
    """Requests at once."""
    if (registry.url, key) not in KEYS:
        KEYS[registry.url, key] = registry.key(key, any_member=True)
    access = KEYS[registry.url, key]

    async def every() -> list[dict[str, Any]]:
        client = Client(access, limit_s=60)
        try:
            return await asyncio.gather(*(client.ask(*r) for r in requests))
        finally:
            await client.close()

    return asyncio.run(every())


def join(registry: Registry, made: dict[str, Backend], **more: object) -> list[dict[str, Any]]:
    """Register all of them, in effect."""
    return ask(registry, *(
        ("PUT", f"/v1/pools/web/members/{n}?wait=applied&timeout=20", {"port": b.port, **more})
        for n, b in made.items()))


def pool(registry: Registry) -> dict[str, Any]:
    return ask(registry, ("GET", "/v1/pools/web", None))[0]


def test_the_registry_is_killed_and_its_file_is_damaged(
    serving: Serving, five: dict[str, Backend]
) -> None:
    registry, made = serving("haproxy", limits=f"come_back = {4 * PATIENCE}")
    balancer = made["haproxy"]
    assert all(a["applied"] and a["stored"] for a in join(registry, five))
    registry.kill()
    assert balancer.names(15) == set(five)  # it is not needed for traffic
    file = registry.state / "members.json"
    file.write_bytes(file.read_bytes()[:-20] + b"x" * 20)
    registry.start()
    report = pool(registry)
    assert "damaged" in " ".join(report["store"]["faults"])
    assert balancer.names(15) == set(five)
    registry.kill()
    for each in (file, file.with_name("members.json.copy")):
        each.write_text("{")
    registry.start()
    # Nothing is known: what the balancer has stays, until members had time to renew.
    assert pool(registry)["members"] == []
    assert balancer.names(15) == set(five)
    join(registry, five)
    assert balancer.names(15) == set(five)


def test_the_disk_is_full(serving: Serving, five: dict[str, Backend], room: Path) -> None:
    small = room / "registry" / "state"
    small.mkdir(parents=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)],
                           capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        small.chmod(0o700)
        registry, made = serving("haproxy")
        key = registry.key("fleet", any_member=True)
        rest = small / "rest"
        with pytest.raises(OSError), rest.open("wb") as file:
            while True:
                file.write(b"x" * 512)
                file.flush()

        async def put() -> dict[str, Any]:
            client = Client(key)
            try:
                return await client.ask("PUT", "/v1/pools/web/members/w0?wait=applied&timeout=20",
                                        {"port": five["w0"].port})
            finally:
                await client.close()

        async def leave() -> None:
            client = Client(key)
            try:
                answer = await client.ask("DELETE", "/v1/pools/web/members/w0")
                assert not answer["stored"]
            finally:
                await client.close()

        answer = asyncio.run(put())
        assert not answer["stored"] and answer["applied"]
        assert made["haproxy"].names(3) == {"w0"}
        rest.unlink()
        eventually(lambda: '"id":"w0"' in _text(small / "members.json"), "it is written after all")
        with pytest.raises(OSError), rest.open("wb") as file:
            while True:
                file.write(b"x" * 512)
                file.flush()
        asyncio.run(leave())
        rest.unlink()
        eventually(lambda: '"id":"w0"' not in _text(small / "members.json"), "and taken out")
        registry.stop()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_one_lease_ends_and_then_most_of_them(
    serving: Serving, five: dict[str, Backend]
) -> None:
    """One member dies: its lease ends, and it is forgotten. A partition: four of five agents are
    cut off from the registry, and the balancer reaches their servers: they are kept."""
    registry, made = serving("haproxy", "nginx")
    join(registry, five, lease=3)
    rest = {n: b for n, b in five.items() if n != "w1"}
    five["w1"].kill()

    def gone() -> bool:
        join(registry, rest, lease=3)
        return "w1" not in {m["id"] for m in pool(registry)["members"]}

    eventually(gone, "it is forgotten", limit_s=60)
    for balancer in made.values():
        assert balancer.names(15) == set(rest)
    eventually(lambda: "server w1 " not in made["haproxy"].file.read_text(), "and in the file")

    five["w1"].start()
    join(registry, five, lease=3)
    stay = ("PUT", "/v1/pools/web/members/w0", {"port": five["w0"].port, "lease": 3})

    def frozen() -> bool:
        ask(registry, stay)
        return bool(pool(registry)["frozen"])

    eventually(frozen, "the pool is frozen", limit_s=60)
    five["w4"].kill()  # dead, among the silent
    for balancer in made.values():
        eventually(lambda b=balancer: b.names(15) == set(five) - {"w4"},  # type: ignore[misc]
                   "the living serve")
    five["w4"].start()

    def thawed() -> bool:
        join(registry, five, lease=60)
        return not pool(registry)["frozen"]

    eventually(thawed, "the pool is not frozen any more")
    for balancer in made.values():
        eventually(lambda b=balancer: b.names(15) == set(five),  # type: ignore[misc]
                   "all serve again")


def test_a_burst_of_registrations_is_few_reloads(serving: Serving) -> None:
    """Five hundred at once; half a dozen real servers on many addresses."""
    registry, made = serving("nginx")
    before = made["nginx"].reloads
    with backends(["one"]) as real:
        port = real["one"].port

        access = registry.key("burst", role="admin")

        async def burst() -> None:
            client = Client(access, limit_s=60)
            limit = asyncio.Semaphore(50)

            async def one(i: int) -> None:
                async with limit:
                    await client.ask("PUT", f"/v1/pools/web/members/m{i}", {
                        "address": f"127.0.{i // 250}.{i % 250 + 1}", "port": port, "lease": 600})

            try:
                await asyncio.gather(*(one(i) for i in range(500)))
            finally:
                await client.close()

        asyncio.run(burst())
        # None of these addresses but one has a listener: they are known, and not shown.
        assert len(pool(registry)["members"]) == 500
    assert made["nginx"].reloads - before <= 2


def test_a_reload_by_others_loses_nothing(serving: Serving, five: dict[str, Backend]) -> None:
    registry, made = serving("haproxy")
    join(registry, five)
    balancer = made["haproxy"]
    eventually(lambda: all(f"server {n} " in balancer.file.read_text() for n in five), "the file")
    registry.kill()
    subprocess.run([balancer.reload], check=True, timeout=30)
    assert balancer.names(15) == set(five)


def test_haproxy_gets_the_settings_of_its_backends(
    serving: Serving, five: dict[str, Backend]
) -> None:
    """They are in the file only: what the process was started with, or had before, is reloaded.

    With them a request that a dead member refuses goes to another at once.
    """
    registry, made = serving("haproxy")
    balancer = made["haproxy"]
    first = balancer.workers()
    join(registry, five)
    eventually(lambda: balancer.workers() and not balancer.workers() & first,
               "it was started with another backend, and is reloaded")
    five["w1"].kill()
    assert balancer.names(15) == set(five) - {"w1"}
    five["w1"].start()

    def again() -> None:
        registry.stop()
        registry.start()
        assert join(registry, five, weight=20)[0]["applied"]
        eventually(lambda: balancer.file.read_text().count(" weight 20 ") == 5, "the file")
        ask(registry, ("DELETE", "/v1/pools/web/members/w4?wait=applied&timeout=20", None))
        eventually(lambda: "server w4 " not in balancer.file.read_text(), "the file, again")

    again()
    assert balancer.reloads == 1
    text = registry.config.read_text()
    registry.config.write_text(text.replace("[pools.web]\n", "[pools.web]\ntimeout = 59\n"))
    again()
    assert "timeout server 59s" in balancer.file.read_text()
    eventually(lambda: balancer.reloads == 2, "the changed limit is reloaded")


def test_a_registry_that_is_killed_before_the_reload_does_it_when_it_is_back(
    serving: Serving, five: dict[str, Backend]
) -> None:
    registry, made = serving("haproxy")
    balancer = made["haproxy"]
    assert join(registry, five)[0]["applied"]
    eventually(lambda: all(f"server {n} " in balancer.file.read_text() for n in five), "the file")
    registry.stop()
    reload, before = Path(balancer.reload), balancer.reloads
    script = reload.read_text()
    reload.write_text("#!/bin/sh\nkill -9 $PPID\n")
    registry.config.write_text(
        registry.config.read_text().replace("[pools.web]\n", "[pools.web]\ntimeout = 59\n"))
    registry.start(wait=False)
    assert registry.process is not None
    assert registry.process.wait(60 * PATIENCE) == -signal.SIGKILL
    assert "timeout server 59s" in balancer.file.read_text()  # so nothing in the file says it
    reload.write_text(script)
    registry.start()
    eventually(lambda: balancer.reloads == before + 1, "it is reloaded")
    assert balancer.names(15) == set(five)
    registry.stop()
    registry.start()
    assert join(registry, {"w0": five["w0"]}, weight=20)[0]["applied"]
    eventually(lambda: " weight 20 " in balancer.file.read_text(), "the file")
    assert balancer.reloads == before + 1  # once


def test_members_with_long_leases_may_take_long_to_come_back(
    serving: Serving, five: dict[str, Backend]
) -> None:
    """What was known is lost, and again before all are back: the balancer waits for their renewal,
    not for limits.come_back, which is shorter."""
    registry, made = serving("haproxy", limits="come_back = 0.1")
    balancer, short = made["haproxy"], {"w0": five["w0"]}
    join(registry, {n: b for n, b in five.items() if n not in short}, lease=12)
    join(registry, short, lease=3)
    note = registry.state / "longest-lease.json"
    eventually(lambda: '"longest_lease": 16.0' in _text(note), "it is noted")
    eventually(lambda: all(f"server {n} " in balancer.file.read_text() for n in five), "the file")
    registry.kill()
    for file in registry.state.glob("members.json*"):
        file.unlink()
    registry.start()
    ask(registry, ("PUT", "/v1/pools/web/members/w0", {"port": five["w0"].port, "lease": 3}))
    registry.kill()
    registry.start()
    assert '"longest_lease": 16.0' in _text(note)
    assert {m["id"] for m in pool(registry)["members"]} == {"w0"}
    said = pool(registry)["balancers"][0]
    assert "left as it is" in said["trouble"] and balancer.names(15) == set(five)
    eventually(lambda: balancer.names(15) == {"w0"}, "who does not come back is gone in the end")


def test_the_leader_of_etcd_is_killed(
    serving: Serving, five: dict[str, Backend], room: Path
) -> None:
    with stores.etcd(room / "etcd", 3) as nodes:
        urls = json.dumps([n.url for n in nodes])
        registry, made = serving("haproxy", store=(
            f'[store]\nkind = "etcd"\nendpoints = {urls}\n'))
        some = {n: five[n] for n in ("w0", "w1")}
        join(registry, some)
        leader = _leader(nodes)
        leader.stop()
        assert made["haproxy"].names(10) == set(some)
        join(registry, five)  # at once, by this registry's own memory
        assert made["haproxy"].names(15) == set(five)
        eventually(lambda: not pool(registry)["store"]["pending"]
                   and not pool(registry)["store"]["away"], "the cluster has everything")
        for node in nodes:
            node.stop()  # all of it is gone
        eventually(lambda: pool(registry)["store"]["away"], "it is known to be away")
        assert made["haproxy"].names(15) == set(five)


def _leader(nodes: list[stores.EtcdNode]) -> stores.EtcdNode:
    import urllib.request

    for node in nodes:
        asked = urllib.request.Request(f"{node.url}/v3/maintenance/status", data=b"{}")
        with urllib.request.urlopen(asked, timeout=10) as answer:
            said = json.loads(answer.read())
        if said["leader"] == said["header"]["member_id"]:
            return node
    raise AssertionError("no leader")
