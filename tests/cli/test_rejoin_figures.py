"""What a rejoin that copied its data anew says at its end."""

from __future__ import annotations

import pytest

from slackwater.cli.rejoin_copy import _end
from slackwater.plan.report import Outcome, Report


def test_a_copy_that_is_perhaps_not_whole_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    reports = [Report("pair-setup", "1", "set shop up", Outcome.DONE, [], 0.0,
                      figures={"copied": {"b": {"unsure": "it ends early"}, "c": {}}}),
               Report("rejoin", "2", "bring b back", Outcome.DONE, [], 0.0)]
    assert _end(reports, 0.0, as_json=False) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "b: whether its copy is whole `slackwater pair compare` tells: it ends early" in said
    assert "c:" not in said
