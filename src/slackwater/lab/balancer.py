"""HAProxy in front of a lab's pair."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from slackwater.errors import OutsideError, Refused
from slackwater.facts.balancer import BalancerAddress
from slackwater.lab.instance import Instance
from slackwater.lab.ports import free_port
from slackwater.lab.process import ProcessId, poll_pause, spawn
from slackwater.outside.haproxy import config as haproxy_config

_MAXCONN = 8000


@dataclass(frozen=True)
class Balancer:
    """One HAProxy: its directory holds its files and sockets; `port` is where clients come in."""

    name: str
    directory: Path
    port: int
    program: Path

    @property
    def runtime(self) -> Path:
        return self.directory / "admin.sock"

    @property
    def pin(self) -> Path:
        return self.directory / "pin.sock"

    @property
    def holds_map(self) -> Path:
        return self.directory / "holds.map"

    @property
    def main_config(self) -> Path:
        return self.directory / "haproxy.cfg"

    @property
    def config_file(self) -> Path:
        """The file that slackwater owns."""
        return self.directory / "pair.cfg"

    @property
    def frontend(self) -> str:
        return f"127.0.0.1:{self.port}"

    def address(self) -> BalancerAddress:
        """How slackwater reaches it."""
        return BalancerAddress(
            name=self.name, runtime=f"unix:{self.runtime}", backend="pair",
            frontend=self.frontend, pin=f"unix:{self.pin}",
            holds_map=str(self.holds_map), config_file=str(self.config_file),
        )

    def command(self) -> list[str]:
        """Master and worker, in the foreground: SIGUSR2 to the pid reloads it."""
        files = ["-f", str(self.main_config), "-f", str(self.config_file)]
        return [str(self.program), "-W", *files]


def find_haproxy() -> Path:
    """HAProxy's program. Raises Refused with what to install."""
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    found = shutil.which("haproxy", path=path)
    if found is None:
        raise Refused(
            "no balancer on this machine",
            ["no haproxy"],
            hint="install it (on Debian: apt-get install haproxy)",
        )
    return Path(found)


def create(
    name: str, directory: Path, active: Instance, passive: Instance, *, maxconn: int
) -> Balancer:
    """Write the files of a balancer into `directory` (made). `maxconn`: clients at once."""
    directory.mkdir(mode=0o700)
    balancer = Balancer(name, directory, free_port(), find_haproxy())
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = _MAXCONN if hard == resource.RLIM_INFINITY else min(_MAXCONN, (hard - 200) // 2)
    at = balancer.address()
    servers = {i.directory.name: i.address for i in (active, passive)}
    for path, text in (
        (balancer.holds_map, haproxy_config.render_map()),
        (haproxy_config.lua_path(at), haproxy_config.render_lua(at)),
        (balancer.main_config, haproxy_config.render_global([at], maxconn=most)),
        (
            balancer.config_file,
            haproxy_config.render(
                "lab", at, servers, active.directory.name, maxconn=maxconn
            ),
        ),
    ):
        path.touch(mode=0o600)
        path.write_text(text)
    return balancer


def start(balancer: Balancer, *, mark: Path, limit_s: float = 10.0) -> ProcessId:
    """Start it and wait until it takes clients. Raises OutsideError with its words."""
    output = balancer.directory / "output.log"
    process = spawn(balancer.command(), mark=mark, output=output)
    where = f"balancer {balancer.name} ({balancer.frontend})"
    end = time.monotonic() + limit_s
    while not _answers(balancer.runtime):
        if process is None or not process.alive or time.monotonic() > end:
            words = output.read_text(errors="replace").strip()[-1500:]
            raise OutsideError(where, f"did not start:\n{words}", sent=True)
        poll_pause()
    assert process is not None
    return process


def _answers(runtime: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(runtime))
            client.sendall(b"show info\n")
            return client.recv(64).startswith(b"Name:")
        except OSError:
            return False

