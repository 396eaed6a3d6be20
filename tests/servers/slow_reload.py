"""A reload of HAProxy that takes seconds, as certificates and names to resolve can have it do."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.servers.patience import eventually
from tests.sweep.front import Front

from slackwater.facts.balancer import parse_info
from slackwater.lab.facts import LabFacts

SLOW = """
if os.remove("{flag}") then os.execute("sleep {seconds}") end
"""
BEGIN = """
import os, signal, time
open({flag!r}, "w").close()
os.kill({pid}, signal.SIGUSR2)
while os.path.exists({flag!r}):
    time.sleep(0.001)
"""


class SlowReload:
    """Of a lab's `lb1`. `command` begins it, and ends when the servers of its file are read."""

    def __init__(self, lab: LabFacts, place: Path, *, seconds: float = 2) -> None:
        about, flag = lab.balancers["lb1"], str(place / "slow")
        self._front = Front(lab.directory, "lb1", about)
        (place / "slow.lua").write_text(SLOW.format(flag=flag, seconds=seconds))
        with Path(about["config_file"]).open("a") as file:  # behind the servers
            file.write(f"global\n    lua-load {place / 'slow.lua'}\n")
        (place / "begin.py").write_text(BEGIN.format(flag=flag, pid=about["pid"]))
        self.command = f"{sys.executable} {place / 'begin.py'}"
        self._serving = self._worker()

    def _worker(self) -> str:
        return parse_info(self._front.runtime("show info"))["Pid"]

    def takes_effect(self) -> None:
        """Wait until its process serves."""
        eventually(lambda: self._worker() != self._serving, "the reload takes effect")
