"""`recover` lets an operation rest only where the pair is in order, and not where it looks so."""

from __future__ import annotations

import asyncio
import contextlib

import pymysql
import pytest
from tests.servers.fixtures import arrives, sql

from slackwater import config
from slackwater.lab.facts import LabFacts
from slackwater.operations import agreed
from slackwater.operations.pair_world import PairWorld

pytestmark = [pytest.mark.servers, pytest.mark.one_flavour]


def who(lab: LabFacts) -> str | None:
    async def ask() -> str | None:
        world = PairWorld(config.load(lab.config), "lab")
        try:
            return await agreed.agreed(world)
        finally:
            await world.close()

    return asyncio.run(ask())


def test_threads_that_run_are_no_proof(lab: LabFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    assert who(lab) == "a"
    b = lab.servers["b"]["socket"]
    arrives(b, "SELECT 1 FROM slackwater.canary")
    with contextlib.closing(pymysql.connect(unix_socket=str(b), user="root")) as owner:
        owner.cursor().execute("LOCK TABLES slackwater.canary READ")
        monkeypatch.setattr(agreed, "ARRIVAL_LIMIT_S", 0.5)
        assert who(lab) is None, "both threads run, and no row arrives"
    monkeypatch.undo()
    assert who(lab) == "a"
    sql(b, "STOP SLAVE SQL_THREAD")
    assert who(lab) is None
