"""A server as if on a machine of its own: its data in memory, its threads at idle priority, a core
for it alone, or only a share of the time that it would take.

A bench has both servers of a pair on one machine. There each fsync of the one waits for what the
other writes to the same disk, and its threads wait for the other's to leave a core: no pair in use
has that. In memory alone the other becomes faster, and takes more of the cores.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from slackwater.lab.instance import Instance

PERIOD_S = 0.02


@contextmanager
def apart(server: Instance, *, gigabytes: float = 6) -> Iterator[None]:
    """Move the data of a running server into memory and have all its threads yield; it is stopped
    and started for that, and ended afterwards. Only root can."""
    if os.geteuid() != 0:
        raise SystemExit("only root can mount a file system in memory")
    server.stop()
    data = server.directory / "data"
    owner = data.stat()
    disk = data.rename(data.with_name("data-on-disk"))
    data.mkdir()
    _run("mount", "-t", "tmpfs", "-o",
         f"size={int(gigabytes * 2**30)},mode=0700,uid={owner.st_uid},gid={owner.st_gid}",
         "slackwater-bench", str(data))
    try:
        _run("cp", "-a", f"{disk}/.", f"{data}/")
        server.start()
        _run("chrt", "--all-tasks", "--idle", "--pid", "0", str(server.pid))
        yield
    finally:
        server.kill()
        _run("umount", str(data))


@contextmanager
def on_its_core(server: Instance, others: Iterable[int]) -> Iterator[None]:
    """Give a running server the last core for itself; `others` (process ids) and this process, with
    all that it starts from now on, have the rest."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("a core for one server alone takes two cores")
    rest = ",".join(map(str, cores[:-1]))
    try:
        for pid in (*others, os.getpid()):
            _run("taskset", "-a", "-p", "-c", rest, str(pid))
        _run("taskset", "-a", "-p", "-c", str(cores[-1]), str(server.pid))
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def slowed(server: Instance, share: float, busy: Callable[[], bool]) -> Iterator[None]:
    """While it is `busy`, stop a running server (SIGSTOP) for the rest of each PERIOD_S, so that it
    runs for `share` (0 to 1) of the time, as a limit of its service would have it."""
    ended = threading.Event()

    def pace() -> None:
        while not ended.is_set():
            if busy():
                os.kill(server.pid, signal.SIGSTOP)
                ended.wait(PERIOD_S * (1 - share))
                os.kill(server.pid, signal.SIGCONT)
            ended.wait(PERIOD_S * share)

    pacing = threading.Thread(target=pace)
    pacing.start()
    try:
        yield
    finally:
        ended.set()
        pacing.join()


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=120)
