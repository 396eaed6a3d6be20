"""An administrator who may not do all that a copy takes: nothing is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.setup.behind import all_of
from tests.setup.scene import Scene, scene
from tests.setup.stories import named, verified

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("name", ["mariadb-11.8", "mysql-5.7", "mysql-9.7"])
def test_a_target_keeps_its_data(name: str, place: Path) -> None:
    with scene(named(name), place) as made:
        for server in "ab":
            all_of(made, server, "CREATE DATABASE shop", f"CREATE TABLE shop.of_{server} (n INT)",
                   "CREATE USER less@localhost IDENTIFIED BY 'Aa1-less'",
                   "GRANT ALL ON *.* TO less@localhost WITH GRANT OPTION")
        _administrator(made)
        for lack in ("RELOAD", "GRANT OPTION"):
            all_of(made, "b", f"REVOKE {lack} ON *.* FROM less@localhost")
            reasons = made.refusals("--active", "a", "--overwrite", "b")
            assert f"b: less lacks {lack}, which it takes to copy" in reasons
            assert "a: less" not in reasons
            assert made.sql("b", "SHOW TABLES FROM shop") == [{"Tables_in_shop": "of_b"}]
            all_of(made, "b", "GRANT ALL ON *.* TO less@localhost WITH GRANT OPTION")
        made.setup("--active", "a", "--overwrite", "b")
        verified(made)


@pytest.mark.parametrize("name", ["mariadb-11.8", "mysql-9.7"])
def test_a_source_that_hides_its_tables(name: str, place: Path) -> None:
    """Without SELECT they are not there, and would not be missed."""
    with scene(named(name), place) as made:
        all_of(made, "a", "CREATE DATABASE shop", "CREATE TABLE shop.t (n INT)",
               "CREATE USER less@localhost IDENTIFIED BY 'Aa1-less'",
               "GRANT ALL ON *.* TO less@localhost WITH GRANT OPTION",
               "REVOKE SELECT ON *.* FROM less@localhost")
        all_of(made, "b", "CREATE USER less@localhost IDENTIFIED BY 'Aa1-less'",
               "GRANT ALL ON *.* TO less@localhost WITH GRANT OPTION")
        _administrator(made)
        said = made.run("pair", "setup", "--plan", "--json", "--active", "a")
        assert said.returncode == 1
        reasons = json.loads(said.stdout)["refusals"]
        assert "a: less lacks SELECT, which it takes to copy" in str(reasons)


def _administrator(made: Scene) -> None:
    password = made.place / "less"
    password.write_text("Aa1-less\n")
    password.chmod(0o600)
    made.config.write_text(made.config.read_text().replace(
        'user = "root"', f'user = "less"\npassword_file = "{password}"'))
