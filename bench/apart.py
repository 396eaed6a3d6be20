"""A server as if on a machine of its own: its data in memory, its threads at idle priority, or a
core for it alone.

A bench has both servers of a pair on one machine. There each fsync of the one waits for what the
other writes to the same disk, and its threads wait for the other's to leave a core: no pair in use
has that. In memory alone the other becomes faster, and takes more of the cores.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from slackwater.lab.instance import Instance


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


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=120)
