"""A small parent of a server that keeps its listening sockets, as systemd does (LISTEN_FDS).

    python -m tests.maintain.owner keep DIRECTORY PLACE       open the sockets, start, stay
    python -m tests.maintain.owner restart DIRECTORY PLACE    what `systemctl restart` would be

Where PLACE/step exists, a restart waits with the server stopped: PLACE/down appears, and PLACE/go
lets it go on.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

from tests.servers.patience import eventually

from slackwater.lab.instance import Instance
from slackwater.lab.process import ProcessId, children, environment

FIRST = 3  # the first handed-over descriptor, sd_listen_fds(3)
# LISTEN_PID is the server's own pid, which only exists after the fork.
_RUN = 'LISTEN_PID=$$; export LISTEN_PID; exec "$@"'


def command(server: Instance, place: Path) -> str:
    """The line for slackwater.toml."""
    words = ["-m", "tests.maintain.owner", "restart", str(server.directory), str(place)]
    return shlex.join([sys.executable, *words])


def start(server: Instance, place: Path) -> subprocess.Popen[bytes]:
    """Begin an owner, and wait until its server greets."""
    server.stop()
    os.mkfifo(place / "ctl")
    words = ["-m", "tests.maintain.owner", "keep", str(server.directory), str(place)]
    process = subprocess.Popen([sys.executable, *words])
    _wait_for(place, 1)
    return process


def main() -> None:
    """See above."""
    verb, server, place = sys.argv[1], Instance.load(Path(sys.argv[2])), Path(sys.argv[3])
    if verb == "keep":
        _keep(server, place)
        return
    before = _starts(place)
    (place / "ctl").write_text("restart\n")
    _wait_for(place, before + 1)


def _keep(server: Instance, place: Path) -> None:
    sockets = _sockets(server)
    while True:
        _launch(server)
        server.wait_ready()
        (place / "starts.new").write_text(str(_starts(place) + 1))
        (place / "starts.new").rename(place / "starts")
        (place / "ctl").read_text()  # until somebody has written and closed it
        server.stop()
        (place / "down").touch()
        if (place / "step").exists():
            eventually((place / "go").exists, "the test lets it start", limit_s=60)
        assert sockets


def _sockets(server: Instance) -> list[socket.socket]:
    """The two, at descriptors 3 and 4; open for as long as they are referred to."""
    tcp = socket.create_server(("127.0.0.1", server.port), backlog=4096)
    local = socket.socket(socket.AF_UNIX)
    server.socket.unlink(missing_ok=True)
    local.bind(str(server.socket))
    server.socket.chmod(0o777)
    local.listen(128)
    kept = [os.dup(s.fileno()) for s in (tcp, local)]
    for number, descriptor in enumerate(kept, FIRST):
        os.dup2(descriptor, number)
    return [tcp, local] if tcp.fileno() >= 0 else []


def _launch(server: Instance) -> None:
    """The server with its sockets handed over."""
    fds = (FIRST, FIRST + 1)
    with (server.directory / "output.log").open("ab") as log:
        child = subprocess.Popen(
            ["/bin/sh", "-c", _RUN, "sh", *server.command()], stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, cwd="/", start_new_session=True, pass_fds=fds,
            env={**environment(server.mark), "LISTEN_FDS": "2"},
        )
    children[child.pid] = child
    server.process = ProcessId.of(child.pid)
    server._note()


def _starts(place: Path) -> int:
    try:
        return int((place / "starts").read_text())
    except FileNotFoundError:
        return 0


def _wait_for(place: Path, starts: int) -> None:
    eventually(lambda: _starts(place) >= starts, "the server greets", limit_s=60)


if __name__ == "__main__":
    main()
