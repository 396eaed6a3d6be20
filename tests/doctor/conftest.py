"""A server with accounts for its client and for the doctor, and a slackwater.toml beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE

from slackwater.lab.instance import Instance
from slackwater.outside import server_programs as programs

# SLACKWATER_TEST_SERVERS=all for the oldest too.
SERVERS: tuple[str, ...] = ("mariadb-10.11", "mariadb-11.8", "mysql-5.7", "mysql-9.7")
if os.environ.get("SLACKWATER_TEST_SERVERS") == "all":
    SERVERS += ("mariadb-10.5",)
PASSWORD = "geheim"


@pytest.fixture(params=SERVERS)
def it(request: pytest.FixtureRequest, place: Path) -> Iterator[Instance]:
    """A running server; `@options(…)` gives it more options."""
    found = next((p for p in programs.installed() if p.name == request.param), None)
    if found is None:
        pytest.skip(f"{request.param} is not installed (scripts/servers/get {request.param})")
    vendor = getattr(request.node.function, "vendor", found.vendor)
    if found.vendor != vendor:
        pytest.skip(f"{vendor} alone has it")
    extra = ["--max-allowed-packet=1M", *getattr(request.node.function, "options", ())]
    made = Instance.create(found, place / "s", server_id=1, mark=place, extra=extra)
    resolve(made)
    try:
        made.start(60 * PATIENCE)
        for user in ("app", "slackwater"):
            sql(made.socket, f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
            sql(made.socket, f"GRANT ALL ON *.* TO {user}@'127.0.0.1'")
        (place / "password").write_text(PASSWORD)
        (place / "password").chmod(0o600)
        (place / "slackwater.toml").write_text(
            f'[servers.s]\naddress = "{made.address}"\n'
            f'[accounts.slackwater]\npassword_file = "{place / "password"}"\n')
        yield made
    finally:
        made.remove()


def resolve(server: Instance) -> None:
    """Give it the names of its clients, if its options say so: MySQL keeps to the first word on
    that, which a lab's server has from its own options."""
    if "--skip-name-resolve=OFF" in server.extra:
        words = [word for word in server.command() if not word.startswith("--skip-name-resolve")]
        server.command = lambda: words  # type: ignore[method-assign]


def options(*given: str) -> Callable[[Any], Any]:
    """Server options of one test."""
    def mark(test: Any) -> Any:
        test.options = given
        return test
    return mark


def only(vendor: str) -> Callable[[Any], Any]:
    """A test of what one vendor alone has: no server of the other is started."""
    def mark(test: Any) -> Any:
        test.vendor = vendor
        return test
    return mark
