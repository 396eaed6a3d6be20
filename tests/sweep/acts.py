"""What the test does to the world just before a step, and how it is brought back."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.sweep.network import Network
from tests.sweep.pair import HOLD_S, SweepLab, other

FILLER = "filler"


class Acts:
    """One fault of the world: `start` does it, `heal` brings the world back.

    `pid` is slackwater's process, known once it was started; `state` is its state directory.
    """

    def __init__(self, lab: SweepLab, old: str, state: Path, network: Network | None) -> None:
        self.lab, self.old, self.new, self.state = lab, old, other(old), state
        self.network = network
        self.pid = 0
        self._keep: list[Any] = []  # sessions whose locks last until heal
        self._threads: list[threading.Thread] = []

    def start(self, action: str) -> None:
        """Do it; returns as soon as it is done."""
        verb, _, what = action.partition(" ")
        by_verb: dict[str, Callable[[str], None]] = {
            "kill": lambda w: self._signal(w, signal.SIGKILL),
            "hang": self._hang,
            "reload": lambda w: self.lab.fronts[0].reload(wait=True),
            "restart": lambda w: self.lab.fronts[0].restart(),
            "begin": lambda w: self.lab.fronts[0].reload(wait=False),
            "stop": lambda w: self._stop_replication(),
            "lag": self._lag,
            "cut": self._cut,
            "disk": lambda w: self.fill(),
        }
        by_verb[verb](what)

    def heal(self) -> None:
        """Bring back everything that any fault took away."""
        for thread in self._threads:
            thread.join(30)
        for session in self._keep:
            with contextlib.suppress(Exception):
                session._force_close()
        self._keep.clear()
        if self.network is not None:
            self.network.heal()
        (self.state / FILLER).unlink(missing_ok=True)
        self.lab.heal()

    def fill(self) -> None:
        """Fill the disk of the state directory to the last byte."""
        with (self.state / FILLER).open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 512)
        with (self.state / FILLER).open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x")

    def _signal(self, what: str, number: signal.Signals) -> None:
        if what == "balancer":
            self.lab.fronts[0].signal(number)
        else:
            self.lab.signal_server(getattr(self, what), number)

    def _hang(self, what: str) -> None:
        if what != "slackwater":
            self._signal(what, signal.SIGSTOP)
            return
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)

        def go_on() -> None:
            time.sleep(HOLD_S + 1.0)  # longer than the hold, and than the lock
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

        thread = threading.Thread(target=go_on)
        thread.start()
        self._threads.append(thread)

    def _stop_replication(self) -> None:
        self.lab.sql(self.new, self.lab.replica("STOP"), limit_s=10)

    def _lag(self, how: str) -> None:
        session = self.lab.connect(self.new, 30.0)
        self._keep.append(session)
        lock = "FLUSH TABLES WITH READ LOCK" if "global" in how else (
            "LOCK TABLES slackwater_lab.writes READ")

        def take() -> None:
            with contextlib.suppress(Exception), session.cursor() as cursor:
                cursor.execute(lock)

        # A global lock may wait for the appliers as they wait for it: not for ever in our way.
        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        thread.join(0.5)

    def _cut(self, what: str) -> None:
        assert self.network is not None, "cases with a cut network run in namespaces of their own"
        self.network.cut(what if what == "balancer" else getattr(self, what))


class Trigger:
    """`command` is what slackwater runs before a step: it asks us to act, and waits for it."""

    def __init__(self, directory: Path, act: Callable[[], None]) -> None:
        self._go, self._done = directory / "go", directory / "done"
        self._act = act
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self.acted_at: float | None = None
        self.error = ""

    @property
    def command(self) -> str:
        # No semicolon: it separates faults.
        return (f"touch {self._go}\nuntil [ -e {self._done} ]\ndo sleep 0.005\ndone")

    def __enter__(self) -> Trigger:
        for path in (self._go, self._done):
            path.unlink(missing_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _wait(self) -> None:
        while not self._stop.is_set():
            if self._go.exists():
                self.acted_at = time.monotonic()
                try:
                    self._act()
                except Exception as error:
                    self.error = repr(error)
                self._done.touch()
                return
            time.sleep(0.002)
