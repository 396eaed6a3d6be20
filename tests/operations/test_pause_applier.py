"""MariaDB's lock and its parallel applier can wait for each other for ever: never both at work."""

from __future__ import annotations

import asyncio

import pytest
from tests.servers.command import slackwater

from slackwater import config
from slackwater.errors import StepFailed
from slackwater.facts.backup import LockKind
from slackwater.lab.facts import LabFacts
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.switchover.pause_applier import PauseApplier
from slackwater.outside.mysql import backup_lock
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan.step import Seen

pytestmark = [pytest.mark.servers, pytest.mark.one_flavour]


def applies(lab: LabFacts, name: str) -> bool:
    async def look() -> bool:
        world = PairWorld(config.load(lab.config), "lab")
        try:
            await world.connect()
            status = await mysql_server.replica_status(await world.session(name))
            return all(s.sql_running for s in status)
        finally:
            await world.close()

    return asyncio.run(look())


def test_the_old_servers_applier_rests_while_its_tables_are_locked(lab: LabFacts) -> None:
    async def walk() -> list[bool]:
        world, step, running = PairWorld(config.load(lab.config), "lab"), PauseApplier("a"), []

        async def look() -> None:
            status = await mysql_server.replica_status(await world.session("a"))
            running.append(all(s.sql_running for s in status))

        try:
            await world.connect()
            session = await world.session("a")
            if not session.flavour.mariadb:
                pytest.skip("MariaDB's fault alone")
            assert await step.verify(world) is Seen.NOT_DONE
            await step.do(world)
            assert await step.verify(world) is Seen.DONE
            await look()
            await step.undo(world)
            await look()
        finally:
            await world.close()
        return running

    assert asyncio.run(walk()) == [False, True]


@pytest.mark.parametrize(("inject", "outcome"), [
    ("before:FenceWrites;verify:FenceWrites", "undone"), ("", "done"),
])
def test_it_applies_again_however_the_switchover_ends(
    lab: LabFacts, inject: str, outcome: str
) -> None:
    said = slackwater(lab, "switchover", inject=inject)
    assert said.report["outcome"] == outcome
    assert "PauseApplier" in [s["name"] for s in said.report["steps"]]
    assert applies(lab, "a") and applies(lab, "b")


def test_recover_starts_it_again(lab: LabFacts) -> None:
    assert slackwater(lab, "switchover", inject="killed:PauseApplier").code == -9
    said = slackwater(lab, "recover").report
    assert said["recovered"][0]["outcome"] == "undone"
    assert applies(lab, "a")


def test_a_snapshots_lock_on_tables_is_refused_beside_it(lab: LabFacts) -> None:
    async def take() -> None:
        world = PairWorld(config.load(lab.config), "lab")
        try:
            await world.connect()
            control = await world.session("b")
            if not control.flavour.mariadb:
                pytest.skip("MariaDB's fault alone")
            limits = {"hold_s": 2, "early_s": 1, "grace_s": 1, "control": control}
            with pytest.raises(StepFailed, match="for ever"):
                await backup_lock.take(control.at, LockKind.TABLES, **limits)
            held = await backup_lock.take(control.at, LockKind.COMMITS, **limits)
            await held.release()
        finally:
            await world.close()

    asyncio.run(take())
