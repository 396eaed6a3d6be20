"""What an operation tells while it runs reaches people, in order, and without being asked for."""

from __future__ import annotations

import json
import time

import pytest

from slackwater.cli import present
from slackwater.cli.present import Presenter


def test_what_is_told_is_written_though_nothing_follows(capsys: pytest.CaptureFixture[str]) -> None:
    presenter = Presenter(as_json=True)
    presenter.tell({"event": "told", "text": "first"})
    presenter.tell({"event": "told", "text": "second"})
    written = ""
    until = time.monotonic() + 5
    while written.count("\n") < 2 and time.monotonic() < until:
        time.sleep(0.01)
        written += capsys.readouterr().err
    assert [json.loads(line)["text"] for line in written.splitlines()] == ["first", "second"]
    presenter.finish()


def test_the_end_waits_for_no_batch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(present, "TOGETHER_S", 60.0)
    presenter = Presenter(as_json=True)
    told = [str(number) for number in range(5)]
    for text in told:
        presenter.tell({"event": "told", "text": text})
    presenter.finish()
    assert [json.loads(line)["text"] for line in capsys.readouterr().err.splitlines()] == told
