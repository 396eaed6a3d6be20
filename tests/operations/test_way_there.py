"""A balancer that cannot reach the passive server is found out before any client waits."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.operations.test_guardrails import reasons, runtime
from tests.servers.command import slackwater
from tests.servers.fixtures import as_app

from slackwater.lab.facts import LabFacts

pytestmark = [pytest.mark.servers, pytest.mark.one_flavour]

FORWARD = """
import asyncio, sys
async def pass_on(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
async def serve(reader, writer):
    there, to = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    await asyncio.gather(pass_on(reader, to), pass_on(there, writer))
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@contextlib.contextmanager
def another_way_to(lab: LabFacts, server: str) -> Iterator[subprocess.Popen[str]]:
    """The balancer reaches the server by a process of ours alone; slackwater by its socket."""
    address = str(lab.servers[server]["address"])
    program = [sys.executable, "-c", FORWARD, address.rpartition(":")[2]]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as way:
        try:
            assert way.stdout is not None
            port = int(way.stdout.readline())
            runtime(lab, f"set server pair/{server} addr 127.0.0.1 port {port}")
            file = Path(lab.balancers["lb1"]["config_file"])
            file.write_text(file.read_text().replace(
                f" {server} {address} ", f" {server} 127.0.0.1:{port} "))
            yield way
        finally:
            way.kill()


def test_a_balancer_without_a_way_to_the_new_server(lab: LabFacts) -> None:
    with another_way_to(lab, "b") as way:
        assert reasons(lab) == [], "it is the very server that answers there"
        said = slackwater(lab, "switchover", inject=f"run:HoldClients:kill -9 {way.pid}")
    assert said.report["outcome"] == "undone", said
    [reason] = said.report["reasons"]
    assert reason.startswith("HoldClients: balancer lb1 ") and "cannot reach b: " in reason
    assert "hold_ms" not in said.report
    assert as_app(lab, lab.balancers["lb1"]["frontend"], "SELECT @@server_id AS n") == [{"n": 1}]
    assert slackwater(lab, "status").report["balancers"]["lb1"]["active"] == "a"
