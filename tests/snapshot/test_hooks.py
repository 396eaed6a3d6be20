"""The hooks, called as open-vm-tools, qemu-ga and script runners call them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually
from tests.snapshot import cli
from tests.snapshot.real import Busy, writable, write

from slackwater.lab.instance import Instance

pytestmark = pytest.mark.servers


@pytest.fixture
def it(started: dict[str, Instance]) -> Instance:
    """The first of them; vendors make no difference here."""
    return started["mariadb-10.11"]


def install(it: Instance, root: Path, kind: str, *more: str) -> str:
    code, out, err = cli.call("hooks", "install", kind, "--root", root, "--config",
                              it.directory.parent / "slackwater.toml", *more)
    assert code == 0, err
    return out


def hook(path: Path, *words: str) -> tuple[int, str]:
    """Run a hook as its host does; exit code and log."""
    log = path.parent / "hooks.log"
    done = subprocess.run([path, *words], env=os.environ | {"SLACKWATER_HOOK_LOG": str(log)},
                          capture_output=True, check=False, timeout=60 * PATIENCE)
    assert not done.stdout
    return done.returncode, log.read_text()


def test_vmware(it: Instance, tmp_path: Path) -> None:
    """open-vm-tools: freeze, then thaw; or freezeFail when a later script failed."""
    install(it, tmp_path, "vmware")
    script = tmp_path / "etc/vmware-tools/backupScripts.d/90-slackwater"
    code, log = hook(script, "freeze")
    assert (code, bool(write(it))) == (0, True), log
    code, log = hook(script, "thaw")
    assert code == 0
    assert "is consistent" in log
    assert hook(script, "freeze")[0] == 0
    for word in ("freezeFail", "freezefail"):  # the code says the one, its documentation the other
        assert hook(script, word)[0] == 0
        assert writable(it)
    assert hook(script, "thaw")[0] == 1  # nothing was frozen: no snapshot to call good
    with Busy(it, "UPDATE t.m SET v = v + SLEEP(30) LIMIT 1"):
        install(it, tmp_path, "vmware", "--within", "1s")
        code, log = hook(script, "freeze")
        assert code == 2, log
    assert writable(it)


@pytest.mark.parametrize(("kind", "path", "code"), [
    ("vmware", "etc/vmware-tools/backupScripts.d/90-slackwater", 2),
    ("qemu", "etc/qemu/fsfreeze-hook", 1),
    ("scripts", "etc/slackwater/hooks/pre-snapshot", 2),
])
def test_a_cancelled_hook_leaves_no_freeze(
    it: Instance, tmp_path: Path, kind: str, path: str, code: int
) -> None:
    """A host ends the process that it began (VMware: SIGTERM), and never calls thaw for it: a
    freeze that lived on would lock when what it waits for is over, and nobody would free it."""
    install(it, tmp_path, kind, "--within", f"{20 * PATIENCE:g}s")
    waits = ("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'slackwater'"
             " AND INFO LIKE 'BACKUP STAGE%'")
    ours = "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'slackwater'"
    with Busy(it, "UPDATE t.m SET v = v + SLEEP(30) LIMIT 1"):
        process = subprocess.Popen(
            [tmp_path / path, "freeze"], stdin=subprocess.DEVNULL, env=os.environ | {
                "SLACKWATER_HOOK_LOG": str(tmp_path / "log")})
        try:
            eventually(lambda: sql(it.socket, waits), "a freeze that waits")
        finally:
            process.terminate()
            ended = process.wait(20 * PATIENCE)
        eventually(lambda: not sql(it.socket, ours), "the end of the freeze", limit_s=5)
    assert ended == code, (tmp_path / "log").read_text()
    assert writable(it)


def test_vmware_of_old(it: Instance, tmp_path: Path) -> None:
    install(it, tmp_path, "vmware", "--legacy")
    before, after = (tmp_path / f"usr/sbin/{n}-script" for n in ("pre-freeze", "post-thaw"))
    assert hook(before, "freeze")[0] == 0
    assert write(it)
    assert hook(after, "freezeFail")[0] == 0
    assert hook(before)[0] == 0
    assert hook(after)[0] == 0
    assert writable(it)


def test_scripts(it: Instance, tmp_path: Path) -> None:
    install(it, tmp_path, "scripts")
    place = tmp_path / "etc/slackwater/hooks"
    assert hook(place / "pre-snapshot")[0] == 0
    assert write(it)
    assert hook(place / "post-snapshot")[0] == 0
    assert hook(place / "snapshot-failed")[0] == 0  # nothing to give up is no error
    assert writable(it)


@pytest.mark.parametrize("shell", [["sh"], ["bash", "--posix"]])
def test_a_log_that_cannot_be_written_keeps_no_lock(
    it: Instance, tmp_path: Path, shell: list[str]
) -> None:
    """Its directory was removed, or is root's: the hooks work without it."""
    install(it, tmp_path, "scripts")
    nowhere = os.environ | {"SLACKWATER_HOOK_LOG": str(tmp_path / "gone/hooks.log")}
    place = tmp_path / "etc/slackwater/hooks"
    for name, locked in (("pre-snapshot", True), ("post-snapshot", False)):
        done = subprocess.run([*shell, place / name], env=nowhere, check=False,
                              capture_output=True, timeout=60 * PATIENCE)
        assert (done.returncode, bool(write(it))) == (0, locked), name


