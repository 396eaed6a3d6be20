"""HAProxy is reloaded in the middle of a failover: what its file said then, it does later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.failover.scene import Scene, loaded
from tests.servers.fixtures import end, root_of
from tests.servers.patience import eventually
from tests.servers.slow_reload import SlowReload

from slackwater.lab.instance import Program
from slackwater.lab.load_record import ACKED
from slackwater.lab.up import up

pytestmark = [pytest.mark.servers, pytest.mark.one_flavour]


@pytest.fixture
def scene(program: Program, place: Path) -> Iterator[Scene]:
    """A pair of the first server that is installed."""
    directory = place / "lab"
    try:
        yield Scene(up(server=root_of(program), directory=directory), rate=40)
    finally:
        end(directory)


def sent_to(scene: Scene) -> str:
    """Where the balancer sends clients."""
    status, _, _ = scene.slackwater("status")
    return str(status["balancers"]["lb1"]["active"])


def test_one_that_read_the_file_before_it_was_written_leads_nobody_to_the_old_server(
    scene: Scene, tmp_path: Path
) -> None:
    """It hung, and wakes up writable: what clients wrote there would be lost."""
    reload = SlowReload(scene.lab, tmp_path)
    with loaded(scene) as load:
        scene.strike("hang")
        report, _, errors = scene.slackwater("failover", inject=f"run:NameNew:{reload.command}")
        assert report["outcome"] == "done", (report, errors)
        reload.takes_effect()
        scene.wake("hang")
        before = load.record.acked
        eventually(lambda: load.record.acked > before + 20, "clients write")
    assert sent_to(scene) == "b"
    record = load.record
    acked = {record.base + i for i, fate in enumerate(record.fates) if fate == ACKED}
    assert acked <= scene.numbers("b")


def test_one_that_read_the_new_file_is_outlasted_when_the_failover_is_undone(
    scene: Scene, tmp_path: Path
) -> None:
    """The passive stays read-only."""
    reload = SlowReload(scene.lab, tmp_path)
    scene.strike("hang")
    report, _, errors = scene.slackwater(
        "failover", inject=f"run:StopReceiving:{reload.command};before:ApplyReceived")
    assert report["outcome"] == "undone", (report, errors)
    reload.takes_effect()
    scene.wake("hang")
    assert sent_to(scene) == "a"
