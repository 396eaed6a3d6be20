"""Fixtures of the registry's tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.registry.rig import Balancer, Registry, balancers, config, needs


@pytest.fixture
def room() -> Iterator[Path]:
    """A short directory that a balancer's own account can pass through."""
    made = Path(tempfile.mkdtemp(prefix="slackwater-test-")).resolve()
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


Serving = Callable[..., tuple[Registry, dict[str, Balancer]]]


@pytest.fixture
def serving(room: Path) -> Iterator[Serving]:
    """Makes real balancers of some kinds, and a registry before them, running."""
    with ExitStack() as stack:

        def make(*kinds: str, start: bool = True, address: str = "127.0.0.1",
                 **tables: object) -> tuple[Registry, dict[str, Balancer]]:
            for kind in kinds:
                needs(kind)
            made = stack.enter_context(balancers(room, kinds))
            registry = Registry(room / "registry", config(made, **tables),  # type: ignore[arg-type]
                                address=address)
            registry.key("ops", role="admin")
            stack.callback(registry.stop)
            if start:
                registry.start()
            return registry, made

        yield make
