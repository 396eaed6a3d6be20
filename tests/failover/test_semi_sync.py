"""Servers that a failover told not to wait for a replica's word wait again after the rejoin."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.failover.scene import Scene
from tests.servers.fixtures import end, root_of, sql
from tests.servers.patience import PATIENCE

from slackwater.cli.failover_text import rejoin_text
from slackwater.lab.instance import installed
from slackwater.lab.up import up
from slackwater.operations.failover.fence_old import NO_WAIT
from slackwater.operations.failover.rejoin import CLOSE, told_not_to_wait
from slackwater.plan.journal import Past

NAME = "mariadb-10.11"


def _past(operation: str, outcome: str, noted: list[str] | None = None, pair: str = "p") -> Past:
    events: list[dict[str, object]] = [{"event": "planned", "operation": operation, "pair": pair}]
    if noted is not None:
        events.append({"event": "noted", "key": NO_WAIT, "value": noted})
    return Past(Path("x"), (*events, {"event": "ended", "outcome": outcome}))


@pytest.mark.parametrize(("past", "names"), [
    ([_past("failover", "done", ["b"])], {"b"}),
    ([_past("failover", "done", ["b"]), _past("failover", "refused")], {"b"}),
    ([_past("failover", "done", ["b"]), _past(CLOSE, "done", ["a"])], {"a", "b"}),
    ([_past("failover", "done", ["b"]), _past("rejoin", "undone", ["a"])], {"a", "b"}),
    ([_past("failover", "undone", [])], set()),
    ([_past("failover", "done", ["b"]), _past("rejoin", "done", ["a"])], set()),
    ([_past("rejoin", "done", ["a"]), _past("failover", "done", ["a"])], {"a"}),
    ([_past("failover", "done", ["b"], pair="other"), _past("switchover", "done")], set()),
])
def test_who_was_told_not_to_wait_is_in_all_journals_since(
    past: list[Past], names: set[str]
) -> None:
    assert told_not_to_wait(past, "p") == names


def test_a_server_that_does_not_wait_is_named() -> None:
    assert "b does not wait" in rejoin_text({"semi_sync_off": ["b"]})
    assert "wait" not in rejoin_text({"semi_sync_off": []})


@pytest.mark.servers
def test_a_second_failover_that_was_refused_changes_nothing(place: Path) -> None:
    program = next((p for p in installed() if p.name == NAME), None)
    if program is None:
        pytest.skip(f"no {NAME}; see scripts/servers/get")
    directory = place / "lab"
    try:
        scene = Scene(up(server=root_of(program), directory=directory))
        scene.semi_sync()
        a, b = (scene.lab.servers[n]["socket"] for n in "ab")
        scene.strike("kill")
        for outcome in ("done", "refused"):
            report, _, errors = scene.slackwater("failover")
            assert report["outcome"] == outcome, (report, errors)
        scene.lab.instance("a").start(60 * PATIENCE)
        report, _, errors = scene.slackwater("pair", "rejoin")
        assert report["outcome"] == "done", (report, errors)
        assert report["semi_sync_on"] == ["b"] and report["semi_sync_off"] == ["a"], report
        waits = "SELECT @@rpl_semi_sync_master_enabled AS e"
        assert [sql(s, waits)[0]["e"] for s in (a, b)] == [0, 1]  # a's file does not say so
    finally:
        end(directory)
