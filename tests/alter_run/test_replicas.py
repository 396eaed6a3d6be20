"""A pair with a replica off each server: they are altered too, each out of its balancer."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pymysql
import pytest
from tests.alter_run.scene import (
    DATABASE,
    WIDEN,
    alter,
    insert,
    load,
    on,
    state,
    whole,
)
from tests.servers.command import slackwater
from tests.servers.fixtures import sql
from tests.servers.patience import eventually
from tests.servers.replica import add_replica
from tests.sweep.pair import environment, python

from slackwater.lab.facts import LabFacts
from slackwater.lab.instance import Instance

pytestmark = pytest.mark.servers
SUM = ("SELECT COUNT(*) AS n, SUM(CRC32(CONCAT_WS('#', id, parent_id, note, n))) AS s"
       f" FROM {DATABASE}.items")
TYPES = ("SELECT COLUMN_NAME AS c, DATA_TYPE AS t FROM information_schema.COLUMNS WHERE"
         f" TABLE_SCHEMA = '{DATABASE}' AND TABLE_NAME = 'items'")
# "Until the readers are gone": it looks at nothing here, and says what it was told.
SAYS = "sh -c 'echo {0} {1} >> {2}'"


class Rotation:
    """What the balancers of the replicas were told, in order; and the replicas."""

    def __init__(self, lab: LabFacts) -> None:
        self.log = lab.directory / "rotation"
        self.log.touch()
        self.replicas: dict[str, Instance] = {}
        for name, source in (("c", "a"), ("d", "b")):
            commands = "".join(
                f'{verb} = "{SAYS.format(word, name, self.log)}"\n'
                for verb, word in (("drain", "out"), ("undrain", "in")))
            self.replicas[name] = add_replica(lab, name, source, commands)

    def said(self) -> list[str]:
        """Since the last look."""
        lines = self.log.read_text().splitlines()
        self.log.write_text("")
        return lines

    def types(self) -> list[dict[str, str]]:
        """The columns of each."""
        return [{r["c"]: r["t"] for r in sql(c.socket, TYPES)} for c in self.replicas.values()]

    def conversions(self) -> set[str]:
        """What they convert."""
        return {str(r["Value"]) for c in self.replicas.values() for r in sql(
            c.socket, "SHOW GLOBAL VARIABLES WHERE Variable_name IN"
            " ('replica_type_conversions', 'slave_type_conversions')")[:1]}

    def equal(self, lab: LabFacts) -> None:
        """All four have the same rows."""
        for name, replica in self.replicas.items():
            eventually(lambda r=replica: sql(r.socket, SUM) == on(lab, "a", SUM),
                       f"{name} having all rows", limit_s=40)


BOTH = ["out c", "in c", "out d", "in d"]


def test_replicas_are_altered_out_of_rotation_killed_undone_and_finished(shop: LabFacts) -> None:
    rotation = Rotation(shop)
    with load(shop, rate=30) as report:
        _kill_while_a_replica_is_altered(shop, rotation.replicas["d"])
        assert rotation.said() == ["out c", "in c", "out d"]
        said = slackwater(shop, "recover", limit_s=120)
        assert said.report["recovered"][0]["outcome"] == "undone", said.report["reasons"]
        # What is taken back is taken back out of rotation too, and nobody stays out.
        assert rotation.said() == BOTH
        assert all(t["id"] == "int" and "extra" not in t for t in rotation.types())
        assert rotation.conversions() == {""} and state(shop) == {}
        _super_read_only(shop, rotation)

        assert alter(shop, WIDEN).report["outcome"] == "done"
        assert rotation.said() == BOTH
        insert(shop, "b", 2000, "new")
        rotation.equal(shop)
        assert all(t["id"] == "bigint" and "extra" in t for t in rotation.types())
        said = slackwater(shop, "alter", "finish").report
        assert said["outcome"] == "done", said["reasons"]
        assert whole(shop) == "b" and rotation.conversions() == {""}
        rotation.equal(shop)
    assert (report["lost"], report["errors"]) == (0, [])
    _super_read_only(shop, rotation)


@pytest.mark.one_flavour
def test_replicas_go_back_too_and_one_that_cannot_leave_is_not_altered(shop: LabFacts) -> None:
    rotation = Rotation(shop)
    assert alter(shop, WIDEN).report["outcome"] == "done"
    assert rotation.said() == BOTH
    insert(shop, "b", 1000, "new")
    said = slackwater(shop, "alter", "revert").report
    assert said["outcome"] == "done", said["reasons"]
    assert rotation.said() == BOTH and rotation.conversions() == {""}
    assert all(t["id"] == "int" and "extra" not in t for t in rotation.types())
    rotation.equal(shop)
    whole(shop)

    shop.config.write_text(shop.config.read_text().replace("echo out d", "false && echo"))
    said = alter(shop, WIDEN).report
    assert said["outcome"] == "undone" and "its drain command failed" in str(said["reasons"])
    assert rotation.said() == ["out c", "in c", "out c", "in c", "in d"]
    assert all(t["id"] == "int" for t in rotation.types()) and state(shop) == {}
    whole(shop)


def _kill_while_a_replica_is_altered(shop: LabFacts, replica: Instance) -> None:
    password = Path(shop.app["password_file"]).read_text().strip()
    reader = pymysql.connect(unix_socket=str(replica.socket), user="app", password=password)
    file = shop.directory / "change.sql"
    file.write_text(WIDEN)
    try:
        with reader.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"SELECT * FROM {DATABASE}.items LIMIT 1")
        running = subprocess.Popen(
            python("slackwater", "alter", str(file), "--config", str(shop.config)),
            env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        waiting = ("SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST"
                   " WHERE INFO LIKE 'ALTER%' AND STATE LIKE '%metadata lock%'")
        try:
            eventually(lambda: sql(replica.socket, waiting)[0]["n"],
                       "the ALTER waiting for a reader of the replica", limit_s=90)
        finally:
            running.kill()
            running.wait()
    finally:
        reader.close()


def _super_read_only(shop: LabFacts, rotation: Rotation) -> None:
    if not shop.instance("a").program.is_mariadb:
        rows: list[Any] = [sql(c.socket, "SELECT @@GLOBAL.super_read_only AS s")[0]["s"]
                           for c in rotation.replicas.values()]
        assert rows == [1, 1]
