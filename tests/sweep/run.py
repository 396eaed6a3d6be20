"""One case: a healthy lab, load, a switchover with its fault, healing, recover, the verdict."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.sweep import judge
from tests.sweep.acts import Acts, Trigger
from tests.sweep.cases import Case
from tests.sweep.loyal import Loyal
from tests.sweep.network import Network
from tests.sweep.pair import HOLD_S, NAMES, PATIENCE, SweepLab, environment, other, python, settle
from tests.sweep.watch import Watcher

from slackwater.plan import journal

RUN_LIMIT_S = 90.0
TINY_BYTES = 200 * 1024


@dataclass
class Result:
    """One line of the table; `faults` empty means that every invariant held."""

    case: Case
    outcome: str = ""
    recovered: str = ""
    acked: int = 0
    lost: int | None = None
    duplicated: int | None = None
    two_writable: int = 0
    longest_ms: float = 0.0
    seconds: float = 0.0
    skipped: str = ""
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Said:
    """What one slackwater process left: exit code, its JSON, its standard error."""

    code: int
    report: dict[str, Any]
    errors: str

    @property
    def outcome(self) -> str:
        if self.code == -signal.SIGKILL:
            return "killed"
        return str(self.report.get("outcome", f"exit {self.code}"))


class Sweep:
    """Runs cases one after another on one lab, which is built anew only when it is not healthy."""

    def __init__(self, lab: SweepLab, network: Network | None = None) -> None:
        self.lab, self.network = lab, network
        self.work = Path(tempfile.mkdtemp(prefix="slackwater-sweep-"))
        self.tiny_mounted = False

    def close(self) -> None:
        """End the lab and remove every file."""
        self.lab.end()
        if self.tiny_mounted:
            subprocess.run(["umount", str(self.work / "tiny")], check=False)
        subprocess.run(["rm", "-rf", str(self.work)], check=False)
        if self.network:
            self.network.close()

    def run(self, case: Case) -> Result:
        """One case; never raises for what the case does."""
        began = time.monotonic()
        result = Result(case)
        result.skipped = self._reason_to_skip(case)
        if not result.skipped:
            if self.lab.built == 0 or settle(self.lab, 3 * PATIENCE):
                self.build()
            with contextlib.ExitStack() as stack:
                self._run(case, result, stack)
        result.seconds = time.monotonic() - began
        return result

    def build(self) -> None:
        """A new lab; with a network between, it is reached by TCP alone."""
        self.lab.build()
        if self.network is not None:
            judge.use_tcp(self.lab, self.network)

    def _reason_to_skip(self, case: Case) -> str:
        if case.group == "network" and self.network is None:
            return "no network namespaces here"
        if case.group == "disk" and os.geteuid() != 0:
            return "a tiny file system needs root"
        return ""

    def _run(self, case: Case, result: Result, stack: contextlib.ExitStack) -> None:
        lab, old = self.lab, self.lab.active()
        assert old is not None
        config, state = self._config(case)
        acts = Acts(lab, old, state, self.network)
        directory = Path(tempfile.mkdtemp(dir=self.work))
        watcher = stack.enter_context(Watcher(lab.connect))
        client = stack.enter_context(_load(lab.config, directory))
        stack.enter_context(Loyal(lab.facts))
        trigger = stack.enter_context(Trigger(directory, lambda: acts.start(case.action)))
        begun = time.monotonic()
        if case.action and not case.step:
            acts.start(case.action)
        inject = f"run:{case.step}:{trigger.command}" if case.action and case.step else ""
        inject = ";".join(filter(None, (inject, case.inject)))
        said = self._slackwater(["switchover"], config, inject, acts, case.delay_ms)
        result.outcome = said.outcome
        acts.heal()
        outage_s = time.monotonic() - begun
        if trigger.error:
            result.faults.append(f"harness: {trigger.error}")
        if case.action and case.step and trigger.acted_at is None:
            why = said.report.get("reasons") or said.errors[-400:]
            result.faults.append(f"the step was never reached, so nothing was tried: {why}")
        result.faults += judge.hold_ends(lab, HOLD_S + PATIENCE)
        result.faults += judge.truth(lab, case, said, old)
        self._recover(case, config, state, acts, result, said, old)
        if said.outcome not in ("done", "refused"):
            self._again(case, config, acts, result)
        (directory / "stop").touch()
        judge.load(client, result, case, outage_s)
        result.two_writable = len(watcher.two)
        if watcher.two:
            result.faults.append(f"two servers were writable at {len(watcher.two)} looks")
        for name in NAMES:
            server = lab.facts.instance(name)
            if not server.alive:
                result.faults.append(f"server {name} died: {server.log_tail(4000)}")
        if result.faults:
            result.notes.append(said.errors[-3000:])

    def _recover(
        self, case: Case, config: Path, state: Path, acts: Acts, result: Result, said: Said,
        old: str,
    ) -> None:
        """Recover, again, and see that the second changed nothing."""
        if case.recover_inject:
            self._slackwater(["recover"], config, case.recover_inject, acts)
            judge.hold_ends(self.lab, HOLD_S + PATIENCE)
        first = self._slackwater(["recover"], config, "", acts)
        what = first.report.get("recovered")
        nothing = not what
        recovered = what[-1]["outcome"] if what else first.outcome
        result.recovered = "-" if nothing and first.code == 0 else recovered
        if first.outcome != "done" or first.code != 0:
            result.faults.append(f"recover: {first.outcome} (exit {first.code}) "
                                 f"{first.report.get('reasons') or first.errors[-400:]}")
        # Killed when all was done: then nothing is left to recover, and the journal says so.
        past = journal.read_all(state)  # none when the disk was full
        end = recovered
        if nothing:
            end = str(past[-1].outcome) if past else "refused"
        role = other(old) if end == "done" else old
        told = judge.told_of_the_end(case, said)
        wrong = settle(self.lab, 8 * PATIENCE, active=role, locks=told)
        result.faults += [f"after recover: {w}" for w in wrong]
        before = self.lab.look()
        second = self._slackwater(["recover"], config, "", acts)
        if second.code != 0 or second.report.get("recovered"):
            result.faults.append(f"the second recover: exit {second.code} {second.errors[-200:]}")
        if self.lab.look() != before:
            result.faults.append("the second recover changed something")

    def _again(self, case: Case, config: Path, acts: Acts, result: Result) -> None:
        """Nothing that was left may be in the way of the next switchover."""
        # Sessions that a reload left in the old process are none of the new one's.
        left = ["--settle-bypassing"] if "reload" in case.action else []
        said = self._slackwater(["switchover", *left], config, "", acts)
        if said.outcome != "done":
            why = said.report.get("reasons") or said.errors[-400:]
            result.faults.append(f"the next switchover: {said.outcome} {why}")

    def _slackwater(
        self, words: list[str], config: Path, inject: str, acts: Acts,
        delay_ms: float | None = None,
    ) -> Said:
        command = python("slackwater", *words, "--json", "--config", str(config))
        if self.network is not None:
            command = self.network.command(command)
        more = {"SLACKWATER_INJECT": inject} if inject else {}
        with tempfile.TemporaryFile("w+", dir=self.work) as events:
            process = subprocess.Popen(
                command, env=environment(**more), stdin=subprocess.DEVNULL, text=True,
                stdout=subprocess.PIPE, stderr=events, start_new_session=True,
            )
            acts.pid = process.pid
            if delay_ms is not None:
                _first_word(process, events.fileno())
            limit_s = RUN_LIMIT_S * PATIENCE if delay_ms is None else delay_ms / 1000
            late = False
            try:
                out, _ = process.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                late = delay_ms is None
                os.killpg(process.pid, signal.SIGKILL)
                out, _ = process.communicate()
            events.seek(0)
            errors = events.read()
        if late:
            return Said(process.returncode, {"outcome": "did not end"}, errors)
        lines = [line for line in out.splitlines() if line.startswith("{")]
        return Said(process.returncode, json.loads(lines[-1]) if lines else {}, errors)

    def _config(self, case: Case) -> tuple[Path, Path]:
        """The configuration to use, and its state directory."""
        if case.group != "disk":
            return self.lab.config, self.lab.directory / "state"
        tiny = self.work / "tiny"
        tiny.mkdir(exist_ok=True)
        if not self.tiny_mounted:
            options = f"size={TINY_BYTES},mode=700"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tiny)], check=True)
            self.tiny_mounted = True
        for left in tiny.iterdir():
            left.unlink()
        path = self.lab.directory / "tiny.toml"
        text = self.lab.config.read_text()
        path.write_text(text.replace(str(self.lab.directory / "state"), str(tiny)))
        return path, tiny


def _first_word(process: subprocess.Popen[str], events: int) -> None:
    """Wait until it has said something on standard error: its first step begins."""
    end = time.monotonic() + 20 * PATIENCE
    while not os.fstat(events).st_size and process.poll() is None and time.monotonic() < end:
        time.sleep(0.001)


@contextlib.contextmanager
def _load(config: Path, directory: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        python("tests.sweep.client", str(config), str(directory)), env=environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    try:
        end = time.monotonic() + 20 * PATIENCE
        while not (directory / "begun").exists():
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                raise RuntimeError(f"the load does not begin: {process.communicate()[1][-500:]}")
            time.sleep(0.01)
        yield process
    finally:
        (directory / "stop").touch()
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=60)
            process.kill()
            process.wait()
