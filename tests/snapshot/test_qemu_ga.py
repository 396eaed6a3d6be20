"""The real guest agent of QEMU, driven over a socket as a host drives it."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually
from tests.snapshot import cli
from tests.snapshot.loop import mounted
from tests.snapshot.real import Busy, config, running, writable, write

from slackwater.lab.instance import Instance

pytestmark = pytest.mark.servers


class Agent:
    """A qemu-ga of our own, and the host's end of its socket."""

    def __init__(self, home: Path, hook: Path) -> None:
        path = home / "ga.sock"
        self._process = subprocess.Popen(
            ["qemu-ga", "-m", "unix-listen", "-p", path, "-t", home, "-f", home / "ga.pid",
             "-l", home / "ga.log", f"--fsfreeze-hook={hook}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self._link = socket.socket(socket.AF_UNIX)
        self._link.settimeout(60 * PATIENCE)
        eventually(path.exists, "the agent's socket")
        self._link.connect(str(path))
        self._lines = self._link.makefile("r")

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """One command; its answer."""
        said = {"execute": command, "arguments": arguments}
        self._link.sendall(json.dumps(said).encode() + b"\n")
        answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer

    def close(self) -> None:
        """End it, and leave nothing frozen; raises when it could not thaw.

        Its SIGTERM handler takes a lock of its main loop (g_main_loop_quit), and waits for ever
        when it interrupted that loop holding it, as it does when a host has just hung up. So it is
        told while it is still connected and idle, and killed when it does not end all the same.
        """
        try:
            if self.ask("guest-fsfreeze-status").get("return") != "thawed":
                said = self.ask("guest-fsfreeze-thaw")
                assert "return" in said, said
        finally:
            self._process.terminate()
            try:
                self._process.wait(5 * PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(20)
            self._lines.close()
            self._link.close()


@pytest.fixture(scope="module")
def scene() -> Iterator[tuple[Instance, Agent, Path]]:
    """A server whose data is on a mounted file system, the hook installed, the agent running."""
    if shutil.which("qemu-ga") is None:
        pytest.skip("there is no qemu-ga (on Debian: apt-get install qemu-guest-agent)")
    with contextlib.ExitStack() as stack:
        mount = stack.enter_context(mounted("btrfs"))
        it = stack.enter_context(running("mariadb-10.11", mount))
        home = mount.parent  # the state is not on what is frozen
        file = home / "slackwater.toml"
        text = config(it).read_text().replace(f'"{mount}/state"', f'"{home}/state"')
        file.write_text(text.replace(f'"{mount}/password"', f'"{home}/password"'))
        shutil.copy2(mount / "password", home / "password")
        code, _, err = cli.call("hooks", "install", "qemu", "--root", home / "root",
                                "--config", file, "--within", "2s")
        assert code == 0, err
        hook = home / "root/etc/qemu/fsfreeze-hook"
        hook.write_text(hook.read_text().replace("/var/log/slackwater", str(home)))
        agent = Agent(home, hook)
        stack.callback(agent.close)
        yield it, agent, mount


def test_freeze_and_thaw(scene: tuple[Instance, Agent, Path]) -> None:
    it, agent, mount = scene
    said = agent.ask("guest-fsfreeze-freeze-list", mountpoints=[str(mount)])
    try:
        assert said.get("return") == 1, said
        told = json.loads((it.directory / "data/slackwater-snapshot.json").read_text())
        assert told["exact"]
        # The database can be read and asked while its file system is frozen.
        position = sql(it.socket, "SHOW MASTER STATUS")[0]
        assert (position["File"], position["Position"]) == (
            told["binlog_file"], told["binlog_position"])
        assert write(it)
    finally:
        said = agent.ask("guest-fsfreeze-thaw")
    assert said.get("return") == 1, said
    assert writable(it)
    log = (mount.parent / "hooks.log").read_text()
    assert "is consistent" in log


def test_a_freeze_that_fails_is_told_to_the_host(scene: tuple[Instance, Agent, Path]) -> None:
    """With the wrapper that QEMU ships, the host would go on with an unlocked database."""
    it, agent, mount = scene
    with Busy(it, "UPDATE t.m SET v = v + SLEEP(30) LIMIT 1"):
        said = agent.ask("guest-fsfreeze-freeze-list", mountpoints=[str(mount)])
        assert "error" in said, said
        assert agent.ask("guest-fsfreeze-status")["return"] == "thawed"
    eventually(lambda: writable(it), "writes")
