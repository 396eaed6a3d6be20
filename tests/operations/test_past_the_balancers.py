"""Clients with a connection for each request that come past the balancers are found."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pymysql
import pytest
from tests.servers.command import slackwater
from tests.servers.fixtures import as_app

from slackwater.lab.facts import LabFacts

pytestmark = [pytest.mark.servers, pytest.mark.one_flavour]


@contextlib.contextmanager
def requests(lab: LabFacts, address: str) -> Iterator[None]:
    """Three clients with a connection for each request, 50 a second or less, until the end."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.02):
            with contextlib.suppress(pymysql.Error, OSError):
                as_app(lab, address, "SELECT 1")

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_short_connections_past_the_balancer_are_a_refusal(lab: LabFacts) -> None:
    with requests(lab, lab.servers["a"]["address"]):
        said = slackwater(lab, "switchover").report
    assert said["outcome"] == "refused", said
    assert any("come past the balancers and end soon" in r for r in said["reasons"]), said
    with requests(lab, lab.balancers["lb1"]["frontend"]):
        assert slackwater(lab, "switchover").report["outcome"] == "done"


def test_who_comes_to_the_old_server_afterwards_is_in_the_report(lab: LabFacts) -> None:
    with requests(lab, lab.servers["a"]["address"]):
        said = slackwater(lab, "switchover", "--settle-bypassing").report
    assert said["outcome"] == "done", said
    seen = said["past_the_balancers"]
    assert seen["server"] == "a" and seen["connections"] >= 1, said
    said = slackwater(lab, "switchover").report
    assert "past_the_balancers" not in said, "nobody has come to b"
