"""The three ways to join, as docs/howto/registry.md has them: by service, by HTTP, by SQL."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.generated import ROOT
from tests.registry import stores
from tests.registry.conftest import Serving
from tests.registry.rig import Backend, Registry, end, listens, pool_report
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually

from slackwater.lab.instance import Instance
from slackwater.outside.registry.client import Access

pytestmark = pytest.mark.servers
SLACKWATER = [sys.executable, "-m", "slackwater"]


@pytest.fixture
def backend() -> Iterator[Backend]:
    made = Backend("web1").start()
    yield made
    made.stop()


def script(name: str, room: Path) -> Path:
    """A script of the page."""
    text = (ROOT / "docs/howto/registry.md").read_text()
    found = re.search(rf"<!-- {name} -->\n```sh\n(.*?)```", text, re.DOTALL)
    assert found
    path = room / name
    path.write_text(found[1])
    path.chmod(0o755)
    return path


def run(words: list[str], **environment: str) -> str:
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True,
                          timeout=60 * PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def known(access: Access) -> set[str]:
    """Whom the registry has as members."""
    return {m["id"] for m in pool_report(access)["members"]}


def test_by_http(serving: Serving, room: Path, backend: Backend) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    registry, made = serving("haproxy")
    key = registry.key_file("web1", pools=("web",))
    join = script("join-by-http", room)
    given = {"REGISTRY": registry.url, "KEY": str(key), "PORT": str(backend.port)}
    run([str(join), "PUT"], **given)
    balancer = made["haproxy"]
    eventually(lambda: balancer.names(3) == {"web1"}, "it serves")
    run([str(join), "DELETE"], **given)
    eventually(lambda: balancer.names(1) == {"503"}, "it has left")


def test_by_service(serving: Serving, room: Path, backend: Backend) -> None:
    """systemd's own part is played by a socket and signals."""
    registry, made = serving("haproxy", limits=f"come_back = {4 * PATIENCE}")
    key = registry.key_file("web1", pools=("web",))
    look = registry.key("look", role="admin")
    balancer = made["haproxy"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(room / "notify"))
        systemd.settimeout(30 * PATIENCE)
        agent = subprocess.Popen(
            [*SLACKWATER, "register", "--registry", registry.url, "--pool", "web", "--port",
             str(backend.port), "--key-file", str(key), "--loopback", "--check", "/health",
             "--lease", "3"],
            env={**os.environ, "NOTIFY_SOCKET": str(room / "notify")}, start_new_session=True,
        )
        try:
            assert systemd.recv(1000).startswith(b"READY=1")
            assert balancer.names(3) == {"web1"}
            registry.kill()
            for file in registry.state.glob("members.json*"):
                file.unlink()
            registry.whole = True
            registry.start()
            assert balancer.names(3) == {"web1"}
            eventually(lambda: known(look) == {"web1"}, "the next renewal says it again")
            eventually(lambda: "web1" in balancer.file.read_text(), "it is in the file")
            backend.kill()  # its own check fails: it drains itself
            backend.start()
            eventually(lambda: balancer.names(3) == {"web1"}, "it serves again", limit_s=40)
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(40 * PATIENCE) == 0
            assert listens(backend.port) and balancer.names(2) == {"503"}
        finally:
            end(agent)


def test_it_never_registers_the_loopback_by_mistake(serving: Serving, room: Path) -> None:
    registry = Registry(room / "registry", "[pools.web]\n")
    key = registry.key_file("web1")
    try:
        registry.start()
        done = subprocess.run(
            [*SLACKWATER, "register", "--once", "--registry", registry.url, "--pool", "web",
             "--port", "80", "--key-file", str(key)],
            capture_output=True, text=True, timeout=60 * PATIENCE, check=False)
        assert done.returncode == 1 and "loopback" in done.stderr
    finally:
        registry.stop()


