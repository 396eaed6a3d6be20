"""A server whose commits wait for a dead server's word (semi-sync) can still be looked at."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from tests.failover.scene import Scene
from tests.failover.stuck import commits_wait
from tests.servers.fixtures import arrives, end, root_of, sql
from tests.servers.patience import PATIENCE

from slackwater.facts.failover import SemiSync
from slackwater.facts.server import ServerAddress
from slackwater.lab.instance import installed
from slackwater.lab.up import up
from slackwater.operations.failover import fence_old
from slackwater.operations.pair_world import PairWorld
from slackwater.outside.mysql import semi_sync
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import Session
from slackwater.plan.wait import wait_until

pytestmark = pytest.mark.servers


NAME = "mariadb-10.11"  # a MySQL server tells where its binary log is meanwhile


def test_the_passive_is_promoted_though_its_own_commits_wait(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its appliers do so when the old server hangs: that is its replica."""
    program = next((p for p in installed() if p.name == NAME), None)
    if program is None:
        pytest.skip(f"no {NAME}; see scripts/servers/get")
    directory = place / "lab"
    try:
        scene = Scene(up(server=root_of(program), directory=directory))
        scene.semi_sync()
        a, b = (scene.lab.servers[n]["socket"] for n in "ab")
        sql(a, "CREATE DATABASE stuck")
        sql(a, "CREATE TABLE stuck.t (id INT AUTO_INCREMENT PRIMARY KEY)")
        arrives(b, "SHOW TABLES IN stuck")
        scene.lab.instance("a").pause()
        with commits_wait(scene, "b"):
            asyncio.run(_looked_at(b))
            report, _, errors = scene.slackwater("failover")
            assert report["outcome"] == "done", (report, errors)
        # The old one's own commits wait as well when it wakes up: it is seen in spite of that.
        for statement in ("SET GLOBAL rpl_semi_sync_master_enabled = 0", "STOP SLAVE",
                          "RESET SLAVE ALL", "SET GLOBAL rpl_semi_sync_master_enabled = 1"):
            sql(a, statement)
        with commits_wait(scene, "a"):
            report, _, errors = scene.slackwater("pair", "rejoin")
            assert report["outcome"] == "refused", (report, errors)
            assert "a has 0 replication channels" in report["reasons"][0], report["reasons"]
            asyncio.run(_freed(a, monkeypatch))
            sql(a, "SET GLOBAL rpl_semi_sync_master_enabled = 0")
    finally:
        end(directory)


async def _looked_at(socket: str) -> None:
    at = ServerAddress("b", "root", socket=socket)
    async with await Session.open(at) as session:
        found = await mysql_server.look(session, "b", limit_s=3 * PATIENCE)
        assert found.executed and found.replication


async def _freed(socket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait that goes on although it was switched off, which happens to one of some ten thousand
    commits, is ended, and told. Here it is on: only a look says otherwise."""
    told: list[dict[str, str]] = []
    world = cast("PairWorld", SimpleNamespace(tell=told.append))
    look = semi_sync.look

    async def switched_off(session: Session, *, limit_s: float = 3.0) -> SemiSync | None:
        found = await look(session, limit_s=limit_s)
        return found and replace(found, source=False)

    async with await Session.open(ServerAddress("a", "root", socket=socket)) as session:
        await fence_old._free(world, "a", session)
        assert not told, "those that it is meant for are not disturbed"
        waiters = await semi_sync.waiting(session)
        assert waiters
        monkeypatch.setattr(semi_sync, "look", switched_off)
        await fence_old._free(world, "a", session)
        assert [f"worker {w} waited" in t["text"] for w, t in zip(waiters, told, strict=True)]

        async def left() -> int:
            return len(set(waiters) & {*await semi_sync.waiting(session)})

        await wait_until(left, lambda n: n == 0, limit_s=10 * PATIENCE, what="its end")
