"""Pairs for these tests: one of each flavour, made when it is first asked for."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.compare.scene import fill
from tests.servers.fixtures import end, root_of

from slackwater.lab.facts import LabFacts
from slackwater.lab.instance import installed
from slackwater.lab.up import up

ALL = ("mariadb-10.5", "mariadb-10.11", "mariadb-11.8", "mysql-5.7", "mysql-9.7")


@contextlib.contextmanager
def filled(name: str) -> Iterator[LabFacts]:
    """A lab with the tables of `scene`."""
    program = next((p for p in installed() if p.name == name), None)
    if program is None:
        pytest.skip(f"{name} is not installed (scripts/servers/get {name})")
    home = Path(tempfile.mkdtemp(prefix="sw-compare-")).resolve()
    home.chmod(0o711)
    try:
        lab = up(server=root_of(program), directory=home / "lab")
        fill(lab)
        yield lab
    finally:
        end(home / "lab")
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module", params=ALL)
def each(request: pytest.FixtureRequest) -> Iterator[LabFacts]:
    """A pair of each flavour."""
    with filled(request.param) as lab:
        yield lab


@pytest.fixture(scope="module", params=("mariadb-10.11", "mysql-9.7"))
def two(request: pytest.FixtureRequest) -> Iterator[LabFacts]:
    """A pair of each vendor."""
    with filled(request.param) as lab:
        yield lab


@pytest.fixture(scope="module")
def one() -> Iterator[LabFacts]:
    """One pair, where the server makes no difference."""
    with filled("mariadb-10.11") as lab:
        yield lab
