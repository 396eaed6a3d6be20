"""The active server dies while it sends a transaction: what came of it is no reason to wait."""

from __future__ import annotations

import time
from pathlib import Path

import pymysql
import pytest
from tests.failover.scene import Scene
from tests.servers.fixtures import end, root_of, sql
from tests.servers.patience import PATIENCE, eventually
from tests.setup.stories import named

from slackwater.lab.up import up

pytestmark = pytest.mark.servers
ROWS, SIZE = 60, 300_000  # more than what is under way between two servers


@pytest.mark.parametrize("undone", [False, True])
@pytest.mark.parametrize("name", ["mysql-9.7", "mysql-5.7", "mariadb-10.11"])
def test_the_beginning_of_a_transaction_is_not_waited_for(
    name: str, undone: bool, place: Path
) -> None:
    directory = place / "lab"
    try:
        scene = Scene(up(server=root_of(named(name)), directory=directory))
        _die_while_sending(scene)
        inject = "before:Promote" if undone else ""
        report, _, errors = scene.slackwater("failover", inject=inject)
        assert report.get("outcome") == ("undone" if undone else "done"), (report, errors)
        assert _rows(scene, "b") == 0
        if undone:
            scene.lab.instance("a").start(60 * PATIENCE)
            eventually(lambda: _rows(scene, "b") == ROWS, "b goes on", limit_s=30)
        else:
            sql(scene.lab.servers["b"]["socket"], "INSERT INTO torn.t VALUES (-1, '')")
    finally:
        end(directory)


def _die_while_sending(scene: Scene) -> None:
    a = scene.lab.servers["a"]["socket"]
    sql(a, "CREATE DATABASE torn")
    sql(a, "CREATE TABLE torn.t (n INT PRIMARY KEY, x LONGTEXT)")
    eventually(lambda: _rows(scene, "b") == 0, "the table on b")
    scene.lab.instance("b").pause()
    link = pymysql.connect(unix_socket=str(a), user="root")
    with link.cursor() as cursor:
        for n in range(ROWS):
            cursor.execute(f"INSERT INTO torn.t VALUES ({n}, REPEAT('y', {SIZE}))")
    link.commit()
    scene.lab.instance("a").kill()
    link.close()
    scene.lab.instance("b").resume()
    time.sleep(1.5)  # its applier comes to the end of what is there


def _rows(scene: Scene, name: str) -> int:
    try:
        found = sql(scene.lab.servers[name]["socket"], "SELECT COUNT(*) AS n FROM torn.t")
    except pymysql.Error:
        return -1
    return int(found[0]["n"])
