"""Real balancers, members and a registry on loopback, each a process that the test owns."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.servers.patience import PATIENCE, eventually

from slackwater.lab.ports import free_port
from slackwater.outside.registry import keys
from slackwater.outside.registry.client import Access, Client

HERE = Path(__file__).parent
WHOLE = ["-m", "slackwater", "registry", "serve", "--config"]
# The same without the rest of the command line, whose import takes longer than all else.
QUICK = ["-c", "import asyncio, pathlib, sys\n"
         "from slackwater.service.registry import serve, settings\n"
         "asyncio.run(serve.serve(settings.load(pathlib.Path(sys.argv[1]))))"]
MODULES = Path("/usr/lib/apache2/modules")
KINDS = ("haproxy", "apache", "nginx")
PROGRAMS = {"haproxy": "haproxy", "apache": "apache2", "nginx": "nginx"}
os.environ["PATH"] += ":/usr/sbin:/sbin"


def needs(kind: str) -> None:
    """Skip where the program is missing."""
    if not shutil.which(PROGRAMS[kind]):
        pytest.skip(f"{PROGRAMS[kind]} is not installed")


def end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
    """Signal it, wait, and kill it when it does not go."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            process.wait(10 * PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait(10 * PATIENCE)


def pool_report(access: Access) -> dict[str, Any]:
    """What a registry says of pool `web`."""

    async def ask() -> dict[str, Any]:
        client = Client(access)
        try:
            return dict(await client.ask("GET", "/v1/pools/web"))
        finally:
            await client.close()

    return asyncio.run(ask())


def listens(port: int) -> bool:
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Backend:
    """One member's server."""

    name: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Backend:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-E", str(HERE / "backend.py"), str(self.port), self.name],
            stdin=subprocess.DEVNULL, start_new_session=True,
        )
        eventually(lambda: listens(self.port), f"{self.name} listens")
        return self

    def kill(self) -> None:
        assert self.process is not None
        end(self.process, signal.SIGKILL)

    def stop(self) -> None:
        if self.process is not None:
            end(self.process)

    def hang(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


class Balancer:
    """A real balancer in `directory`, of a kind; clients come in at `port`."""

    def __init__(self, kind: str, directory: Path, pools: Sequence[str] = ("web",)) -> None:
        self.kind, self.directory = kind, directory
        directory.mkdir()
        self.port, self.pools = free_port(), list(pools)
        self.file = directory / f"registry-{kind}.conf"
        self.pid_file = directory / "pid"
        self.runtime = f"unix:{directory}/admin.sock"
        self.main = directory / "main.conf"
        self.process: subprocess.Popen[bytes] | None = None
        self.log = directory / "log"
        self.main.write_text(getattr(self, f"_{kind}")())
        script = directory / "reload"
        script.write_text(f"#!/bin/sh\necho reload >> {directory}/reloads\nexec {self._reload()}\n")
        script.chmod(0o755)
        self.reload = str(script)

    @property
    def reloads(self) -> int:
        """How often it was reloaded."""
        path = self.directory / "reloads"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def workers(self) -> set[str]:
        """The main process's children."""
        pid = int(self.pid_file.read_text())
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())

    @property
    def words(self) -> list[str]:
        """Its command line."""
        return {
            "haproxy": ["haproxy", "-W", "-p", str(self.pid_file), "-f", str(self.main),
                        "-f", str(self.file)],
            "apache": ["apache2", "-d", str(self.directory), "-f", str(self.main), "-DFOREGROUND"],
            "nginx": ["nginx", "-p", str(self.directory), "-c", str(self.main),
                      "-g", "daemon off;"],
        }[self.kind]

    def _reload(self) -> str:
        return {
            "haproxy": f"kill -USR2 $(cat {self.pid_file})",
            "apache": f"apache2 -d {self.directory} -f {self.main} -k graceful",
            "nginx": f"nginx -p {self.directory} -c {self.main} -s reload",
        }[self.kind]

    @property
    def check(self) -> str:
        """As registry.toml has it; "" is the kind's own."""
        if self.kind == "apache":
            return (f"apache2 -d {self.directory} -f {self.main} -t "
                    "-C 'Define SLACKWATER_REGISTRY {file}'")
        return ""

    def table(self) -> str:
        """Its part of registry.toml."""
        lines = [f"[balancers.{self.kind}]", f'kind = "{self.kind}"', f'file = "{self.file}"',
                 f'reload = "{self.reload}"', f'pid_file = "{self.pid_file}"']
        if self.kind == "haproxy":
            lines += [f'runtime = "{self.runtime}"', f'main = ["{self.main}"]']
        if self.check:
            lines += [f'check = "{self.check}"']
        return "\n".join(lines) + "\n"

    def start(self) -> None:
        if not self.file.exists():
            self.file.write_text(self._empty())
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, cwd=self.directory,
            )
        eventually(lambda: listens(self.port), f"{self.kind} listens: {self.said()}")

    def said(self) -> str:
        files = [self.log, self.directory / "error.log"]
        return "\n".join(f.read_text(errors="replace")[-1500:] for f in files if f.exists())

    def stop(self) -> None:
        if self.process is not None:
            end(self.process)

    def get(self, path: str = "/", limit_s: float = 10.0) -> str:
        """What a client is answered. Raises OSError."""
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, timeout=limit_s * PATIENCE) as answer:
            return str(answer.read().decode())

    def names(self, times: int = 24) -> set[str]:
        """Who answers, of so many requests; a refusal has the name of its status."""
        found = set()
        for _ in range(times):
            try:
                found.add(self.get())
            except urllib.error.HTTPError as error:
                found.add(str(error.code))
                error.close()
        return found

    def _empty(self) -> str:
        if self.kind == "nginx":
            return "".join(f"upstream {p} {{ server 127.0.0.1:9 down; }}\n" for p in self.pools)
        if self.kind == "haproxy":
            return "".join(f"backend {p}\n  timeout connect 2s\n  timeout server 9s\n"
                           "  balance roundrobin\n" for p in self.pools)
        return "".join(f'<Proxy "balancer://{p}">\n</Proxy>\n' for p in self.pools)

    def _haproxy(self) -> str:
        socket_path = self.runtime.removeprefix("unix:")
        return (f"global\n  stats socket {socket_path} level admin expose-fd listeners\n"
                "  hard-stop-after 5s\n"
                "defaults\n  mode http\n  timeout client 30s\n  timeout connect 2s\n"
                "  timeout server 30s\n"
                f"frontend www\n  bind 127.0.0.1:{self.port}\n  default_backend {self.pools[0]}\n")

    def _nginx(self) -> str:
        return (f"pid {self.pid_file};\nerror_log {self.directory}/error.log;\n"
                "user root;\nworker_processes 1;\nevents { worker_connections 1024; }\n"
                f"http {{\n  access_log off;\n  include {self.file};\n"
                f"  server {{ listen 127.0.0.1:{self.port} backlog=2048;\n"
                "    proxy_next_upstream error timeout;\n    proxy_connect_timeout 2s;\n"
                f"    location / {{ proxy_pass http://{self.pools[0]}; }} }}\n}}\n")

    def _apache(self) -> str:
        built_in = subprocess.run(["apache2", "-l"], capture_output=True, text=True, check=False)
        wanted = ["mpm_event", "authz_core", "unixd", "slotmem_shm", "lbmethod_byrequests",
                  "proxy", "proxy_http", "proxy_balancer"]
        loads = [f"LoadModule {m}_module {MODULES}/mod_{m}.so" for m in wanted
                 if f"mod_{m}.c" not in built_in.stdout and (MODULES / f"mod_{m}.so").exists()]
        return "\n".join([
            *loads, f"ServerName 127.0.0.1\nListen 127.0.0.1:{self.port}",
            f"PidFile {self.pid_file}", f"ErrorLog {self.directory}/error.log",
            f"DefaultRuntimeDir {self.directory}", "User nobody\nGroup nogroup",
            "StartServers 1\nThreadsPerChild 32\nServerLimit 8\nMaxRequestWorkers 128",
            "<IfDefine !SLACKWATER_REGISTRY>", f"  Define SLACKWATER_REGISTRY {self.file}",
            "</IfDefine>", "Include ${SLACKWATER_REGISTRY}",
            f'ProxyPass "/" "balancer://{self.pools[0]}/"', "",
        ])


