"""`slackwater` as a process of its own, as a person or a script runs it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from tests.servers.patience import PATIENCE
from tests.sweep.pair import environment, python

from slackwater.lab.facts import LabFacts


@dataclass(frozen=True)
class Said:
    """What it left: `report` is its JSON, {} where there was none."""

    code: int
    report: dict[str, Any]
    errors: str


def slackwater(lab: LabFacts, *words: str, inject: str = "", limit_s: float = 60.0) -> Said:
    """Run a command with --json on a lab; `inject`: SLACKWATER_INJECT."""
    more = {"SLACKWATER_INJECT": inject} if inject else {}
    done = subprocess.run(
        python("slackwater", *words, "--json", "--config", str(lab.config)),
        env=environment(**more), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=limit_s * PATIENCE, check=False, start_new_session=True,
    )
    return Said(done.returncode, json.loads(done.stdout or "{}"), done.stderr)
