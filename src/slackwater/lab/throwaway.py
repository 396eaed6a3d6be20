"""Two servers for a rehearsal: made in a folder of their own, gone when it is over.

A killed rehearsal leaves them running; the next one ends them and removes their folder: its lock
is free then.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slackwater.lab.instance import Instance
from slackwater.lab.process import kill_all, marked
from slackwater.outside.server_programs import Program

PREFIX = "slackwater-rehearsal-"
START_LIMIT_S = 120.0
# One applier and no GTIDs: what fails is skipped, one transaction after the other. What is lost in
# a crash is nobody's.
_MARIADB = ("--gtid-strict-mode=OFF", "--slave-parallel-threads=0")
_MYSQL = ("--gtid-mode=OFF", "--enforce-gtid-consistency=OFF", "--loose-replica-parallel-workers=0",
          "--loose-slave-parallel-workers=0",
          # Where 9.7 is, which has a worker all the same, it says every 300 ms otherwise: as long
          # took each statement.
          "--loose-replica-checkpoint-period=1", "--loose-slave-checkpoint-period=1")
_FAST = ("--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0", "--innodb-doublewrite=0",
         "--max-allowed-packet=64M", "--log-bin-trust-function-creators=ON", "--read-only=OFF",
         "--event-scheduler=OFF")


@contextlib.contextmanager
def throwaway_pair(program: Program) -> Iterator[tuple[Instance, Instance]]:
    """Both, running and empty: the source and the replica, which does not follow yet."""
    sweep()
    place = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place.chmod(0o711)
        made: list[Instance] = []
        try:
            extra = (*_FAST, *(_MARIADB if program.is_mariadb else _MYSQL))
            for number, name in ((1, "source"), (2, "replica")):
                # What a procedure writes INTO OUTFILE goes nowhere else.
                made.append(Instance.create(
                    program, place / name, server_id=number, mark=place,
                    extra=(*extra, f"--secure-file-priv={place / name / 'tmp'}")))
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda server: server.start(START_LIMIT_S), made))
            yield made[0], made[1]
        finally:
            for server in made:
                server.remove()
            shutil.rmtree(place, ignore_errors=True)


def sweep() -> None:
    """What rehearsals left whose process is gone."""
    for folder in Path(tempfile.gettempdir()).resolve().glob(PREFIX + "*"):
        with contextlib.suppress(OSError), (folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or its owner lives
            kill_all(marked(folder))
            shutil.rmtree(folder, ignore_errors=True)
