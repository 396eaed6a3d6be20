"""`make matrix`: each topology on every server of this machine, from empty and from full servers,
with TLS required and with TLS off; and what the tests tell of one server or two.

    python -m tests.setup.matrix [NAME …] [-k WORDS]     `-k`: only the cases with it in their title
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.servers.for_pairs import for_pairs
from tests.setup import full, stories, topologies
from tests.setup.scene import scene
from tests.setup.stories import STEPS, killed_at, verified

from slackwater.lab.instance import Program


def killed(program: Program, place: Path) -> str:
    """Killed as each step begins, one after the other; then once more to the end."""
    with scene(program, place) as made:
        full.fill(made, "a")
        reached = [s for s in STEPS if killed_at(made, s)]
        made.setup()
        topologies.same(made, True)
        verified(made)
    return f"killed at {', '.join(reached)}"


def told(story: Callable[[Program, Path], str | None], program: Program, place: Path) -> str:
    """One of the tests' stories; "" or why this server cannot tell it."""
    try:
        return story(program, place) or ""
    except pytest.skip.Exception as why:
        return str(why)


CASES: dict[str, Callable[[Program, Path], str]] = {
    **{f"{shape.title}, {'TLS' if tls else 'no TLS'}":
       partial(told, partial(topologies.from_nothing, shape=shape, tls=tls))
       for shape in topologies.ALL for tls in (True, False)},
    "TLS required, and none there": partial(told, topologies.no_tls_refused),
    "killed at every step": killed,
    "full and written to": partial(told, stories.full_source),
    "settings and restarts": partial(told, stories.settings_in_one_file),
    "settings overruled": partial(told, stories.settings_overruled),
    "servers killed in the copy": partial(told, stories.servers_killed),
    "semi-synchronous": partial(told, stories.semi_sync),
    "by the clone plugin": partial(told, stories.by_the_clone_plugin),
    "by mariadb-backup": partial(told, stories.by_mariadb_backup),
    "killed with mariadb-backup": partial(told, stories.backup_killed),
}


def main(names: list[str]) -> int:
    """A line for each case; the number of those that failed."""
    failed, only = 0, ""
    if "-k" in names:
        at = names.index("-k")
        only = names[at + 1]
        names = names[:at]
    for program in for_pairs():
        if names and program.name not in names:
            continue
        for title, case in CASES.items():
            if only not in title:
                continue
            place = Path(tempfile.mkdtemp(prefix="slackwater-matrix-")).resolve()
            place.chmod(0o711)
            begun = time.monotonic()
            try:
                said = "ok" + (f" ({note})" if (note := case(program, place)) else "")
            except Exception:
                failed += 1
                said = "FAILED\n" + traceback.format_exc()[-3000:]
            finally:
                shutil.rmtree(place, ignore_errors=True)
            print(f"{program.name:14} {title:37} {time.monotonic() - begun:5.1f} s  {said}",
                  flush=True)
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
