"""A server's data in memory: as if its disk were another machine's.

A bench has both servers of a pair on one machine. There each fsync of the one waits for what the
other writes to the same disk (a copying ALTER, a copy that arrives), which no pair in use has.
With the other server's data in memory that part is gone; the cores are shared all the same.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from slackwater.lab.instance import Instance


@contextmanager
def in_memory(server: Instance, *, wanted: bool, gigabytes: float = 6) -> Iterator[None]:
    """Move the data of a running server into memory; it is stopped and started for that, and
    ended afterwards. Without `wanted` nothing is done. Only root can."""
    if not wanted:
        yield
        return
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
        yield
    finally:
        server.kill()
        _run("umount", str(data))


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=120)
