"""What is noted of a REPLACE that leaves columns out, beside what a real pair does of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.alter import matrix
from tests.alter.cases import Case

from slackwater.outside.server_programs import installed

pytestmark = pytest.mark.servers
NO_KEY = "KEY (id)"


def replaces() -> Iterator[Case]:
    """Statements that name not all columns, of rows that are there."""
    for name, ddl, key in (
        ("ADD COLUMN", "ADD x INT", "PRIMARY KEY (id)"), ("widen", "MODIFY c BIGINT",
         "PRIMARY KEY (id)"), ("ADD INDEX", "ADD INDEX k (c)", "PRIMARY KEY (id), UNIQUE u (z)"),
        ("COMMENT", "COMMENT='x'", "UNIQUE (id)"), ("FORCE", "FORCE", NO_KEY),
    ):
        yield Case(f"{name}, and REPLACE of few columns", "c INT", f"ALTER TABLE {{t}} {ddl}",
                   ("2",), key=key,
                   writes=("INSERT INTO {t} (id, c, z) VALUES (61, 7, 'r'), (62, 8, 's')",
                           "REPLACE INTO {t} (id, z) VALUES (61, 'q')",
                           "REPLACE INTO {t} (id, c, z) VALUES (62, 9, 't')"))


@pytest.mark.parametrize(("name", "image", "differ"), [
    ("mariadb-10.11", "MINIMAL", True), ("mariadb-10.11", "FULL", False),
    ("mysql-9.7", "MINIMAL", False),
])
def test_partial_images(name: str, image: str, differ: bool, place: Path) -> None:
    """MariaDB sends what the statement names, whatever the change: the rest differs."""
    program = next((p for p in installed() if p.name == name), None)
    if program is None:
        pytest.skip(f"{name} is not installed")
    judged = matrix.run(program, list(replaces()), "ROW", image, place)
    silent = {e.case.name for e in judged if any(j.outcome == matrix.SILENT for j in e.jobs)}
    keyed = {c.name for c in replaces() if c.key != NO_KEY}
    noted = {e.case.name for e in judged if e.notes}
    assert bool(silent) is differ and silent <= noted, matrix.report(judged)[0]
    assert noted == (keyed if differ else set())
