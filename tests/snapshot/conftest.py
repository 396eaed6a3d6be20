"""Servers that the tests of snapshots share: started once, all of them used again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from tests.snapshot.real import TWO, WANTED, config, running

from slackwater.lab.instance import Instance


@pytest.fixture(scope="session")
def started() -> Iterator[dict[str, Instance]]:
    """Those that run, by name; filled by the others here."""
    with contextlib.ExitStack() as stack:
        yield _Started(stack)


class _Started(dict[str, Instance]):
    def __init__(self, stack: contextlib.ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def __missing__(self, name: str) -> Instance:
        it = self[name] = self._stack.enter_context(running(name))
        config(it)
        return it


@pytest.fixture(scope="session", params=WANTED)
def every(request: pytest.FixtureRequest, started: dict[str, Instance]) -> Instance:
    """A server of each flavour."""
    return started[request.param]


@pytest.fixture(scope="session", params=TWO)
def two(request: pytest.FixtureRequest, started: dict[str, Instance]) -> Instance:
    """One of each vendor, where the version makes no difference."""
    return started[request.param]
