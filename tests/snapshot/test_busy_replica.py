"""A replica that applies what its source writes, while it is frozen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.fixtures import end, root_of, sql
from tests.servers.patience import PATIENCE, eventually
from tests.snapshot import cli
from tests.snapshot.real import TWO, Reader, Writer, program

from slackwater.lab.facts import LabFacts
from slackwater.lab.instance import Instance
from slackwater.lab.up import up

pytestmark = pytest.mark.servers
WRITERS, TIMES = 4, 3


@pytest.fixture(params=TWO)
def lab(request: pytest.FixtureRequest, place: Path) -> Iterator[LabFacts]:
    found = program(request.param)
    try:
        yield up(server=root_of(found), directory=place / "lab")
    finally:
        end(place / "lab")


def rows(it: Instance) -> int:
    return int(sql(it.socket, "SELECT COUNT(*) AS N FROM slackwater_lab.x")[0]["N"])


def test_a_busy_replica_is_frozen_and_goes_on(lab: LabFacts) -> None:
    """It stands while it is frozen, its readers do not, and it has caught up afterwards; what is
    recorded is how far it had applied its source's writes."""
    a, b = (Instance.load(Path(lab.directory) / name) for name in ("a", "b"))
    where = "--server", "b", "--config", Path(lab.directory) / "slackwater.toml"
    sql(a.socket, "CREATE TABLE slackwater_lab.x (id INT PRIMARY KEY AUTO_INCREMENT, v INT)")
    writers = [Writer(a, "slackwater_lab.x") for _ in range(WRITERS)]
    try:
        for _ in range(TIMES):
            eventually(lambda: rows(b) > 3, "replication")
            with Reader(b, "slackwater_lab.x") as reader:
                code, said = cli.ask("freeze", *where, "--within", f"{20 * PATIENCE:g}s")
                assert code == 0, said
                frozen = rows(b)
                for writer in writers:
                    writer.wait_more(10)
                assert rows(b) == frozen
                code, thawed = cli.ask("thaw", *where)
            assert code == 0, thawed
            assert reader.longest_s < 1.0 * PATIENCE
            sources = said["servers"][0]["coordinates"]["sources"]
            assert sources[0]["port"] == a.port
            assert sources[0]["file"]
            eventually(lambda before=frozen: rows(b) > before, "replication goes on")
    finally:
        acked = sum(len(w.stop()) for w in writers)
    assert not [w.error for w in writers if w.error]
    eventually(lambda: rows(b) >= acked, "the replica has caught up", limit_s=60)
