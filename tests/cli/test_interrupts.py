"""Ctrl-C and SIGTERM: nothing was touched while looking, and the runner decides afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from tests.servers.command import slackwater
from tests.servers.patience import PATIENCE, eventually
from tests.sweep.pair import environment, python

from slackwater.cli.interrupts import interruptible
from slackwater.errors import Refused
from slackwater.lab.facts import LabFacts


class Runner:
    def __init__(self) -> None:
        self.told = 0

    def interrupt(self) -> None:
        self.told += 1


def test_a_look_is_given_up() -> None:
    async def interrupted(number: signal.Signals) -> None:
        with interruptible() as interrupts:
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
            await interrupts.look(asyncio.sleep(60))

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with pytest.raises(Refused, match="interrupted before anything was touched"):
            asyncio.run(interrupted(number))


def test_what_was_ignored_stays_so() -> None:
    """`nohup` means a closed terminal."""

    async def interrupted(number: signal.Signals) -> str:
        with interruptible() as interrupts:
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
            return await interrupts.look(asyncio.sleep(0.05, "went on"))

    for number in (signal.SIGHUP, signal.SIGINT):
        before = signal.signal(number, signal.SIG_IGN)
        try:
            assert asyncio.run(interrupted(number)) == "went on"
            assert signal.getsignal(number) is signal.SIG_IGN
        finally:
            signal.signal(number, before)
        with pytest.raises(Refused):
            asyncio.run(interrupted(number))
        assert signal.getsignal(number) is before


def test_between_the_look_and_the_runner_no_signal_is_lost() -> None:
    async def interrupted() -> tuple[int, int]:
        runner = Runner()
        with interruptible() as interrupts:
            interrupts.interrupt()
            interrupts.hand_over(runner)
            before = runner.told
            interrupts.interrupt()
        return before, runner.told

    assert asyncio.run(interrupted()) == (1, 2)


def test_a_look_that_was_cancelled_by_others_is_no_refusal() -> None:
    async def cancelled() -> None:
        with interruptible() as interrupts:
            async with asyncio.timeout(0):
                await interrupts.look(asyncio.sleep(60))

    with pytest.raises(TimeoutError):
        asyncio.run(cancelled())


@pytest.mark.servers
@pytest.mark.one_flavour
def test_the_command_says_refused(lab: LabFacts) -> None:
    server = lab.instance("b").process
    assert server is not None
    server.signal(signal.SIGSTOP)  # a look waits for it
    try:
        process = subprocess.Popen(
            python("slackwater", "switchover", "--json", "--config", str(lab.config)),
            env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        lock = Path(lab.config).parent / "state" / "pair-lab.lock"
        eventually(
            lambda: lock.exists() and lock.read_text() == str(process.pid), "the look begins"
        )
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=30 * PATIENCE)
    finally:
        server.signal(signal.SIGCONT)
    report = json.loads(out)
    assert (report["outcome"], process.returncode) == ("refused", 1)
    assert report["reasons"] == ["interrupted before anything was touched"]
    assert "Traceback" not in errors


@pytest.mark.servers
@pytest.mark.one_flavour
def test_signals_at_the_very_end_do_not_take_the_exit_code(lab: LabFacts, tmp_path: Path) -> None:
    hammer = tmp_path / "hammer"
    hammer.write_text("#!/bin/sh\n(while kill -TERM $1; do sleep 0.003; done) >/dev/null 2>&1 &\n")
    hammer.chmod(0o755)
    said = slackwater(lab, "switchover", inject=f"run:ProveIt:{hammer} $PPID")
    assert (said.code, said.report["outcome"]) == (0, "done")
    assert slackwater(lab, "status").report["active"] == "b"
