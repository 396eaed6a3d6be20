"""The heartbeat on real pairs: who writes it, when not, and what lag and gap are read from it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.compare.conftest import TWO
from tests.servers.command import slackwater
from tests.servers.fixtures import end, root_of, sql
from tests.servers.patience import PATIENCE, eventually
from tests.sweep.pair import environment, python

from slackwater.facts.heartbeat import By, Lag
from slackwater.facts.server import ServerAddress
from slackwater.lab.facts import LabFacts
from slackwater.lab.instance import Instance, installed
from slackwater.lab.up import up
from slackwater.operations import heartbeat
from slackwater.outside.mysql import heartbeat as mysql_heartbeat
from slackwater.outside.mysql.session import MysqlError, Session

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", params=TWO)
def pair(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[LabFacts]:
    """A pair of each vendor."""
    program = next((p for p in installed() if p.name == request.param), None)
    if program is None:
        pytest.skip(f"{request.param} is not installed (scripts/servers/get {request.param})")
    home: Path = tmp_path_factory.mktemp(request.param)
    home.chmod(0o755)
    try:
        yield up(server=root_of(program), directory=home / "lab")
    finally:
        end(home / "lab")


@contextlib.contextmanager
def service(lab: LabFacts, notify: str = "") -> Iterator[subprocess.Popen[str]]:
    """`slackwater heartbeat`, ended by SIGTERM: it must then be gone with exit code 0."""
    running = subprocess.Popen(
        python("slackwater", "heartbeat", "--interval", "0.05", "--json",
               "--config", str(lab.config)),
        env=environment(NOTIFY_SOCKET=notify), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )
    try:
        yield running
        running.send_signal(signal.SIGTERM)
        out, errors = running.communicate(timeout=20 * PATIENCE)
        assert running.returncode == 0 and "Traceback" not in errors, errors
        assert json.loads(out)["operation"] == "heartbeat"
    finally:
        running.kill()
        running.communicate()


def beats(lab: LabFacts, server: str, server_id: int) -> int:
    """The number of that server's newest beat on a server; 0: none yet."""
    with contextlib.suppress(Exception):
        rows = sql(lab.servers[server]["socket"],
                   f"SELECT beats FROM slackwater.heartbeat WHERE server_id = {server_id}")
        return int(rows[0]["beats"]) if rows else 0
    return 0


def root(lab: LabFacts, name: str) -> ServerAddress:
    return ServerAddress(name, "root", socket=str(lab.servers[name]["socket"]))


def applier(lab: LabFacts, word: str) -> None:
    """STOP or START what applies on b."""
    new = lab.program.startswith("mysql-9")
    sql(lab.servers["b"]["socket"], f"{word} {'REPLICA' if new else 'SLAVE'} SQL_THREAD")


def status(lab: LabFacts) -> dict[str, Any]:
    """Server b's part of `slackwater status`."""
    # A look has a limit, and leaves out a server that a busy machine kept from answering.
    return eventually(
        lambda: slackwater(lab, "status").report["servers"].get("b", {}), "b's answer", limit_s=60)


def measured(lab: LabFacts) -> Lag:
    """How far b is behind a now."""
    async def look() -> Lag:
        async with await Session.open(root(lab, "a")) as a, await Session.open(root(lab, "b")) as b:
            return await heartbeat.lag(a, b)

    return asyncio.run(look())