def test_qemu_does_not_swallow_failures(it: Instance, tmp_path: Path) -> None:
    """With another hook beside it, and one that was there before."""
    directory = tmp_path / "etc/qemu"
    (directory / "fsfreeze-hook.d").mkdir(parents=True)
    seen = directory / "seen"
    for path in (directory / "fsfreeze-hook", directory / "fsfreeze-hook.d/other"):
        path.write_text(f'#!/bin/sh\necho {path.name} $1 >>{seen}\n')
        path.chmod(0o755)
    assert "kept" in install(it, tmp_path, "qemu")
    ours = directory / "fsfreeze-hook"
    assert hook(ours, "freeze")[0] == 0
    assert write(it)
    assert hook(ours, "thaw")[0] == 0
    assert writable(it)
    assert seen.read_text().split("\n")[:4] == [
        "other freeze", "fsfreeze-hook freeze", "other thaw", "fsfreeze-hook thaw"]
    (directory / "fsfreeze-hook.d/other").write_text('#!/bin/sh\n[ "$1" = thaw ]\n')
    assert hook(ours, "freeze")[0] == 1
    assert writable(it)


def test_install_and_remove_leave_nothing(it: Instance, tmp_path: Path) -> None:
    (tmp_path / "etc/qemu").mkdir(parents=True)
    (tmp_path / "etc/qemu/fsfreeze-hook").write_text("theirs")
    for kind in ("vmware", "qemu", "scripts"):
        install(it, tmp_path, kind)
        install(it, tmp_path, kind)  # again is no harm
    for kind in ("vmware", "qemu", "scripts"):
        install(it, tmp_path, kind, "--remove")
    left = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert [p.read_text() for p in left] == ["theirs"]


def test_a_hook_of_others_is_not_overwritten(it: Instance, tmp_path: Path) -> None:
    script = tmp_path / "usr/sbin/pre-freeze-script"
    script.parent.mkdir(parents=True)
    script.write_text("theirs")
    code, _, err = cli.call("hooks", "install", "vmware", "--legacy", "--root", tmp_path,
                            "--config", it.directory.parent / "slackwater.toml")
    assert code == 1
    assert "is not ours" in err
    assert script.read_text() == "theirs"
    assert not (script.parent / "post-thaw-script").exists()


def two_servers(tmp_path: Path) -> Path:
    """A configuration with servers a and b, which nobody asks."""
    secret = tmp_path / "password"
    secret.write_text("x")
    secret.chmod(0o600)
    file = tmp_path / "slackwater.toml"
    file.write_text(
        "".join(f'[servers.{n}]\naddress = "127.0.0.1:{p}"\n' for n, p in (("a", 1), ("b", 2)))
        + f'[accounts.slackwater]\npassword_file = "{secret}"\n')
    return file


def test_never_both_ways_of_vmware(tmp_path: Path) -> None:
    words = ("hooks", "install", "vmware", "--server", "a", "--root", tmp_path / "root",
             "--config", two_servers(tmp_path))
    for first, second in (((), ("--legacy",)), (("--legacy",), ())):
        assert cli.call(*words, *first)[0] == 0
        before = sorted((tmp_path / "root").rglob("*"))
        code, _, err = cli.call(*words, *second)
        assert code == 1
        assert "VMware would call both" in err
        assert sorted((tmp_path / "root").rglob("*")) == before
        assert cli.call(*words, *first, "--remove")[0] == 0


def test_a_hook_of_other_servers_is_not_replaced(tmp_path: Path) -> None:
    """Else the first would be frozen no more, and nobody told."""
    file = two_servers(tmp_path)
    words = ("hooks", "install", "vmware", "--root", tmp_path / "root", "--config", file)
    script = tmp_path / "root/etc/vmware-tools/backupScripts.d/90-slackwater"
    assert cli.call(*words, "--server", "a")[0] == 0
    code, _, err = cli.call(*words, "--server", "b")
    assert code == 1
    assert f"freezes a of {file}" in err
    assert "--server a" in script.read_text()
    assert cli.call(*words, "--server", "a", "--server", "b", "--within", "9s")[0] == 0
    assert "--server a --server b --within 9s" in script.read_text()
    other = file.rename(tmp_path / "other.toml")
    assert cli.call(*words[:-1], other, "--server", "a", "--server", "b")[0] == 1


def test_thaw_brings_little_with_it() -> None:
    """Writers wait while it begins: the database's client alone takes longer than the rest."""
    code = ("import sys, slackwater.cli.thaw;"
            " print(sorted({'asyncmy', 'cryptography', 'asyncssh', 'sqlglot'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_plan_prints_the_files(it: Instance, tmp_path: Path) -> None:
    assert "do_freeze" in install(it, tmp_path, "vmware", "--plan")
    assert not list(tmp_path.rglob("*"))
