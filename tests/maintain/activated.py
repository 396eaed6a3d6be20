"""Scenes of a server whose listening sockets are kept by its parent (socket activation)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
from tests.maintain import alone, owner, scene
from tests.servers.patience import PATIENCE, eventually

from slackwater.lab.instance import Instance, Program

CLIENTS = 30  # by TCP, and as many by the unix socket
POWERLESS = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")


@contextlib.contextmanager
def kept(program: Program, place: Path, *, step: bool) -> Iterator[Instance]:
    """A running server whose sockets are kept; `step`: its restart is stepped through."""
    server = alone.make(program, place)
    alone.write_config(server, place, owner.command(server, place))
    if step:
        (place / "step").touch()
    process = owner.start(server, place)
    try:
        yield server
    finally:
        process.kill()
        process.wait()


def without_gate(program: Program, place: Path) -> dict[str, Any]:
    """No right to netfilter: who connects while the server is down, by TCP or by the unix socket,
    waits in the backlog."""
    with kept(program, place, step=True) as server:
        config = ("--config", alone.config(place))
        plan = alone.slackwater("restart", "s", "--plan", *config, before=POWERLESS)
        explained = alone.slackwater("hold", "--explain", *config, before=POWERLESS)
        process = alone.until_step(
            "FinishCommand", "restart", "s", "--json", *config, before=POWERLESS)
        eventually((place / "down").exists, "the server is down", limit_s=60)
        addresses = [str(server.socket), ("127.0.0.1", server.port)] * CLIENTS
        waiting = [_connected(address) for address in addresses]
        (place / "go").touch()
        out, err = process.communicate(timeout=scene.MOST_S)
        served = [_ask(client) for client in waiting]
    return {
        "code": process.returncode, "said": scene.last_json(out), "err": err[-3000:],
        "served": served, "plan": plan.stdout, "explained": explained.stdout,
    }


def gated(program: Program, place: Path) -> dict[str, Any]:
    """With a gate: it keeps TCP clients from coming while the others finish, so that none fails;
    the sockets cover the rest."""
    with kept(program, place, step=False) as server:
        pid = server.pid
        with alone.Loaded(alone.target(server), scene.plan()) as load:
            scene.under_way(load)
            done = alone.slackwater("restart", "s", "--json", "--config", alone.config(place))
            scene.goes_on(load)
        return scene.seen(done, load, place) | {
            "restarted": Instance.load(place / "s").pid != pid}


def _connected(address: str | tuple[str, int]) -> socket.socket:
    """Connected to a socket whose server is not there."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    client = socket.socket(family)
    client.settimeout(60 * PATIENCE)
    client.connect(address)
    return client


def _ask(client: socket.socket) -> int:
    """The server's answer to who was waiting: a login and a query."""
    session = pymysql.connect(user="app", password=alone.PASSWORD, defer_connect=True)
    session.connect(client)
    with contextlib.closing(session), session.cursor() as cursor:
        cursor.execute("SELECT 7")
        return int(cursor.fetchone()[0])


SCENES = {"activated": without_gate, "activated_gated": gated}
