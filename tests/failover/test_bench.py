"""The benchmark of failovers counts times of those only that were done."""

from __future__ import annotations

from bench.failover import flows_ms, not_done
from tests.failover.scene import Seen


def test_a_refused_failover_has_no_time() -> None:
    done = Seen("hang", {"outcome": "done"}, "", 900.0, 9, set(), set(), set(), 0, 0.4)
    refused = Seen("hang", {"outcome": "refused", "reasons": ["b: no answer"]}, "", 4400.0, 9,
                   set(), set(), set(), 0, 0.4)
    assert flows_ms([done, refused]) == [900.0]
    assert not_done([done, refused]) == "refused: b: no answer" and not not_done([done])