class Registry:
    """`slackwater registry serve` as a process of its own."""

    def __init__(self, directory: Path, tables: str, *, address: str = "127.0.0.1") -> None:
        self.directory, self.address = directory, address
        directory.mkdir(exist_ok=True)
        directory.chmod(0o700)
        self.port = free_port()
        self.config = directory / "registry.toml"
        self.state = directory / "state"
        self.state.mkdir(exist_ok=True, mode=0o700)
        self.config.write_text(
            f'listen = "{address}:{self.port}"\ndirectory = "{self.state}"\n'
            f"allow_loopback = true\n{tables}")
        self.process: subprocess.Popen[bytes] | None = None
        self.log = directory / "log"
        self.whole = False  # as `slackwater registry serve`
        self.ca = ""  # of its certificate, where it has one

    @property
    def url(self) -> str:
        return f"{'https' if self.ca else 'http'}://{self.address}:{self.port}"

    def key(self, name: str, **rights: object) -> Access:
        """A new key, and the access that it gives."""
        secret = keys.new_secret()
        keys.add(self.state / "keys.json", keys.Key(name, secret, **rights))  # type: ignore[arg-type]
        return Access(self.url, name, secret, self.ca)

    def key_file(self, name: str, **rights: object) -> Path:
        """A new key, in a file as nodes have it."""
        path = self.directory / f"{name}.key"
        path.write_text(self.key(name, **rights).secret + "\n")
        path.chmod(0o600)
        return path

    def start(self, *, wait: bool = True) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *(WHOLE if self.whole else QUICK), str(self.config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        if wait:
            eventually(self._up, "the registry listens", limit_s=30)

    def _up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.said()
        return listens(self.port)

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        if self.process is not None:
            end(self.process)

    def kill(self) -> None:
        assert self.process is not None
        end(self.process, signal.SIGKILL)


@contextlib.contextmanager
def balancers(place: Path, kinds: Sequence[str] = KINDS) -> Iterator[dict[str, Balancer]]:
    """Real balancers of these kinds, running."""
    made: dict[str, Balancer] = {}
    try:
        for kind in kinds:
            made[kind] = Balancer(kind, place / kind)
            made[kind].start()
        yield made
    finally:
        for each in made.values():
            each.stop()


@contextlib.contextmanager
def backends(names: Sequence[str]) -> Iterator[dict[str, Backend]]:
    """Servers of members, running."""
    made = {n: Backend(n) for n in names}
    try:
        for each in made.values():
            each.start()
        yield made
    finally:
        for each in made.values():
            each.stop()


def config(made: dict[str, Balancer], *, store: str = "", limits: str = "",
           pools: Sequence[str] = ("web",), pool: str = "") -> str:
    """The tables of registry.toml for these balancers."""
    parts = [f"[pools.{p}]\n{pool}\n" for p in pools]
    return "\n".join([store, f"[limits]\nprobe = 0.5\n{limits}\n", *parts,
                      *(b.table() for b in made.values())])
