"""Before anything is sent back to the old server, the new one is surely read-only."""

from __future__ import annotations

import asyncio

import pytest
from tests.servers.command import slackwater

from slackwater import config
from slackwater.errors import OutsideError, StepFailed
from slackwater.lab.facts import LabFacts
from slackwater.operations import servers_world
from slackwater.operations.pair_lock import claim
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.reopen import PROMOTING
from slackwater.operations.switchover.switchover import AimHold, HoldClients
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan.step import Seen

pytestmark = [pytest.mark.servers, pytest.mark.one_flavour]
LB = ("lb1",)


def test_a_hold_is_not_aimed_back_while_the_new_server_may_accept_writes(lab: LabFacts) -> None:
    async def aimed() -> list[str]:
        world = PairWorld(config.load(lab.config), "lab")
        step, found = AimHold(LB, "b", "a"), []

        async def note() -> None:
            hold = (await world.balancers["lb1"].look()).hold
            found.append(hold.back if hold else "nobody")

        try:
            await world.connect()
            await claim(world)
            await HoldClients(LB, "a", "b", 8.0).do(world)
            await step.do(world)
            a, b = await world.session("a"), await world.session("b")
            await mysql_server.set_read_only(a, True)
            await mysql_server.set_read_only(b, False)
            with pytest.raises(StepFailed, match="b may be accepting writes"):
                await step.undo(world)
            await note()
            await mysql_server.set_read_only(b, True)
            world.notes[PROMOTING] = "b"
            await step.undo(world)
            await note()
            await HoldClients(LB, "a", "b", 8.0).undo(world)
            await note()
        finally:
            await world.close()
        return found

    assert asyncio.run(aimed()) == ["b", "a", "nobody"]


def test_a_hold_that_stays_in_force_keeps_its_pin_until_its_deadline(lab: LabFacts) -> None:
    inject = "undo:HoldClients;before:FenceWrites;verify:FenceWrites"
    said = slackwater(lab, "switchover", "--hold", "2", "--grace", "0.5", inject=inject)
    assert said.report["outcome"] == "stuck"
    balancers = slackwater(lab, "status").report["balancers"]
    assert [b["hold"] for b in balancers.values()] == [None], "it ended while it was still held"


def test_a_hold_whose_pin_was_lost_is_no_hold(lab: LabFacts) -> None:
    async def look() -> None:
        world = PairWorld(config.load(lab.config), "lab")
        hold, aim = HoldClients(LB, "a", "b", 8.0), AimHold(LB, "b", "a")
        try:
            await world.connect()
            await claim(world)
            await hold.do(world)
            await aim.do(world)
            assert [await s.verify(world) for s in (hold, aim)] == [Seen.DONE, Seen.DONE]
            balancer = world.balancers["lb1"]
            await world.end_session("a", balancer.pin_session_id)
            async with asyncio.timeout(10):
                while balancer.pinned:
                    await asyncio.sleep(0.005)
            assert (await balancer.look()).holding, "to the balancer it looks like a hold"
            assert [await s.verify(world) for s in (hold, aim)] == [Seen.NOT_DONE, Seen.NOT_DONE]
            with pytest.raises(StepFailed, match="the pin was lost"):
                await aim.do(world)
            await hold.undo(world)
        finally:
            await world.close()

    asyncio.run(look())


def test_a_session_that_the_server_keeps_is_told_in_words(
    lab: LabFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It rolls back for a while; one that hangs in its lock is the same to who looks."""
    monkeypatch.setattr(servers_world, "END_LIMIT_S", 0.02)
    copy = "INSERT INTO slackwater_lab.kept SELECT UUID() FROM slackwater_lab.kept"

    async def look() -> None:
        world = PairWorld(config.load(lab.config), "lab")
        try:
            await world.connect()
            at_work, other = await world.servers["a"].fresh(), await world.session("a")
            await other.run("CREATE TABLE slackwater_lab.kept (x VARCHAR(40)) ENGINE=InnoDB")
            await other.run("INSERT INTO slackwater_lab.kept VALUES (UUID())")
            await at_work.run("BEGIN")
            for _ in range(17):
                await at_work.run(copy, limit_s=60)
            with pytest.raises(OutsideError, match=r"told to end .* still there"):
                await world.end_session("a", at_work.connection_id)
            monkeypatch.undo()
            await world.end_session("a", at_work.connection_id)
            await other.run("DROP TABLE slackwater_lab.kept")
        finally:
            await world.close()

    asyncio.run(look())
