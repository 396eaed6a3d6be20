"""The linter against a dump of the schema, and the commands of docs/howto/lint.md and rehearse.md.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.docs.generated import ROOT
from tests.servers.fixtures import arrives, sql
from tests.servers.patience import PATIENCE
from tests.sweep.pair import environment, python

from slackwater.lab.facts import LabFacts
from slackwater.outside.server_programs import installed

pytestmark = pytest.mark.servers
DUMP = """
/*!40101 SET NAMES utf8mb4 */;
DROP TABLE IF EXISTS `people`;
CREATE TABLE `people` (`id` int NOT NULL, `name` varchar(40) DEFAULT NULL, PRIMARY KEY (`id`));
CREATE TABLE `orders` (`id` int NOT NULL AUTO_INCREMENT, `customer` int NOT NULL,
  `total` decimal(10,2) DEFAULT NULL, `note` varchar(20) DEFAULT NULL, PRIMARY KEY (`id`),
  CONSTRAINT `c` FOREIGN KEY (`customer`) REFERENCES `people` (`id`)) ENGINE=InnoDB;
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER `seen` BEFORE INSERT ON
`orders` FOR EACH ROW SET NEW.note = 'x' */;;
DELIMITER ;
"""
CHANGE = """ALTER TABLE orders ADD x INT;
ALTER TABLE orders MODIFY note VARCHAR(60);
ALTER TABLE orders ADD y INT FIRST;
"""


def run(*words: str, cwd: Path) -> tuple[int, str]:
    done = subprocess.run(python(*words), env=environment(), cwd=cwd, capture_output=True,
                          text=True, timeout=180 * PATIENCE, check=False)
    assert done.returncode in (0, 1, 64), done.stderr
    return done.returncode, done.stdout


def offline(tmp_path: Path, name: str, *words: str) -> tuple[int, dict[str, Any]]:
    (tmp_path / "schema.sql").write_text(DUMP)
    (tmp_path / "change.sql").write_text(CHANGE)
    code, text = run("slackwater", "alter", "lint", "change.sql", "--schema", "schema.sql",
                     "--server", name, "--json", *words, cwd=tmp_path)
    return code, json.loads(text or "{}")


@pytest.mark.parametrize("name", ["mariadb-10.11", "mysql-9.7"])
def test_against_a_dump(name: str, tmp_path: Path) -> None:
    """As mysqldump writes it; the format that is named counts."""
    if name not in {p.name for p in installed()}:
        pytest.skip(f"{name} is not installed")
    code, said = offline(tmp_path, name)
    assert code == 1
    assert [s["verdict"] for s in said["statements"]] == ["safe", "setting", "refused"]
    if name.startswith("mariadb"):  # once more is enough
        code, said = offline(tmp_path, name, "--format", "STATEMENT")
        assert [s["verdict"] for s in said["statements"]][2] == "safe"


def test_what_is_wrong_with_the_words(tmp_path: Path) -> None:
    assert offline(tmp_path, "mariadb-10.11", "--format", "ROWS")[0] == 64
    code, said = offline(tmp_path, "oracle-23")
    assert (code, said["outcome"]) == (1, "refused")
    assert "no such server is installed" in said["reasons"][0]


@pytest.mark.parametrize("page", ["lint.md", "rehearse.md"])
@pytest.mark.one_flavour
def test_the_commands_work(page: str, lab: LabFacts, tmp_path: Path) -> None:
    """Every `$` line of the page, against a pair that has such tables; each does what it says."""
    text = (ROOT / "docs/howto" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    assert len(lines) >= 3
    active = lab.servers["a"]["socket"]
    sql(active, "CREATE DATABASE shop CHARACTER SET utf8mb4")
    sql(active, "CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, total DECIMAL(10,2))")
    arrives(lab.servers["b"]["socket"], "SELECT 1 FROM information_schema.TABLES WHERE"
            " TABLE_NAME = 'orders'")
    (tmp_path / "change.sql").write_text("ALTER TABLE orders ADD COLUMN note VARCHAR(200);")
    (tmp_path / "schema.sql").write_text(
        "CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, total DECIMAL(10,2));")
    (tmp_path / "application.sql").write_text("INSERT INTO orders (total) VALUES (1);")
    name = next(p.name for p in installed())
    for line in lines:
        line = line.replace("slackwater.toml", str(lab.config)).replace("mariadb-10.11", name)
        code, said = run(*shlex.split(line), cwd=tmp_path)
        assert code == 0, (line, said)
        assert said, line
