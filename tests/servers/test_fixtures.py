"""The servers that tests stand on: start, stop, crash, hang, come back."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from tests.servers.fixtures import sql

from slackwater.errors import OutsideError, Refused
from slackwater.lab.instance import Instance, Program
from slackwater.lab.ports import free_port

pytestmark = pytest.mark.servers


def test_a_committed_row_survives_kill_and_stop(server: Instance) -> None:
    sql(server.socket, "CREATE DATABASE d")
    sql(server.socket, "CREATE TABLE d.t (id INT PRIMARY KEY)")
    sql(server.socket, "INSERT INTO d.t VALUES (1)")
    server.kill()
    assert not server.alive
    server.start()
    sql(server.socket, "INSERT INTO d.t VALUES (2)")
    server.stop()
    again = Instance.load(server.directory)
    assert not again.alive
    again.start()
    assert [r["id"] for r in sql(again.socket, "SELECT id FROM d.t ORDER BY id")] == [1, 2]
    again.kill()


def test_durable_and_with_gtids(server: Instance) -> None:
    row = sql(
        server.socket,
        "SELECT @@sync_binlog AS s, @@innodb_flush_log_at_trx_commit AS f, @@log_bin AS l,"
        " @@log_slave_updates AS u"
        if server.program.version < (9, 0, 0) or server.program.is_mariadb
        else "SELECT @@sync_binlog AS s, @@innodb_flush_log_at_trx_commit AS f, @@log_bin AS l,"
        " @@log_replica_updates AS u",
    )[0]
    assert row == {"s": 1, "f": 1, "l": 1, "u": 1}


def test_two_servers_side_by_side_are_not_the_same(pair: tuple[Instance, Instance]) -> None:
    a, b = pair
    assert a.port != b.port
    variable = "@@server_id" if a.program.is_mariadb else "@@server_uuid"
    ids = [sql(it.socket, f"SELECT {variable} AS id")[0]["id"] for it in pair]
    assert ids[0] != ids[1]


@pytest.mark.one_flavour
def test_a_stopped_process_still_lives(server: Instance) -> None:
    server.pause()
    stat = Path(f"/proc/{server.pid}/stat").read_text()
    assert server.alive
    assert stat.rpartition(")")[2].split()[0] in "TSRD"
    server.resume()
    assert sql(server.socket, "SELECT 1 AS one") == [{"one": 1}]


@pytest.mark.one_flavour
def test_children_get_no_descriptor_of_ours_and_their_own_session(
    program: Program, place: Path
) -> None:
    with socket.socket() as ours:
        ours.set_inheritable(True)
        inode = os.fstat(ours.fileno()).st_ino
        made = Instance.create(program, place / "s", server_id=1, mark=place)
        try:
            made.start()
            assert made.pid is not None
            links = [fd.readlink().name for fd in Path(f"/proc/{made.pid}/fd").iterdir()]
            assert f"socket:[{inode}]" not in links
            assert os.getsid(made.pid) == made.pid
        finally:
            made.remove()


@pytest.mark.one_flavour
def test_a_server_that_cannot_start_says_why(program: Program, place: Path) -> None:
    made = Instance.create(program, place / "s", server_id=1, extra=("--no-such-option",))
    with pytest.raises(OutsideError, match="no-such-option"):
        made.start()
    made.remove()


@pytest.mark.one_flavour
def test_a_place_with_too_long_a_socket_path_is_refused(program: Program, place: Path) -> None:
    with pytest.raises(Refused, match="107"):
        Instance.create(program, place / ("x" * 100), server_id=1)
    assert not list(place.iterdir())


def test_ports_are_not_among_those_of_outgoing_connections() -> None:
    limits = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    if int(limits[0]) < 17000:
        pytest.skip("this machine gives nearly all ports to outgoing connections")
    assert all(free_port() < int(limits[0]) for _ in range(20))
