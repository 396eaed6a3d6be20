"""A command outlives who began it; whether it still runs is never told too early."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_sshd import sshd
from tests.servers.patience import eventually

from slackwater.outside import command, far_command
from slackwater.outside.command import Command
from slackwater.outside.far_command import FarCommand
from slackwater.outside.host import Host
from slackwater.outside.process import ProcessId

pytestmark = pytest.mark.servers
LIMIT_S = 10.0
BEGUN: list[str] = []  # over SSH: the paths of their files, without ends


@pytest.fixture(params=["here", "over ssh"])
def host(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Host]:
    if request.param == "here":
        yield Host()
        return
    with sshd(tmp_path, monkeypatch) as server:
        yield Host(server.destination)
    while BEGUN:  # that sshd is on this machine
        files = BEGUN.pop()
        for end in ("output", "exit", "pid"):
            Path(f"{files}.{end}").unlink(missing_ok=True)


async def begin(host: Host, directory: Path, script: str) -> Command | FarCommand:
    words, output = ("sh", "-c", script), directory / f"test-{secrets.token_hex(4)}.output"
    if host.here:
        return command.start(words, output=output)
    it = await far_command.start(host, words, output=output, environment={})
    BEGUN.append(it.files)
    return it


async def runs(it: Command | FarCommand) -> bool:
    await it.look()
    return it.alive


async def ended(it: Command | FarCommand) -> None:
    async with asyncio.timeout(LIMIT_S):
        while await runs(it):
            await asyncio.sleep(0.02)


def play(host: Host, scene) -> None:
    async def whole() -> None:
        try:
            await scene()
        finally:
            await host.close()

    asyncio.run(whole())


def named(file: Path) -> int:
    """The process that a script wrote there, once it has."""
    eventually(file.exists, "it runs", limit_s=LIMIT_S)
    return int(file.read_text())


def waiting(go: Path, more: str = "") -> str:
    """A script that says who it is and waits for a file, for some seconds at most."""
    return (f"{more} echo $$ >{go}.new; mv {go}.new {go}.pid; i=0; "
            f"until [ -e {go} ] || [ $i -ge 400 ]; do i=$((i+1)); sleep 0.05; done; exit 7")


def test_its_exit_code_is_kept(host: Host, tmp_path: Path) -> None:
    async def scene() -> None:
        it = await begin(host, tmp_path, "echo said; exit 7")
        assert await it.wait(LIMIT_S, lambda _: None) == 7
        assert it.tail() == "said" and not await runs(it)

    play(host, scene)


@pytest.mark.parametrize("left", ["who it is", "nothing"])
def test_the_shell_that_waits_for_it_is_killed_alone(
    host: Host, tmp_path: Path, left: str
) -> None:
    """Also before the command could write who it is."""
    async def scene() -> None:
        go = tmp_path / "go"
        it = await begin(host, tmp_path, waiting(go))
        child = named(go.with_name("go.pid"))
        assert child != it.pid
        os.kill(it.pid, signal.SIGKILL)
        if left == "nothing":
            Path(f"{it.files}.pid").unlink()
        await asyncio.sleep(0.1)  # the shell is dead and reaped by now, wherever that is done
        assert await runs(it)
        go.touch()
        await ended(it)
        assert it.exit_code is None  # nobody knows it

    play(host, scene)


def test_a_daemon_that_it_leaves_is_not_the_command(host: Host, tmp_path: Path) -> None:
    """A server that it started, in its session: whether it ended by itself or was killed."""
    async def scene() -> None:
        go = tmp_path / "go"
        daemon = f"sleep 20 & echo $! >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/daemon;"
        it = await begin(host, tmp_path, f"{daemon} exit 0")
        await ended(it)
        assert it.exit_code == 0
        os.kill(named(tmp_path / "daemon"), signal.SIGKILL)

        it = await begin(host, tmp_path, waiting(go, daemon))
        child = named(go.with_name("go.pid"))
        os.kill(it.pid, signal.SIGKILL)
        assert await runs(it)
        os.kill(child, signal.SIGKILL)
        await ended(it)
        os.kill(named(tmp_path / "daemon"), signal.SIGKILL)

    play(host, scene)


def test_at_its_limit_it_is_ended_with_its_children(host: Host, tmp_path: Path) -> None:
    async def scene() -> None:
        go = tmp_path / "go"
        it = await begin(host, tmp_path, waiting(go))
        child = named(go.with_name("go.pid"))
        os.kill(it.pid, signal.SIGKILL)
        with pytest.raises(Exception, match=r"longer than 0\.2 s"):
            await it.wait(0.2, lambda _: None)
        assert not await runs(it) and ProcessId.of(child) is None

    play(host, scene)
