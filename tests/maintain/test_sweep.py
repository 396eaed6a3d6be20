"""A part of the failure sweep of held maintenance; `make sweep` runs all of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tests.maintain import sweep
from tests.maintain.test_scenes import NAMES, pytestmark  # noqa: F401 - the same needs
from tests.servers.patience import PATIENCE


def test_each_step_and_each_kind_of_fault_is_swept() -> None:
    cases = sweep.every()
    assert {c.step for c in cases} == set(sweep.STEPS)
    assert {c.kind for c in cases} == set(sweep.KINDS) == {c.kind for c in sweep.quick()}
    assert len({c.title for c in cases}) == len(cases) > 90


def test_nothing_that_fails_harms_clients_or_leaves_anything() -> None:
    if "mariadb-10.11" not in NAMES:
        pytest.skip("mariadb-10.11 is not installed; see scripts/servers/get")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "tests.maintain.sweep", "--quick"],
        capture_output=True, text=True, timeout=400 * PATIENCE, check=False,
    )
    assert done.stdout.strip(), done.stderr[-3000:]
    results = json.loads(done.stdout.splitlines()[-1])
    assert len(results) == len(sweep.quick()) + 1
    assert {title: wrong for title, wrong in results.items() if wrong} == {}
