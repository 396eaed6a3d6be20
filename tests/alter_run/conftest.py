"""A lab with a schema in it, on the two flavours that schema changes are tested with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.alter_run.scene import fill
from tests.servers.fixtures import end, root_of

from slackwater.lab.facts import LabFacts
from slackwater.lab.instance import Program
from slackwater.lab.up import up

FLAVOURS = ("mariadb-10.11", "mysql-9.7")


@pytest.fixture
def shop(program: Program, place: Path) -> Iterator[LabFacts]:
    """A running pair whose tables have foreign keys and a trigger."""
    if not program.name.startswith(FLAVOURS):
        pytest.skip(f"schema changes are tested on {' and '.join(FLAVOURS)}")
    directory = place / "lab"
    try:
        lab = up(server=root_of(program), directory=directory)
        fill(lab)
        yield lab
    finally:
        end(directory)
