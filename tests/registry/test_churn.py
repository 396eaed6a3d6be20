"""Members come and go under load, and no request fails: `python -m bench.registry churn`, short."""

from __future__ import annotations

import asyncio

import pytest
from bench.registry.churn import Player, Tally, churn
from tests.registry.conftest import Serving
from tests.registry.rig import KINDS, Backend

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("kind", KINDS)
def test_members_come_and_go_and_no_request_fails(serving: Serving, kind: str) -> None:
    registry, made = serving(kind)
    tally = Tally()
    access = registry.key("fleet", any_member=True)
    backends = [Backend(f"w{i}") for i in range(8)]
    players = [Player(b, access, tally, "web") for b in backends]
    try:
        asyncio.run(churn(players, list(made.values()), tally, seconds=3, rate=40, every_s=0.3))
    finally:
        for each in backends:
            each.stop()
    assert tally.asked > 100 and sum(tally.acts.values()) > 3, tally.lines()
    assert tally.unexcused() == [], "\n".join([*tally.lines(), made[kind].said()])