def test_beats_lag_restart_and_switchover(pair: LabFacts, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.settimeout(30 * PATIENCE)
    with listener, service(pair, str(tmp_path / "notify")):
        assert listener.recv(4096).decode().startswith("READY=1")
        eventually(lambda: beats(pair, "b", 1) > 3, "beats of a on b")
        assert beats(pair, "a", 2) == 0  # never to the read-only one
        near = measured(pair)
        assert near.ms is not None and near.beat_age_s is not None
        applier(pair, "STOP")
        try:
            stood = beats(pair, "b", 1)
            eventually(lambda: beats(pair, "a", 1) > stood + 30, "beats of a while b stands")
            far = status(pair)
            # 30 beats, 50 ms apart, have not arrived; Seconds_Behind says nothing at all.
            assert far["lag_by"] == "heartbeat" and far["lag_ms"] >= 1500
            assert far["replication"][0]["seconds_behind"] is None
        finally:
            applier(pair, "START")
        _gap_is_told(pair)
        _survives_a_restart(pair)
        eventually(lambda: measured(pair).by is By.POSITION, "b beside a", limit_s=40)
        assert slackwater(pair, "switchover", "--to", "b").code == 0
        eventually(lambda: beats(pair, "a", 2) > 3, "beats of b on a")
        stood = beats(pair, "a", 1)
        seen = beats(pair, "a", 2)
        eventually(lambda: beats(pair, "a", 2) > seen + 10, "more beats of b")
        assert beats(pair, "a", 1) == stood


def _gap_is_told(lab: LabFacts) -> None:
    async def look() -> None:
        async with await Session.open(root(lab, "a")) as a, await Session.open(root(lab, "b")) as b:
            gap = await heartbeat.gap(b, 1, a)
            assert gap.last is not None and gap.last.server_id == 1 and gap.age_s is not None
            assert gap.missing_beats is not None and gap.missing_beats >= 0
            assert f"heartbeat {gap.last.number}" in gap.describe()
            assert (await heartbeat.gap(b, 77)).last is None

    asyncio.run(look())


def _survives_a_restart(lab: LabFacts) -> None:
    """a is killed, comes back read-only, and is opened again: the beats go on, counted on."""
    it = Instance.load(lab.directory / "a")
    before = beats(lab, "a", 1)
    it.kill()
    it.start(60 * PATIENCE)
    assert beats(lab, "a", 1) >= before
    sql(it.socket, "SET GLOBAL read_only = 0")
    eventually(lambda: beats(lab, "b", 1) > before + 5, "beats after a restart", limit_s=40)


@pytest.mark.parametrize("name", TWO)
def test_a_beat_that_waits_behind_a_fence_is_not_written_late(name: str, place: Path) -> None:
    """FLUSH TABLES WITH READ LOCK, then read_only under it, then unlock: as a switchover does it.
    An account that may write in spite of read_only must not write then."""

    async def fence(at: ServerAddress) -> tuple[int, str, str]:
        async with await Session.open(at) as writer, await Session.open(at) as holder:
            await mysql_heartbeat.create(writer)
            await mysql_heartbeat.beat(writer, 1)
            await holder.run("FLUSH TABLES WITH READ LOCK")
            before = await _position(holder)
            late = asyncio.create_task(mysql_heartbeat.beat(writer, 2, limit_s=20 * PATIENCE))
            async with await Session.open(at) as look:
                async with asyncio.timeout(20 * PATIENCE):
                    while not await look.value(
                        "SELECT COUNT(*) FROM information_schema.PROCESSLIST"
                        f" WHERE ID = {writer.connection_id} AND STATE LIKE 'Waiting%'"
                    ):
                        await asyncio.sleep(0.01)
            await holder.run("SET GLOBAL read_only = 1")
            await holder.run("UNLOCK TABLES")
            try:
                written = await late
            except MysqlError as error:
                assert error.code == 1290
                written = False
            return written, before, await _position(holder)

    program = next((p for p in installed() if p.name == name), None)
    if program is None:
        pytest.skip(f"{name} is not installed (scripts/servers/get {name})")
    it = Instance.create(program, place / "s", server_id=1, mark=place)
    try:
        it.start(60 * PATIENCE)
        written, before, after = asyncio.run(
            fence(ServerAddress("a", "root", socket=str(it.socket))))
        assert not written and before == after
    finally:
        it.remove()


async def _position(session: Session) -> str:
    name = "gtid_binlog_pos" if session.flavour.mariadb else "gtid_executed"
    return str(await session.value(f"SELECT @@GLOBAL.{name}"))
