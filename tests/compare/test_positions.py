"""Where a position does not say what it seems to: no difference, and no lag, is made up of that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.compare.scene import compared, connection, sock
from tests.heartbeat.test_heartbeat import measured, service
from tests.servers.command import slackwater
from tests.servers.fixtures import end, root_of
from tests.servers.patience import eventually
from tests.setup.stories import named

from slackwater.errors import OutsideError
from slackwater.lab.facts import LabFacts
from slackwater.lab.up import up
from slackwater.rules.compare import Pace

pytestmark = pytest.mark.servers


@pytest.fixture
def own(request: pytest.FixtureRequest, place: Path) -> Iterator[LabFacts]:
    """A pair for this test alone, with a table."""
    lab = up(server=root_of(named(request.param)), directory=place / "lab")
    try:
        do(lab, "a", "CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY, v INT)",
           "INSERT INTO shop.t VALUES (1, 1)")
        eventually(lambda: compared(lab, "shop.t").equal, "the table on b")
        yield lab
    finally:
        end(place / "lab")


def do(lab: LabFacts, name: str, *statements: str) -> None:
    """As root on one of the servers."""
    with connection(sock(lab, name)) as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.mark.parametrize("own", ["mariadb-10.11"], indirect=True)
def test_what_a_copy_wrote_by_mistake_is_not_what_the_reference_wrote(own: LabFacts) -> None:
    """Numbers of one domain: those of the copy are higher, and it lacks three transactions."""
    for name in "ab":
        do(own, name, "STOP ALL SLAVES")
    do(own, "b", *["FLUSH TABLES"] * 8)
    do(own, "a", "INSERT INTO shop.t VALUES (2, 2)", "UPDATE shop.t SET v = 5 WHERE id = 1")
    assert measured(own).ms is None
    found = compared(own, "shop.t")
    assert found.equal is None and "replication does not run" in found.stopped, found


@pytest.mark.parametrize("own", ["mysql-9.7"], indirect=True)
def test_transactions_without_gtids(own: LabFacts) -> None:
    for name in "ab":
        do(own, name, "STOP REPLICA",
           "CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION=0, GTID_ONLY=0")
    for mode in ("ON_PERMISSIVE", "OFF_PERMISSIVE"):
        for name in "ab":
            do(own, name, f"SET GLOBAL gtid_mode = {mode}")
    do(own, "b", "START REPLICA IO_THREAD")  # b receives what follows, and does not apply it
    do(own, "a", "INSERT INTO shop.t VALUES (2, 2)", "UPDATE shop.t SET v = 5 WHERE id = 1")
    assert measured(own).ms is None
    with pytest.raises(OutsideError, match="gtid_mode is OFF_PERMISSIVE: no GTID set") as told:
        compared(own, "shop.t")
    assert "pair setup" in told.value.hint
    done = slackwater(own, "pair", "compare", "--tables", "shop.t")
    assert done.code == 3 and "gtid_mode" in done.errors, done


@pytest.mark.parametrize("own", ["mariadb-10.11", "mysql-9.7"], indirect=True)
def test_a_copy_that_is_told_to_lag_is_not_waited_for_without_end(own: LabFacts) -> None:
    """What it lags beyond its delay counts; and where replication stands, that is said."""
    new = own.program.startswith("mysql")
    stop, start, change = ("STOP REPLICA", "START REPLICA", "CHANGE REPLICATION SOURCE TO SOURCE"
                           ) if new else ("STOP SLAVE", "START SLAVE", "CHANGE MASTER TO MASTER")
    pace = Pace(rest=0.0, max_lag_s=1.0, max_running=1000)
    do(own, "b", stop, f"{change}_DELAY=3", start)
    told: list[str] = []
    stopped = asyncio.Event()

    def tell(event: dict[str, Any]) -> None:
        told.append(str(event.get("text", "")))
        if sum("resting" in text for text in told) > 20:
            stopped.set()

    with service(own):
        eventually(lambda: (measured(own).ms or 0) > 2000, "a lag of more than two seconds")
        assert compared(own, "shop.t", pace=pace, tell=tell, stop=stopped).equal, told
        do(own, "b", f"{stop} SQL_THREAD")
        eventually(lambda: (measured(own).ms or 0) > 4500, "a lag beyond the delay")
        found = compared(own, "shop.t", pace=pace, tell=tell, stop=stopped)
        assert "replication does not run" in found.stopped
