"""`make matrix`: each topology on every server of this machine, from empty and from full servers,
with TLS required where the server has it; and killed at every step.

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
from tests.setup import full, stories
from tests.setup.scene import Scene, scene
from tests.setup.stories import STEPS, killed_at, verified

from slackwater.lab.instance import Program, installed


def topology(program: Program, place: Path, *, count: int, source: bool, data: bool) -> str:
    """One set-up from nothing; "" or why it was not tried."""
    with scene(program, place, count, source=source) as made:
        if data:
            full.fill(made, "a")
        made.setup()
        _same(made, data)
        verified(made)
    return ""


def tls(program: Program, place: Path) -> str:
    """The same with `require_tls`; a server without TLS has to be refused by name."""
    with scene(program, place, require_tls=True) as made:
        able = made.sql("a", "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('have_ssl','ssl_cert')")
        has = {r["Variable_name"]: r["Value"] for r in able}
        if has.get("have_ssl", "YES") != "YES" or not ("have_ssl" in has or has.get("ssl_cert")):
            assert "this server has no TLS" in made.refusals()
            return "has no TLS: refused"
        made.setup()
        status = made.sql("b", "SHOW SLAVE STATUS" if program.is_mariadb
                          or program.version < (8, 4, 0) else "SHOW REPLICA STATUS")[0]
        used = status.get("Master_SSL_Allowed") or status.get("Source_SSL_Allowed")
        assert used == "Yes", status
        verified(made)
    return ""


def killed(program: Program, place: Path) -> str:
    """Killed as each step begins, one after the other; then once more to the end."""
    with scene(program, place) as made:
        full.fill(made, "a")
        reached = [s for s in STEPS if killed_at(made, s)]
        made.setup()
        _same(made, True)
        verified(made)
    return f"killed at {', '.join(reached)}"


def told(story: Callable[[Program, Path], str | None], program: Program, place: Path) -> str:
    """One of the tests' stories; "" or why this server cannot tell it."""
    try:
        return story(program, place) or ""
    except pytest.skip.Exception as why:
        return str(why)


def _same(made: Scene, data: bool) -> None:
    want = full.contents(made, "a") if data else None
    for name in list(made.servers)[1:]:
        assert not data or full.contents(made, name) == want, f"{name} differs"


CASES: dict[str, Callable[[Program, Path], str]] = {
    "pair, empty": partial(topology, count=2, source=False, data=False),
    "pair, full": partial(topology, count=2, source=False, data=True),
    "pair and a replica, full": partial(topology, count=3, source=False, data=True),
    "source and a replica, empty": partial(topology, count=2, source=True, data=False),
    "source and two replicas, full": partial(topology, count=3, source=True, data=True),
    "TLS required": tls,
    "killed at every step": killed,
    "full and written to": partial(told, stories.full_source),
    "settings and restarts": partial(told, stories.settings_in_one_file),
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
    for program in installed():
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
            print(f"{program.name:14} {title:30} {time.monotonic() - begun:5.1f} s  {said}",
                  flush=True)
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
