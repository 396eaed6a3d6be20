"""The quick part of the sweep in `make test`; all of it: `make sweep` (python -m tests.sweep)."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.sweep import cases, table
from tests.sweep.cases import STEPS, Case
from tests.sweep.network import reason_against
from tests.sweep.pair import SweepLab, environment, python
from tests.sweep.run import Sweep

SEED = int(os.environ.get("SLACKWATER_SWEEP_SEED", "1"))
QUICK = cases.quick(SEED)
HERE = [c for c in QUICK if c.group != "network"]

# Never again until it passes: one lost write in three runs is a lost write.
pytestmark = [pytest.mark.servers, pytest.mark.flaky(reruns=0)]


@pytest.fixture(scope="module")
def sweep() -> Iterator[Sweep]:
    """One lab for all cases of this module."""
    place = Path(tempfile.gettempdir(), f"sw-sweep-{os.getpid()}")
    runner = Sweep(SweepLab(place, None))
    yield runner
    runner.close()


def test_the_quick_table_has_each_step_and_each_kind() -> None:
    chosen = QUICK
    assert {c.step for c in chosen if c.step} == set(STEPS)
    assert {c.name for c in chosen if c.group == "inject"} == set(cases.KINDS)
    assert {c.name for c in chosen if c.group == "world"} == set(cases.WORLD)
    assert {c.group for c in chosen} == {c.group for c in cases.every(1, SEED)}


def test_titles_are_unique() -> None:
    titles = [c.title for c in cases.every(25, SEED)]
    assert len(set(titles)) == len(titles)


def test_jobs_share_the_cases_without_a_gap() -> None:
    def listed(*words: str) -> list[str]:
        command = python("tests.sweep", "--list", "--seed", str(SEED), *words)
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    shares = [listed("--share", f"{share}/3") for share in (1, 2, 3)]
    assert all(shares)
    assert sorted(itertools.chain(*shares)) == sorted(listed())


@pytest.mark.parametrize("case", HERE, ids=lambda c: c.title.replace(" ", "-"))
def test_case(
    sweep: Sweep, case: Case, record_property: Callable[[str, object], None]
) -> None:
    result = sweep.run(case)
    if case is HERE[0]:
        record_property("table", table.head())
    record_property("table", table.line(result))
    if result.skipped:
        pytest.skip(result.skipped)
    assert not result.faults, "\n".join([*result.faults, *result.notes])


def test_the_network_is_cut(record_property: Callable[[str, object], None]) -> None:
    if reason := reason_against():
        pytest.skip(reason)
    command = python("tests.sweep", "--quick", "--group", "network", "--seed", str(SEED))
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    record_property("table", done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
