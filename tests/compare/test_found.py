"""Every kind of difference is found, in every type, on every server; and nothing else."""

from __future__ import annotations

import pytest
from tests.compare.scene import ROWS, SPOILT, compared, fill, inside, spoil

from slackwater.facts.compare import Proof
from slackwater.lab.facts import LabFacts

pytestmark = pytest.mark.servers


def test_all_types_equal_then_each_difference(each: LabFacts) -> None:
    fill(each, "spoilt")  # a schema of its own: other tests use the pair too
    equal = compared(each, "spoilt.*")
    assert equal.equal, [r.as_json() for r in equal.results if not r.equal]
    assert sum(r.rows for r in equal.results) > ROWS
    assert (equal.reference, equal.others) == ("a", ["b"])
    spoil(each, *(inside(statement, "spoilt") for statement, *_ in SPOILT))
    found = compared(each, "spoilt.*")
    assert found.equal is False and not found.stopped
    by_table = {r.table.removeprefix("spoilt."): r for r in found.results}
    for statement, table, key, how, column in SPOILT:
        rows = [d for d in by_table[table].shown if key in d.key and d.how == how]
        assert rows, f"not found: {statement}"
        assert not column or any(column in d.columns for d in rows), (statement, rows)
    counts = {t: r.differing for t, r in by_table.items()}
    assert counts == {"types": 4, "pk2": 2, "keys_of_all": 1, "no_key": 2, "myisam": 1,
                      "empty `one": 1, "many": 4}
    assert {d.key for d in by_table["many"].shown} >= {"id=11", "id=12", "id=3000"}
    assert all(d.proof is Proof.LOCKED for d in by_table["many"].shown)
    assert not any(r.undecided or r.skipped for r in found.results)
