"""A real sshd for this test alone: its own keys, its own home, an unprivileged port."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")

_CONFIG = """
Port {port}
ListenAddress {address}
HostKey {home}/host_key
AuthorizedKeysFile {home}/.ssh/id_ed25519.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""


@dataclass
class Sshd:
    """`destination` is what `ssh` in slackwater.toml would be; `home` has the client's files."""

    destination: str
    home: Path
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def sshd(
    home: Path, patch: pytest.MonkeyPatch, address: str = "127.0.0.1"
) -> Iterator[Sshd]:
    """Start it, with this user's HOME moved to `home` for the time of the test."""
    if SSHD is None:
        pytest.skip("no sshd; install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it wants to see this directory
    client = home / ".ssh"
    client.mkdir(mode=0o700)
    for key in (home / "host_key", client / "id_ed25519"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True
        )
    with socket.socket() as free:
        free.bind((address, 0))
        port = free.getsockname()[1]
    host_key = (home / "host_key.pub").read_text()
    (client / "known_hosts").write_text(f"[{address}]:{port} {host_key}")
    (home / "sshd_config").write_text(_CONFIG.format(
        port=port, home=home, address=address))
    patch.setenv("HOME", str(home))
    patch.delenv("SSH_AUTH_SOCK", raising=False)
    with (home / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(home / "sshd_config")],
            stdin=subprocess.DEVNULL, stderr=log,
        )
    try:
        _wait(address, port, process, home / "sshd.log")
        yield Sshd(f"{getpass.getuser()}@{address}:{port}", home, process)
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait(address: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
            return
        time.sleep(0.01)
    pytest.fail(f"sshd does not answer: {log.read_text()}")
