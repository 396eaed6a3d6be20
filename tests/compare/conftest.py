"""Pairs for these tests: one of each server, made when it is first asked for, and kept."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.compare.scene import fill
from tests.servers.fixtures import end, root_of

from slackwater.lab.facts import LabFacts
from slackwater.lab.instance import installed
from slackwater.lab.up import up

# Every one that prints, hashes or commits in a way of its own; `make matrixcompare` has all.
SERVERS: tuple[str, ...] = ("mariadb-10.11", "mysql-5.7", "mysql-9.7")
TWO: tuple[str, ...] = ("mariadb-10.11", "mysql-9.7")
if os.environ.get("SLACKWATER_TEST_SERVERS") == "all":
    SERVERS = TWO = (*SERVERS, "mariadb-10.5", "mariadb-11.8")
Filled = Callable[[str], LabFacts]


@pytest.fixture(scope="package")
def filled() -> Iterator[Filled]:
    """A lab with the tables of `scene`, by the name of its server."""
    made: dict[str, LabFacts] = {}
    homes: list[Path] = []

    def get(name: str) -> LabFacts:
        if name not in made:
            program = next((p for p in installed() if p.name == name), None)
            if program is None:
                pytest.skip(f"{name} is not installed (scripts/servers/get {name})")
            homes.append(Path(tempfile.mkdtemp(prefix="sw-compare-")).resolve())
            homes[-1].chmod(0o711)
            lab = up(server=root_of(program), directory=homes[-1] / "lab")
            fill(lab)
            made[name] = lab
        return made[name]

    yield get
    for home in homes:
        end(home / "lab")
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(params=SERVERS)
def each(request: pytest.FixtureRequest, filled: Filled) -> LabFacts:
    """A pair of each flavour."""
    return filled(request.param)


@pytest.fixture(params=TWO)
def two(request: pytest.FixtureRequest, filled: Filled) -> LabFacts:
    """A pair of each vendor."""
    return filled(request.param)


@pytest.fixture
def one(filled: Filled) -> LabFacts:
    """One pair, where the server makes no difference."""
    return filled("mariadb-10.11")
