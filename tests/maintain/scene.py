"""Scenes of held maintenance, each in a network namespace of its own; what was seen, as JSON.

    unshare --net python -m tests.maintain.scene restart mariadb-10.11

A scene makes its server, loads it with connection-per-request writes, runs slackwater as a person
would, and prints one JSON object: `code`, `said` (slackwater's JSON) and `load`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.maintain import alone, slow_restart
from tests.servers.fixtures import end, root_of, sql
from tests.servers.patience import PATIENCE, eventually

from slackwater.lab.instance import Instance, Program, installed
from slackwater.lab.load_plan import LoadPlan
from slackwater.lab.load_target import lab_target
from slackwater.lab.up import up
from slackwater.outside.gate.holder import BEAT_S

RATE = float(os.environ.get("SLACKWATER_SCENE_RATE", "60"))  # requests a second
PACKAGE = "mariadb-server-core"
PAIR_RATE = float(os.environ.get("SLACKWATER_SCENE_RATE", "40"))
CROWD_FITS = 45  # max_connections of the scene `crowd`
MOST_S = 60 * PATIENCE  # a load ends with its scene, long before


def restart(program: Program, place: Path) -> dict[str, Any]:
    """A loaded server alone is restarted behind the gate."""
    return _on_one(program, place, "restart", "s")


def failing(program: Program, place: Path) -> dict[str, Any]:
    """The command of a hold fails: clients go on all the same, and it is told."""
    port = ("--port", str(_port(program, place)))
    return _on_one(program, place, "hold", *port, "--", "sh", "-c", "echo no luck; exit 7")


def straggler(program: Program, place: Path) -> dict[str, Any]:
    """A pool stays connected: nothing is done, and it is named."""
    return _on_one(program, place, "restart", "s", "--quiet-limit", "0.3", pooled=2)


def closed(program: Program, place: Path) -> dict[str, Any]:
    """A pool that tests its connections is closed between its transactions."""
    return _on_one(program, place, "restart", "s", "--quiet-limit", "0.2", "--close-stragglers",
                   tested=2)


def killed(program: Program, place: Path) -> dict[str, Any]:
    """slackwater is killed while the server is down; then recover."""
    server = _server(program, place)
    words = ("restart", "s", "--json", "--config", alone.config(place))
    with alone.Loaded(alone.target(server), plan()) as load:
        under_way(load)
        process = alone.until_step("FinishCommand", *words)
        process.kill()
        process.communicate()
        goes_on(load)
        done = alone.slackwater("recover", "--json", "--config", alone.config(place))
        again = alone.slackwater("recover", "--json", "--config", alone.config(place))
        goes_on(load)
    return seen(done, load, place) | {"again": again.returncode}


def orphan(program: Program, place: Path) -> dict[str, Any]:
    """slackwater and the shell that waits for the command are killed, the command is not: it goes
    on to stop the server, which nobody but the holder knows of."""
    server = _server(program, place)
    script = (f"echo $$ >{place}/new; mv {place}/new {place}/command; "
              f"while [ ! -e {place}/stop ]; do sleep 0.05; done; "
              f"exec {slow_restart.command(server, place)}")
    words = ("hold", "--port", str(server.port), "--limit", "25", "--json",
             "--config", alone.config(place), "--", "sh", "-c", script)
    with alone.Loaded(alone.target(server), plan(connect_limit_s=40)) as load:
        under_way(load)
        process = alone.until_step("FinishCommand", *words)
        eventually((place / "command").exists, "the command runs", limit_s=MOST_S)
        process.kill()
        process.wait(MOST_S)
        command = (place / "command").read_text().strip()
        stat = Path(f"/proc/{command}/stat").read_text()
        os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)  # its parent: the shell
        held = not let_in(server.port)
        (place / "stop").touch()
        eventually((place / "down").exists, "the server is down", limit_s=MOST_S)
        (place / "go").touch()
        goes_on(load)
        process.communicate()  # the holder had its standard error too
        done = alone.slackwater("recover", "--json", "--config", alone.config(place))
        goes_on(load)
    return seen(done, load, place) | {
        "restarted": Instance.load(place / "s").pid != server.pid, "held": held}


def interrupted(program: Program, place: Path) -> dict[str, Any]:
    """Ctrl-C while clients wait at the gate for a pool that does not leave."""
    server = _server(program, place)
    words = ("restart", "s", "--quiet-limit", "20", "--limit", "25", "--json")
    with alone.Loaded(alone.target(server), plan(pooled=1)) as load:
        under_way(load)
        process = alone.until_step(
            "WaitForClients", *words, "--config", alone.config(place))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=MOST_S)
        goes_on(load)
    return seen(subprocess.CompletedProcess(words, process.returncode, out, err), load, place)


def powerless(program: Program, place: Path) -> dict[str, Any]:
    """Root in a container without CAP_NET_ADMIN: refused, with what is missing."""
    before = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")
    return _on_one(program, place, "restart", "s", before=before)


# No user of the machine; only that it may read, so that it finds Python wherever that is.
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps",
          "-all,+dac_read_search", "--ambient-caps", "-all,+dac_read_search")  # fmt: skip


def nobody(program: Program, place: Path) -> dict[str, Any]:
    """Somebody who is not root: refused, with what is missing and what to do; also packages."""
    (place / "state").mkdir()
    os.chown(place / "state", 65534, 65534)
    seen = _on_one(program, place, "restart", "s", before=NOBODY)
    config = ("--json", "--config", alone.config(place))
    packages = alone.slackwater("upgrade", "s", *config, before=NOBODY)
    explained = alone.slackwater("hold", "--explain", *config[1:], before=NOBODY)
    return seen | {"packages": last_json(packages.stdout), "explained": explained.stdout}


def no_nft(program: Program, place: Path) -> dict[str, Any]:
    """Neither nft nor iptables is in PATH (/usr/sbin): only the kernel is needed."""
    return _on_one(program, place, "restart", "s", before=("env", "PATH=/usr/bin"))


def crowd(program: Program, place: Path) -> dict[str, Any]:
    """More clients wait than the server has connections for, and each takes its time."""
    server = _server(program, place)
    sql(server.socket, f"SET GLOBAL max_connections = {CROWD_FITS}")
    words = ("hold", "--port", str(server.port))
    # Few a second, since a busy machine may be slow to serve them before and after.
    load = plan(connect_limit_s=60.0 * PATIENCE, rate=60.0)
    return _on_one(program, place, *words, "--", "sleep", "3", load=load)


def unpaced(program: Program, place: Path) -> dict[str, Any]:
    """The same crowd at a port that is not known to be the server's: all are let in at once."""
    server = _server(program, place)
    text = alone.config(place).read_text()
    alone.config(place).write_text(text.replace(server.address, "127.0.0.1:1"))
    return crowd(program, place)


