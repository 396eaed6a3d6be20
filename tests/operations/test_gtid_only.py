"""A MySQL pair whose channels keep no positions on disk, by the statements of the how-to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.docs.generated import ROOT
from tests.operations.test_switchover import slackwater
from tests.servers.fixtures import as_app, end, root_of, sql
from tests.setup.stories import named

from slackwater.lab.instance import Instance
from slackwater.lab.up import up

pytestmark = pytest.mark.servers


def test_the_statements_of_the_howto_and_a_life_with_them(place: Path) -> None:
    directory = place / "lab"
    try:
        lab = up(server=root_of(named("mysql-9.7")), directory=directory)
        servers = {name: lab.instance(name) for name in "ab"}
        for name in "ba":
            for statement in _statements():
                sql(servers[name].socket, statement)
        front = lab.balancers["lb1"]["frontend"]
        sql(servers["a"].socket, "CREATE TABLE slackwater_lab.kept (n INT PRIMARY KEY)")
        for number, word in enumerate(("switchover", "switchover", "failover", "rejoin")):
            as_app(lab, front, "INSERT INTO slackwater_lab.kept VALUES (%s)", number)
            if word == "failover":
                servers["a"].kill()
            elif word == "rejoin":
                servers["a"].start()
            words = {"rejoin": ["pair", "rejoin"]}.get(word, [word])
            report = slackwater(lab, *words)
            assert report["outcome"] == "done", report
        for server in servers.values():
            assert sql(server.socket, "SELECT COUNT(*) AS n FROM slackwater_lab.kept") == [{"n": 4}]
            assert _gtid_only(server)
    finally:
        end(directory)


def _statements() -> list[str]:
    text = (ROOT / "docs/howto/set-up-a-pair.md").read_text(encoding="utf-8")
    block = re.search(r"```sql\n(.*?)```", text, re.DOTALL)
    assert block
    found = [line.rstrip(";") for line in block[1].splitlines()]
    assert len(found) == 3 and "GTID_ONLY = 1" in found[1]
    return found


def _gtid_only(server: Instance) -> bool:
    rows = sql(server.socket, "SELECT GTID_ONLY AS g FROM"
                              " performance_schema.replication_connection_configuration")
    return [row["g"] for row in rows] in (["YES"], ["1"], [1])
