"""docs/howto/blue-green.md, as it stands there: schema and application change under load."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.registry.conftest import Serving
from tests.registry.rig import Balancer, Registry, end, listens, pool_report
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually
from tests.sweep.pair import environment, python
from typer.testing import CliRunner

from slackwater.cli.main import app
from slackwater.lab.facts import LabFacts
from slackwater.lab.ports import free_port
from slackwater.outside.registry.client import Access

PAGE = Path(__file__).parents[2] / "docs/howto/blue-green.md"
TABLE = ("CREATE TABLE slackwater_lab.orders (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,"
         " token VARCHAR(40) NOT NULL, note VARCHAR(20) NOT NULL DEFAULT '', KEY by_note (note))"
         " ENGINE=InnoDB")


class Version:
    """A version of the application on a server of its own, with its `slackwater register`."""

    def __init__(self, colour: str, lab: LabFacts, registry: Registry, key: Path) -> None:
        port = free_port()
        database = lab.balancers["lb1"]["frontend"].rpartition(":")[2]
        self.server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("shop.py")), str(port), colour, database,
             lab.app["password_file"]], stdin=subprocess.DEVNULL, start_new_session=True)
        eventually(lambda: listens(port), f"{colour} listens", limit_s=20)
        self.agent = subprocess.Popen(
            python("slackwater", "register", "--registry", registry.url, "--pool", "web",
                   "--key-file", str(key), "--id", f"{colour}1", "--port", str(port), "--loopback",
                   "--colour", colour, "--check", "/health"),
            env=environment(), stdin=subprocess.DEVNULL, start_new_session=True)

    def leave(self) -> None:
        """As systemd stops them: the member first, then its server."""
        self.agent.send_signal(signal.SIGTERM)
        assert self.agent.wait(30 * PATIENCE) == 0
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(20 * PATIENCE)

    def stop(self) -> None:
        end(self.agent)
        end(self.server)


@dataclass
class Clients:
    """What they were told. POSTs, so that no balancer asks twice."""

    tokens: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    colours: list[str] = field(default_factory=list)

    def order(self, url: str, token: str) -> None:
        try:
            with urllib.request.urlopen(url, token.encode(), timeout=30 * PATIENCE) as answer:
                colour, said = answer.read().decode().split()
            assert said == token
        except (OSError, ValueError, AssertionError) as error:
            self.failed.append(f"{token}: {error!r}")
        else:
            self.colours.append(colour)
            self.tokens.append(token)

    def seen(self, last: int = 20) -> set[str]:
        """Who answered the last orders."""
        return set(self.colours[-last:])


@contextmanager
def ordering(balancer: Balancer) -> Iterator[Clients]:
    """Three clients, some twenty orders a second together."""
    clients, over = Clients(), threading.Event()

    def run(name: int) -> None:
        number = 0
        while not over.is_set():
            number += 1
            clients.order(f"http://127.0.0.1:{balancer.port}/orders", f"{name}-{number}")
            time.sleep(0.12)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        over.set()
        for thread in threads:
            thread.join()


def blocks() -> list[str]:
    """The page's commands, by section."""
    found = re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return ["\n".join(line[2:] for line in block.splitlines()) for block in found]


def typed(block: str, place: Path) -> None:
    """Commands of the page, in this process: starting anew takes each a second of two cores."""
    lines = iter(block.splitlines())
    for line in lines:
        if file := re.fullmatch(r"cat > (\S+) <<'SQL'", line):
            (place / file[1]).write_text("\n".join(iter(lambda: next(lines), "SQL")) + "\n")
            continue
        words = shlex.split(line, comments=True)
        assert words[0] == "slackwater", line
        begun = time.monotonic()
        done = CliRunner().invoke(app, words[1:])
        print(f"{time.monotonic() - begun:5.1f} s  {line}")
        assert done.exit_code == 0, f"{line}: {done.output[-1500:]}"


@pytest.mark.servers
@pytest.mark.one_flavour
def test_the_page(
    serving: Serving, lab: LabFacts, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, widen, move, back, narrow = blocks()
    sql(lab.servers["a"]["socket"], TABLE)
    registry, made = serving("haproxy")
    access = registry.key("look", role="admin")
    operator, fleet = (registry.key_file("operator", role="admin"),
                       registry.key_file("fleet", any_member=True))
    (room / "slackwater.toml").write_text(
        lab.config.read_text()
        + f'\n[registry]\nurls = ["{registry.url}"]\nkey_file = "{operator}"\n')
    monkeypatch.chdir(room)
    versions = [Version("blue", lab, registry, fleet)]
    try:
        eventually(lambda: made["haproxy"].names(1) == {"well"}, "blue serves", limit_s=30)
        with ordering(made["haproxy"]) as clients:
            typed(one, room)
            typed(widen, room)
            versions.append(Version("green", lab, registry, fleet))
            eventually(lambda: healthy(access) == {"blue1", "green1"}, "green is well", limit_s=30)
            assert clients.seen(len(clients.colours)) == {"blue"}
            typed(move, room)
            eventually(lambda: clients.seen() == {"green"}, "green has it all")
            first, second = back.splitlines()
            typed(first, room)
            eventually(lambda: clients.seen() == {"blue"}, "blue has it again")
            typed(second, room)
            eventually(lambda: clients.seen() == {"green"}, "green has it again")
            versions[0].leave()
            typed(narrow, room)
    finally:
        for version in versions:
            version.stop()
    assert clients.failed == [] and len(clients.tokens) > 100
    assert_nothing_lost(lab, clients)


def healthy(access: Access) -> set[str]:
    """The members that pass their probes."""
    return {m["id"] for m in pool_report(access)["members"] if m["healthy"]}


def assert_nothing_lost(lab: LabFacts, clients: Clients) -> None:
    """Every order that a client was told of is on both servers, once; both schemas are new."""
    for server in lab.servers.values():

        def rows(at: str = server["socket"]) -> list[str]:
            return [r["token"] for r in sql(at, "SELECT token FROM slackwater_lab.orders")]

        eventually(lambda: sorted(rows()) == sorted(clients.tokens), "all orders, once")
        made = sql(server["socket"], "SHOW CREATE TABLE slackwater_lab.orders")[0]["Create Table"]
        assert "`payment`" in made and "by_note" not in made
