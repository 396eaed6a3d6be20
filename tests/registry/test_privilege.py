"""The reload is all that the registry may do as root: by real sudo, as its unprivileged user.

Accounts, sudo's rules and systemctl are laid over the machine's own in a mount namespace, so that
nothing of the machine is touched, and nothing is left however the test ends.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.registry.conftest import Serving
from tests.registry.rig import Backend
from tests.servers.patience import PATIENCE, eventually
from tests.sweep.pair import environment, python

from slackwater.outside.registry import units
from slackwater.outside.registry.client import Access, Client

pytestmark = pytest.mark.servers
LAY = """\
#!/bin/sh
# The registry's user, its line for sudo, and a systemctl that reloads the test's own balancer.
set -e
mount --make-rprivate /
for each in passwd group shadow sudoers.d; do mount --bind {room}/etc/$each /etc/$each; done
mount --bind {room}/etc/systemctl /usr/bin/systemctl
exec "$@"
"""
NOT_ALLOWED = (
    "/usr/bin/systemctl stop nginx.service",
    "/usr/bin/systemctl reload ssh.service",
    "/usr/bin/systemctl reload nginx.service ssh.service",
    "/usr/bin/systemctl reload",
    "/bin/sh -c id",
)


def printed(what: str) -> str:
    """`slackwater registry unit`."""
    done = subprocess.run(
        python("slackwater", "registry", "unit", what, "--service", "nginx.service"),
        env=environment(), capture_output=True, text=True, timeout=60 * PATIENCE, check=True)
    return done.stdout


def as_user(room: Path, command: str) -> list[str]:
    """The words that run a command as the registry's user, there."""
    return ["unshare", "-m", str(room / "lay"), "runuser", "-u", units.USER, "--", *command.split()]


def lay(room: Path, reload: str) -> str:
    """Make what is laid over; the reload command, as the printed file has it for registry.toml."""
    for program in ("sudo", "visudo", "runuser", "unshare"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace can be made here")
    if not Path("/usr/bin/systemctl").exists():
        pytest.skip("systemd is not installed")
    text = printed("sudoers")
    etc = room / "etc"
    rules = etc / "sudoers.d"
    rules.mkdir(parents=True)
    named = re.search(r"^# /etc/sudoers.d/(\S+) \(mode (\d+);", text, re.MULTILINE)
    assert named
    (rules / named[1]).write_text(text)
    (rules / named[1]).chmod(int(named[2], 8))
    for file, root, own in (
        ("passwd", "root:x:0:0:root:/root:/bin/sh", "x:987:987::/nonexistent:/usr/sbin/nologin"),
        ("group", "root:x:0:", "x:987:"), ("shadow", "root:!:20000::::::", "!:20000::::::"),
    ):
        (etc / file).write_text(f"{root}\n{units.USER}:{own}\n")
    (etc / "shadow").chmod(0o640)
    (etc / "systemctl").write_text(
        f'#!/bin/sh\necho "$(id -un) $*" >> {room}/systemctl.log\nexec {reload}\n')
    (room / "lay").write_text(LAY.format(room=room))
    for path in (etc / "systemctl", room / "lay"):
        path.chmod(0o755)
    command = re.search(r'^# reload = "(.*)"$', text, re.MULTILINE)
    assert command
    return command[1]


def test_by_sudo(serving: Serving, room: Path) -> None:
    registry, made = serving("nginx", start=False)
    balancer = made["nginx"]
    command = lay(room, balancer.reload)
    said = subprocess.run(["unshare", "-m", str(room / "lay"), "visudo", "-c"],
                          capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0 and "/etc/sudoers.d/" in said.stdout, said.stdout + said.stderr
    for each in NOT_ALLOWED:
        done = subprocess.run(as_user(room, f"sudo -n {each}"), capture_output=True, text=True,
                              check=False, timeout=60)
        assert done.returncode and "password is required" in done.stderr, each
    assert not (room / "systemctl.log").exists()

    config = registry.config.read_text()
    assert f'reload = "{balancer.reload}"' in config
    registry.config.write_text(config.replace(
        f'reload = "{balancer.reload}"', f'reload = "{" ".join(as_user(room, command))}"'))
    with_member = Backend("web1").start()
    try:
        registry.start()
        register(registry.key("fleet", any_member=True), with_member)
        assert balancer.names(4) == {"web1"}
    finally:
        with_member.stop()
    assert set((room / "systemctl.log").read_text().splitlines()) == {"root reload nginx.service"}


def register(access: Access, backend: Backend) -> None:
    """In effect."""

    async def put() -> None:
        client = Client(access, limit_s=60)
        try:
            said = await client.ask("PUT", "/v1/pools/web/members/web1?wait=applied&timeout=20",
                                    {"port": backend.port})
            assert said["applied"]
        finally:
            await client.close()

    asyncio.run(put())


def test_by_a_path_unit(serving: Serving, room: Path) -> None:
    """systemd's part is played by a look at the file's time: the reload is a touch, no more."""
    registry, made = serving("nginx", start=False)
    balancer, text = made["nginx"], printed("path")
    watched = re.search(r"^PathModified=(.*)$", text, re.MULTILINE)
    command = re.search(r'^# reload = "(.*)"$', text, re.MULTILINE)
    assert watched and command and command[1] == f"touch {watched[1]}"
    assert watched[1].startswith(f"/var/lib/{units.USER}/")  # where its user may write
    file = room / "registry/state/reload"
    path = subprocess.Popen(
        [sys.executable, "-c", "import os, subprocess, sys, time\nwas = 0\nwhile True:\n"
         "    now = os.stat(sys.argv[1]).st_mtime_ns if os.path.exists(sys.argv[1]) else 0\n"
         "    if now != was: subprocess.run(sys.argv[2])\n    was = now\n    time.sleep(0.02)",
         str(file), balancer.reload])
    backend = Backend("web1").start()
    try:
        config = registry.config.read_text()
        registry.config.write_text(config.replace(
            f'reload = "{balancer.reload}"', f'reload = "touch {file}"'))
        registry.start()
        register(registry.key("fleet", any_member=True), backend)
        eventually(lambda: balancer.names(4) == {"web1"}, "it serves")
    finally:
        backend.stop()
        path.kill()
        path.wait()


@pytest.mark.parametrize("what", ["serve", "path", "member"])
def test_systemd_takes_the_units(what: str, room: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed (package systemd)")
    text = printed(what)
    names = re.findall(r"^# (?:---- )?/etc/systemd/system/([^\s,]+)", text, re.MULTILINE)
    for name, part in zip(names, text.split("# ----"), strict=True):
        part = part if part.startswith("#") else f"# {part}"
        # What is started is not installed there, maybe.
        (room / name).write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", part,
                                        flags=re.MULTILINE))
    (room / "nginx.service").write_text("[Service]\nExecStart=/bin/true\n")

    def wrong() -> list[str]:
        done = subprocess.run(["systemd-analyze", "verify", *(str(room / n) for n in names)],
                              capture_output=True, text=True, timeout=60 * PATIENCE, check=False)
        return [line for line in done.stderr.splitlines() if any(n in line for n in names)]

    assert wrong() == []
    with (room / names[0]).open("a") as file:
        file.write("[Service]\nTypo=1\n")
    assert wrong() != []  # it would be seen
