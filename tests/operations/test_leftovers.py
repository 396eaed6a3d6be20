"""Nobody stays on the demoted server, where every write of its would fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from tests.servers.command import slackwater
from tests.servers.fixtures import app_session, sql
from tests.servers.patience import eventually

from slackwater import config
from slackwater.lab.facts import LabFacts
from slackwater.operations.pair_world import PairWorld

pytestmark = [pytest.mark.servers, pytest.mark.one_flavour]
Found = TypeVar("Found")


def in_world(lab: LabFacts, act: Callable[[PairWorld], Awaitable[Found]]) -> Found:
    async def run() -> Found:
        world = PairWorld(config.load(lab.config), "lab")
        try:
            await world.connect()
            return await act(world)
        finally:
            await world.close()

    return asyncio.run(run())


def of_the_application(lab: LabFacts, server: str) -> int:
    counted = "SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST WHERE USER = 'app'"
    return int(sql(lab.servers[server]["socket"], counted)[0]["n"])


def test_recover_closes_who_came_to_the_old_server_after_the_commit_point(lab: LabFacts) -> None:
    said = slackwater(lab, "switchover", "--hold", "2", inject="kill:SendClients")
    assert said.code == -9, said.errors

    async def as_its_old_file_says(world: PairWorld) -> None:
        # What a restart of HAProxy does at this moment: its file still names a.
        await world.balancers["lb1"].look()
        await world.balancers["lb1"].release(to="a")

    in_world(lab, as_its_old_file_says)
    with app_session(lab, lab.balancers["lb1"]["frontend"]):
        assert of_the_application(lab, "a") == 1
        recovered = slackwater(lab, "recover").report
        assert recovered["outcome"] == "done", recovered
        states = {s["name"]: s["state"] for s in recovered["steps"]}
        assert states["CloseLeftovers"] == "done"
        eventually(lambda: of_the_application(lab, "a") == 0, "the pool's session has ended")


def test_a_closing_that_never_came_about_is_not_said_to_be_done(lab: LabFacts) -> None:
    said = slackwater(lab, "switchover", inject="before:CloseLeftovers").report
    assert said["outcome"] == "stuck"
    assert any(r.startswith("CloseLeftovers: ") for r in said["reasons"]), said
    assert slackwater(lab, "recover").report["outcome"] == "done"
