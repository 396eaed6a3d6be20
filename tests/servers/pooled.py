"""Sessions of the application that rest in a pool."""

from __future__ import annotations

from typing import Any

from tests.servers.fixtures import app_session

from slackwater.lab.facts import LabFacts


def pooled(lab: LabFacts, *statements: str) -> Any:
    """One through the lab's balancer that has said SELECT 1, and then these."""
    session = app_session(lab, lab.balancers["lb1"]["frontend"])
    session.select_db(lab.app["database"])
    for statement in ("SELECT 1", *statements):
        session.cursor().execute(statement)
    return session