@pytest.mark.one_flavour
def test_by_sql_and_the_database_goes_away(
    serving: Serving, room: Path, backend: Backend, program: stores.Program
) -> None:
    """The origin's own flow; and what its table was: a single point of failure."""
    client = shutil.which("mariadb") or shutil.which("mysql")
    if not client:
        pytest.skip("no client program")
    room.chmod(0o711)
    with stores.database(program, room) as server:
        password = room / "password"
        password.write_text(stores.PASSWORD)
        password.chmod(0o600)
        registry, made = serving("haproxy", store=(
            f'[store]\nkind = "mysql"\naddress = "{server.address}"\nuser = "registry"\n'
            f'password_file = "{password}"\npoll = 0.1\n'))
        options = room / "web.cnf"
        options.write_text(f"[client]\nuser=web\npassword={stores.PASSWORD}\nhost=127.0.0.1\n"
                           f"port={server.port}\nskip-ssl\n")
        options.chmod(0o600)
        join = script("join-by-sql", room)
        given = {"MYSQL": f"{client} --defaults-extra-file={options}", "DRAIN": "0.1",
                 "PORT": str(backend.port)}
        run([str(join), "start"], **given)
        balancer = made["haproxy"]
        eventually(lambda: balancer.names(3) == {"web1"}, "it serves")
        for statement in ("SELECT * FROM member", "DELETE FROM member", "CALL list_members()"):
            done = subprocess.run([*given["MYSQL"].split(), stores.DATABASE, "-e", statement],
                                  capture_output=True, timeout=60, check=False)
            assert done.returncode, statement

        last_good = registry.state / "last-good.json"
        eventually(lambda: last_good.exists() and '"web1"' in last_good.read_text(),
                   "what others said by SQL is on disk")
        look = registry.key("look", role="admin")
        server.kill()
        other = Backend("web2").start()
        try:
            run([*SLACKWATER, "register", "--once", "--loopback", "--registry", registry.url,
                 "--pool", "web", "--port", str(other.port), "--id", "web2", "--key-file",
                 str(registry.key_file("fleet", any_member=True))])
            eventually(lambda: balancer.names(8) == {"web1", "web2"}, "both serve without MySQL")
            registry.kill()  # at once: who was answered is on disk already
            registry.start()  # without MySQL: from the last known good list
            assert known(look) == {"web1", "web2"}
            eventually(lambda: balancer.names(8) == {"web1", "web2"}, "both serve still")
            run([*SLACKWATER, "deregister", "--registry", registry.url, "--pool", "web",
                 "--id", "web1", "--key-file", str(registry.key_file("op", role="admin"))])
            registry.kill()
            registry.start()  # who has left while MySQL was away does not come back …
            assert known(look) == {"web2"} and balancer.names(8) == {"web2"}
            server.start(60 * PATIENCE)
            # … with it, where it is still.
            eventually(lambda: rows(server) == {"web2"}, "MySQL has heard of both", limit_s=40)
            assert known(look) == {"web2"} and balancer.names(8) == {"web2"}
            run([str(join), "start"], **given)
            eventually(lambda: balancer.names(8) == {"web1", "web2"}, "web1 is back")
            run([str(join), "stop"], **given)
            eventually(lambda: balancer.names(4) == {"web2"}, "web1 has left")
        finally:
            other.stop()


def rows(server: Instance) -> set[str]:
    """The members in the table."""
    found = sql(server.socket, f"SELECT id FROM {stores.DATABASE}.member")
    return {row["id"] for row in found}


def test_printed_sql_is_taken_by_the_client(room: Path) -> None:
    """`slackwater registry sql | mysql`, twice."""
    client = shutil.which("mariadb") or shutil.which("mysql")
    programs = stores.programs()
    if not client or not programs:
        pytest.skip("no client or server")
    room.chmod(0o711)
    with stores.database(programs[0], room, install=False) as server:
        text = run([*SLACKWATER, "registry", "sql", "--server", "web@127.0.0.1",
                    "--registry", "registry@127.0.0.1"])
        accounts = ";\n".join(stores.accounts()) + ";\n"
        for lines in (accounts + text, text):
            subprocess.run([client, "--no-defaults", "-uroot", f"--socket={server.socket}"],
                           input=lines.encode(), check=True, timeout=60 * PATIENCE)
