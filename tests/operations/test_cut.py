"""Sessions at the end of the grace, and names that canaries do not share."""

from __future__ import annotations

import asyncio

import pytest
from tests.servers.fixtures import sql

from slackwater.errors import StepFailed
from slackwater.facts.server import ServerAddress
from slackwater.lab.instance import Instance
from slackwater.operations import canary
from slackwater.operations.switchover.settle_sessions import _cut
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import Session


@pytest.mark.servers
def test_a_session_that_is_not_ours_to_end_is_named(server: Instance) -> None:
    if server.program.is_mariadb or server.program.version < (8, 0, 16):
        pytest.skip("accounts with SYSTEM_USER are MySQL's, from 8.0.16 on")
    for statement in (
        "CREATE USER sw@localhost IDENTIFIED BY 'x'", "CREATE USER app@localhost",
        "GRANT PROCESS, CONNECTION_ADMIN ON *.* TO sw@localhost",
        "GRANT SYSTEM_USER ON *.* TO app@localhost",
    ):
        sql(server.socket, statement)

    async def cut() -> str:
        ours = ServerAddress("s", "sw", password="x", socket=str(server.socket))
        app = ServerAddress("s", "app", socket=str(server.socket))
        async with await Session.open(ours) as session, await Session.open(app):
            found = await mysql_server.client_sessions(session)
            with pytest.raises(StepFailed, match="may not end app@localhost") as told:
                await _cut(session, [s for s in found if s.user == "app"])
            return told.value.hint

    assert "GRANT SYSTEM_USER" in asyncio.run(cut())


def test_no_balancers_name_is_another_canarys_or_notes() -> None:
    for name in ("position", "follow", "rehearsal"):
        assert canary.road(name) not in ("follow", "rehearsal")
        assert canary.key(canary.road(name)) != canary.key(name) != name
    assert len(canary.road("x" * 99)) <= 64
