"""A look at this host alone starts without the libraries of the command line, and says the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.doctor.doctor import doctor

from slackwater.cli import doctor_look
from slackwater.outside.processes import PORTS

HEAVY = {"typer", "pydantic", "asyncio", "asyncmy", "rich"}


def test_it_loads_no_library_that_it_does_not_need(place: Path) -> None:
    code = ("import sys\nfrom slackwater.cli.start import main\n"
            "sys.argv = ['slackwater', 'doctor', '--pid', '1', '--json']\n"
            "try: main()\n"
            f"finally: print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=place,
                          check=False, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("{")
    assert done.stderr.strip() == "[]"


def test_both_ways_say_the_same(place: Path) -> None:
    """`--since` says nothing to a look at this host; but only typer knows it."""
    short, whole = (doctor("--pid", 1, "--port=4406", *more, cwd=place)
                    for more in ((), ("--since", 3600)))
    assert short.keys() == whole.keys()
    assert short["looked_at"] == whole["looked_at"]


@pytest.mark.parametrize("words", [
    ["--watch"], ["explain", "2006"], ["--pid"], ["--pid", "x"], ["--pid", "-1"], ["--port="],
    ["--config", "x.toml"], ["--help"], ["--jso"],
])  # fmt: skip
def test_other_words_are_left_to_typer(words: list[str], place: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    assert doctor_look.plain(words) is None


def test_the_words_that_it_reads(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    assert doctor_look.plain([]) == doctor_look.Look()
    asked = doctor_look.plain(["--pid", "7", "--pid=8", "--port", "4406", "--no-knock", "--json"])
    assert asked
    assert (asked.pids, asked.known.ports) == ((7, 8), PORTS | {4406})
    assert (asked.knock, asked.as_json) == (False, True)
    (place / "slackwater.toml").write_text("")  # there may be servers to ask
    assert doctor_look.plain([]) is None