def package(program: Program, place: Path) -> dict[str, Any]:
    """The distribution's server package is installed again below a server that runs from it."""
    return _on_one(program, place, "upgrade", "s", PACKAGE, "--reinstall")


def pair(program: Program, place: Path) -> dict[str, Any]:
    """Both servers of a loaded pair are restarted, one after the other, behind HAProxy."""
    try:
        made = up(server=root_of(program), directory=place / "lab", say=lambda _: None)
        uptimes = {n: made.instance(n).pid for n in made.servers}
        # Few a second: a busy machine lets a client look idle just when the switchover settles.
        with alone.Loaded(lab_target(made.config), plan(rate=PAIR_RATE)) as load:
            under_way(load)
            done = alone.slackwater("restart", "--pair", "lab", "--json", "--config", made.config)
            goes_on(load)
        assert load.report is not None
        new = {n: made.instance(n).pid for n in made.servers}
        return {
            "code": done.returncode, "said": last_json(done.stdout), "err": done.stderr[-3000:],
            "load": alone.summary(load.report),
            "restarted": [n for n in new if new[n] != uptimes[n]],
        }
    finally:
        end(place / "lab")


def _on_one(
    program: Program, place: Path, *words: str, pooled: int = 0, tested: int = 0,
    before: tuple[str, ...] = (), load: LoadPlan | None = None,
) -> dict[str, Any]:
    server = _server(program, place)
    pid = server.pid
    with alone.Loaded(alone.target(server), load or plan(pooled, tested)) as loaded:
        under_way(loaded)
        front, dashes, command = _split(words)
        done = alone.slackwater(
            *front, "--json", "--config", alone.config(place), *dashes, *command, before=before)
        goes_on(loaded)
    return seen(done, loaded, place) | {"restarted": Instance.load(place / "s").pid != pid}


def seen(
    done: subprocess.CompletedProcess[str], load: alone.Loaded, place: Path
) -> dict[str, Any]:
    """What came of it."""
    assert load.report is not None
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True,
                           check=False, timeout=10)
    return {
        "code": done.returncode, "said": last_json(done.stdout), "err": done.stderr[-3000:],
        "load": alone.summary(load.report), "rules": rules.stdout,
        "alive": Instance.load(place / "s").alive,
    }


def plan(
    pooled: int = 0, tested: int = 0, connect_limit_s: float = 10.0, rate: float = RATE
) -> LoadPlan:
    """The load of a scene."""
    return LoadPlan(seconds=MOST_S, rate=rate, pooled=pooled, pooled_tested=tested,
                    connect_limit_s=connect_limit_s)


def let_in(port: int) -> bool:
    """Whether a new client is let in within three of the holder's looks, while the server runs."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=3 * BEAT_S).close()
    except TimeoutError:
        return False
    return True


def _server(program: Program, place: Path) -> Instance:
    made = place / "s"
    return Instance.load(made) if made.exists() else alone.make(program, place)


def _port(program: Program, place: Path) -> int:
    return _server(program, place).port


def _split(words: tuple[str, ...]) -> tuple[list[str], list[str], list[str]]:
    """What is slackwater's, the dashes, and the command."""
    at = words.index("--") if "--" in words else len(words)
    return list(words[:at]), list(words[at:at + 1]), list(words[at + 1:])


def under_way(load: alone.Loaded) -> None:
    """Wait until writes are acknowledged."""
    eventually(lambda: load.acked >= RATE // 2, "the load runs", limit_s=MOST_S)


def goes_on(load: alone.Loaded) -> None:
    """Wait until more writes are acknowledged."""
    more = load.acked + RATE // 2
    eventually(lambda: load.acked >= more, "the load goes on", limit_s=MOST_S)


def last_json(text: str) -> dict[str, Any]:
    """The JSON in the last line, {} when there is none."""
    lines = text.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {"not json": text[-2000:]}
    return dict(found)


SCENES: dict[str, Callable[[Program, Path], dict[str, Any]]] = {
    f.__name__: f for f in (
        restart, failing, straggler, closed, killed, orphan, interrupted, powerless, nobody, no_nft,
        package, pair, crowd, unpaced,
    )
}


def main() -> None:
    """Play one scene; everything it made is gone afterwards."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    from tests.maintain import activated, far  # they have scenes made of these parts

    scenes = SCENES | far.SCENES | activated.SCENES
    program = next(p for p in installed() if p.name == sys.argv[2])
    place = Path(tempfile.mkdtemp(prefix="slackwater-scene-")).resolve()
    place.chmod(0o711)
    try:
        print(json.dumps(scenes[sys.argv[1]](program, place), default=str))
    finally:
        if (place / "s" / "instance.json").exists():
            Instance.load(place / "s").remove()
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
