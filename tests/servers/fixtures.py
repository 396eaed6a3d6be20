"""Real servers for tests, one of each flavour that this machine has.

`server`, `pair` and `lab` are made for one test and gone after it (a data directory is copied
from a template: 0.1 s). A test that asks for one of them runs once for each installed server;
`one_flavour` (a mark) limits it to the first.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pymysql.cursors import DictCursor
from tests.servers.for_pairs import for_pairs
from tests.servers.patience import PATIENCE, eventually

from slackwater.errors import Refused
from slackwater.lab.down import down
from slackwater.lab.facts import LabFacts
from slackwater.lab.instance import Instance, Program
from slackwater.lab.process import kill_all, with_variable
from slackwater.lab.up import up

_SESSION = "SLACKWATER_TEST_SESSION"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "one_flavour: only the first server that is installed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "program" not in metafunc.fixturenames:
        return
    programs = for_pairs()
    if metafunc.definition.get_closest_marker("one_flavour"):
        programs = programs[:1]
    missing = pytest.param(None, marks=pytest.mark.skip("no server; see scripts/servers/get"))
    metafunc.parametrize(
        "program", programs or [missing], ids=[p.name for p in programs] or ["none"]
    )


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Every process started in this session inherits a word, and none has it at the end."""
    word = os.environ[_SESSION] = secrets.token_hex(8)
    yield
    left = with_variable(_SESSION, word)
    slow = [p for p in left if not p.wait_gone(2.0 * PATIENCE)]
    named = []
    for process in slow:
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ")
        if b"resource_tracker" not in command:  # Python's own; it ends with us
            named.append(f"{process.pid}: {command[:160].decode(errors='replace')}")
    kill_all(slow)
    assert not named, "processes were left running:\n" + "\n".join(named)


@pytest.fixture(scope="session", autouse=True)
def enterable(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Servers run as somebody else: they may pass through what is above a test's own directory."""
    base = tmp_path_factory.getbasetemp().resolve()
    for folder in (base, *base.parents):
        if Path(tempfile.gettempdir()).resolve() not in folder.parents:
            break
        folder.chmod(folder.stat().st_mode | 0o111)


@pytest.fixture
def place() -> Iterator[Path]:
    """A short directory that a server's own account can pass through (pytest's own cannot)."""
    made = Path(tempfile.mkdtemp(prefix="slackwater-test-")).resolve()
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def server(program: Program, place: Path) -> Iterator[Instance]:
    """One running server."""
    made = Instance.create(program, place / "s", server_id=1, mark=place)
    try:
        made.start(60 * PATIENCE)
        yield made
    finally:
        made.remove()


@pytest.fixture
def pair(program: Program, place: Path) -> Iterator[tuple[Instance, Instance]]:
    """Two running servers that know nothing of each other; ids 1 and 2."""
    made: list[Instance] = []
    try:
        for number, name in ((1, "a"), (2, "b")):
            made.append(Instance.create(program, place / name, server_id=number, mark=place))
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda it: it.start(60 * PATIENCE), made))
        yield made[0], made[1]
    finally:
        for it in made:
            it.remove()


@pytest.fixture
def lab(program: Program, place: Path) -> Iterator[LabFacts]:
    """A whole lab: an active-passive pair, one balancer, slackwater.toml."""
    directory = place / "lab"
    try:
        yield up(server=root_of(program), directory=directory)
    finally:
        end(directory)


def root_of(program: Program) -> Path:
    """What `--server` wants for this program."""
    return program.base.parent if program.base.name == "base" else program.base


def end(directory: Path) -> None:
    """`lab down` in a test's clean-up, whatever state the test has left."""
    try:
        down(directory)
    except Refused:
        if directory.exists():
            raise


def sql(socket: str | Path, statement: str, *args: object) -> list[dict[str, Any]]:
    """One statement as root through a server's socket; its rows."""
    return _sql(statement, args, unix_socket=str(socket), user="root")


def as_app(facts: LabFacts, address: str, statement: str, *args: object) -> list[dict[str, Any]]:
    """One statement as the lab's application, over TCP to host:port."""
    host, _, port = address.rpartition(":")
    password = Path(facts.app["password_file"]).read_text().strip()
    return _sql(statement, args, host=host, port=int(port), user="app", password=password)


def app_session(facts: LabFacts, address: str) -> Any:
    """A session of the lab's application at host:port, as a pool keeps one; close it."""
    host, _, port = address.rpartition(":")
    password = Path(facts.app["password_file"]).read_text().strip()
    return pymysql.connect(host=host, port=int(port), user="app", password=password,
                           autocommit=True, connect_timeout=10)


def _sql(statement: str, args: tuple[object, ...], **to: Any) -> list[dict[str, Any]]:
    limits = {"connect_timeout": 10, "read_timeout": int(30 * PATIENCE)}
    link = pymysql.connect(autocommit=True, cursorclass=DictCursor, **limits, **to)
    try:
        with link.cursor() as cursor:
            cursor.execute(statement, args or None)
            return list(cursor.fetchall())
    finally:
        link.close()


def arrives(socket: str | Path, query: str) -> list[dict[str, Any]]:
    """Wait until a query on this server gives rows (a table may not be there yet)."""

    def look() -> list[dict[str, Any]]:
        try:
            return sql(socket, query)
        except pymysql.err.ProgrammingError:
            return []

    return eventually(look, query)
