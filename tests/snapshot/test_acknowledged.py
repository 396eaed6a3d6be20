"""Every write acknowledged before the lock is in the snapshot, and none came in under it."""

from __future__ import annotations

import argparse
import os
import shutil

import pytest
from bench.snapshot.__main__ import measure
from tests.snapshot.real import program


@pytest.mark.servers
@pytest.mark.parametrize(("name", "kind"), [("mariadb-10.11", "btrfs"), ("mysql-5.7", "xfs")])
def test_what_was_acknowledged_is_there(name: str, kind: str) -> None:
    """`python -m bench.snapshot`, a small one: booted, counted, its position the recorded one."""
    program(name)
    if os.geteuid() != 0 or shutil.which(f"mkfs.{kind}") is None:
        pytest.skip("only root mounts file systems, and mkfs is needed")
    found = measure(name, kind, argparse.Namespace(rate=200.0, runs=1, real=1))
    assert found["faults"] == []
    assert (found["failed"], found["proven"]) == (0, 1)
    assert found["rate"] > 50
