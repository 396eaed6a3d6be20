"""A REPLACE that leaves columns out, beside what the linter says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.alter import matrix

from slackwater.outside.server_programs import installed
from slackwater.rules.alter import keys

pytestmark = pytest.mark.servers


@pytest.mark.parametrize(("name", "image", "differ"), [
    ("mariadb-10.11", "MINIMAL", True), ("mariadb-10.11", "FULL", False),
    ("mysql-9.7", "MINIMAL", False),
])
def test_partial_images(name: str, image: str, differ: bool, place: Path) -> None:
    """MariaDB sends what the statement names: the rest differs, and it is not passed as safe."""
    program = next((p for p in installed() if p.name == name), None)
    if program is None:
        pytest.skip(f"{name} is not installed")
    chosen = [c for c in matrix.all_cases(program) if c.leaves_out]
    judged = matrix.run(program, chosen, "ROW", image, place)
    text, wrong, _ = matrix.report(judged)
    assert not wrong, text
    said = {e.case.name for e in judged if any(f.rule is keys.REPLACE for f in e.findings)}
    silent = {e.case.name for e in judged if any(j.outcome == matrix.SILENT for j in e.jobs)}
    assert bool(silent) is bool(said) is differ, text
    assert len(judged) - len(said) == (1 if differ else 5), text  # no key: whole rows
