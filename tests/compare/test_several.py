"""More than two servers, more than one comparison, and tables that replication leaves out."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.compare.scene import compared, connection, spoil
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually
from tests.setup.scene import Scene, scene
from tests.sweep.pair import environment

from slackwater.cli.pair_compare import comparison_json, comparison_text
from slackwater.lab.facts import LabFacts
from slackwater.lab.instance import installed
from slackwater.operations.compare.sides import CannotTell

pytestmark = pytest.mark.servers


def test_a_second_comparison_at_once_is_refused_and_leaves_the_first_alone(one: LabFacts) -> None:
    refused: list[str] = []

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "table" and not refused:
            with ThreadPoolExecutor(1) as pool, pytest.raises(CannotTell) as error:
                pool.submit(compared, one, "shop.pk2").result(60 * PATIENCE)
            refused.append(str(error.value))

    assert compared(one, "shop.*", tell=tell).equal
    assert "another comparison of lab is under way" in refused[0]
    assert compared(one, "shop.pk2").equal  # and is let in when the first has ended


@contextlib.contextmanager
def filtered(lab: LabFacts, name: str, value: str) -> Iterator[None]:
    """A replication filter on b; without it afterwards."""
    socket = str(lab.servers["b"]["socket"])
    mariadb = lab.program.startswith("mariadb")
    word = "SLAVE" if mariadb else "REPLICA"

    def put(text: str) -> None:
        sql(socket, f"STOP {word}{'' if mariadb else ' SQL_THREAD'}")
        if mariadb:
            sql(socket, f"SET GLOBAL {name} = '{text}'")
        else:
            sql(socket, f"CHANGE REPLICATION FILTER {name} = ({text})")
        sql(socket, f"START {word}{'' if mariadb else ' SQL_THREAD'}")

    put(value)
    try:
        yield
    finally:
        put("")


def test_a_table_that_a_filter_leaves_out_is_told_and_is_no_difference(two: LabFacts) -> None:
    active = str(two.servers["a"]["socket"])
    with filtered(two, "replicate_ignore_table", "shop.pk2"):
        sql(active, "INSERT INTO shop.pk2 VALUES ('not there', 1, 1)")
        found = compared(two, "shop.pk2", "shop.many")
        assert found.equal and not found.stopped
        told = {r.table: r.filtered for r in found.results}
        assert told["shop.many"] == "" and "shop.pk2" in told["shop.pk2"]
        assert any("gnore_Table = shop.pk2" in line for line in found.filters), found.filters
        text = comparison_text(found)
        assert comparison_json(found, "lab", 0.0)["outcome"] == "done"
        assert "left out by replication, so not compared" in text
        assert "Equal: a and b; 1 tables" in text
        # The rest is compared as ever.
        spoil(two, "UPDATE shop.many SET v = 'wrong' WHERE id = 9")
        assert compared(two, "shop.pk2", "shop.many").equal is False
        spoil(two, "UPDATE shop.many SET v = 'row' WHERE id = 9")
    found = compared(two, "shop.pk2")
    assert [d.key for d in found.results[0].shown] == ["a='not there', b=1"]
    with connection(active) as cursor:
        cursor.execute("SET sql_log_bin = 0")
        cursor.execute("DELETE FROM shop.pk2 WHERE a = 'not there'")
    assert compared(two, "shop.pk2").equal


def test_three_servers_at_once_one_of_them_behind(place: Path) -> None:
    program = next((p for p in installed() if p.name == "mariadb-10.11"), None)
    if program is None:
        pytest.skip("mariadb-10.11 is not installed (scripts/servers/get mariadb-10.11)")
    with scene(program, place, 3) as made:
        made.setup()
        for account in made.sql("a", "SELECT Host FROM mysql.user WHERE User = 'slackwater'"):
            made.sql("a", f"GRANT SELECT ON *.* TO slackwater@'{account['Host']}'")
        made.sql("a", "CREATE DATABASE shop")
        made.sql("a", "CREATE TABLE shop.t (id INT PRIMARY KEY, v INT)")
        made.sql("a", "INSERT INTO shop.t VALUES (1, 1), (2, 2), (3, 3)")
        eventually(lambda: _there(made), "the table on c")
        code, said, waited = _while_c_stands(made)
        assert (code, said["equal"], said["reference"]) == (0, True, "a"), said
        assert waited  # c was behind, and was waited for
        assert {t["server"] for t in said["tables"] if t["table"] == "shop.t"} == {"b", "c"}
        with connection(str(made.servers["c"].socket)) as cursor:
            cursor.execute("SET sql_log_bin = 0")
            cursor.execute("UPDATE shop.t SET v = 9 WHERE id = 2")
        said = json.loads(made.run("pair", "compare", "--tables", "shop.t", "--json").stdout)
        assert {t["server"]: t["equal"] for t in said["tables"]} == {"b": True, "c": False}


def _there(made: Scene) -> bool:
    with contextlib.suppress(Exception):
        return bool(made.sql("c", "SELECT 1 FROM shop.t WHERE id = 3"))
    return False


def _while_c_stands(made: Scene) -> tuple[int, dict[str, Any], bool]:
    """A comparison while c cannot apply, until it is heard to wait for c; exit code and report."""
    with connection(str(made.servers["c"].socket)) as cursor:
        cursor.execute("FLUSH TABLES WITH READ LOCK")
        made.sql("a", "INSERT INTO shop.t VALUES (4, 4)")
        running = subprocess.Popen(
            made.words("pair", "compare", "--tables", "shop.*", "--json", "--wait",
                       str(60 * PATIENCE)),
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert running.stderr is not None
        waited = False
        told = []
        for line in running.stderr:
            told.append(line)
            if "waiting for c" in line or "c lags" in line:
                waited = True
                break
        cursor.execute("UNLOCK TABLES")
        out, errors = running.communicate(timeout=90 * PATIENCE)
        assert out, (told, errors)
        return running.returncode, json.loads(out), waited
