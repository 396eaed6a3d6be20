"""A small part of the matrix (`make matrixalter` has all of it): verdicts beside real outcomes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.alter import matrix

from slackwater.outside.server_programs import Program, installed
from slackwater.rules.alter.verdict import Level

pytestmark = pytest.mark.servers
# So few that it takes seconds on a quiet machine, and still some of each family.
STEP = 23
SCENES = [("mariadb-10.11", "ROW", "MINIMAL"),
          ("mariadb-11.8", "MIXED", "FULL"), ("mysql-9.7", "ROW", "FULL")]


@pytest.mark.parametrize(("name", "form", "image"), SCENES,
                         ids=["-".join(s) for s in SCENES])
def test_no_verdict_is_too_good(name: str, form: str, image: str, place: Path) -> None:
    program = _installed(name)
    offset = SCENES.index((name, form, image))
    chosen = matrix.all_cases(program)[offset::STEP]
    judged = matrix.run(program, chosen, form, image, place)
    text, wrong, _ = matrix.report(judged)
    assert not wrong, text
    # It looked at something, and neither refuses nor passes everything.
    levels = {each.level for each in judged if not each.ddl_error}
    assert {Level.REFUSED, Level.COMPLY} <= levels, text
    assert any(job.outcome == matrix.EQUAL for each in judged for job in each.jobs), text
    assert any(job.outcome not in ("", matrix.EQUAL) for e in judged for job in e.jobs), text


def test_the_matrix_sees_what_is_wrong(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a linter that passes everything, it finds silent differences and errors."""
    monkeypatch.setattr(matrix, "judge", lambda changes, links: [])
    program = _installed("mariadb-10.11")
    named = {"ADD INT FIRST", "DROP middle, same type", "INT -> BIGINT", "ADD UUID()"}
    chosen = [c for c in matrix.all_cases(program) if c.name in named]
    judged = matrix.run(program, chosen, "ROW", "FULL", place)
    assert {each.case.name for each in judged if each.faults()} == named


def _installed(name: str) -> Program:
    found = [p for p in installed() if p.name == name]
    if not found:
        pytest.skip(f"{name} is not installed")
    return found[0]
