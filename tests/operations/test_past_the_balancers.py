"""Clients with a connection for each request that come past the balancers are found."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator

import pymysql
import pytest
from tests.servers.command import slackwater
from tests.servers.fixtures import app_session, as_app, sql
from tests.sweep.front import Front

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


def test_whom_the_balancer_tells_the_server_of_came_by_it(lab: LabFacts) -> None:
    """With `send-proxy` a server calls a session by the client's own end, not the balancer's."""
    front = Front(lab.directory, "lb1", lab.balancers["lb1"])
    for server in lab.servers.values():
        sql(server["socket"], "SET GLOBAL proxy_protocol_networks = '*'")
    text = front.files.config_file.read_text()
    front.files.config_file.write_text(re.sub(r"(?m)^(    server [ab] .*)", r"\1 send-proxy", text))
    front.restart()
    with contextlib.closing(app_session(lab, lab.balancers["lb1"]["frontend"])):
        assert slackwater(lab, "switchover").report["outcome"] == "done"
    with contextlib.closing(app_session(lab, lab.servers["b"]["address"])):
        assert slackwater(lab, "switchover").report["outcome"] == "refused"
