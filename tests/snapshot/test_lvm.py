"""Snapshots by LVM on a kernel that has device-mapper: classic ones on XFS, thin ones on ext4.

On this machine they are skipped where it has none; `make lvm` runs them on Debian's own kernel.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE
from tests.snapshot import cli
from tests.snapshot.real import Writer, config, running, writable

from slackwater.lab.instance import Instance
from slackwater.outside.volumes import kernel_has

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(os.geteuid() != 0 or not kernel_has("device-mapper"),
                       reason="only root makes logical volumes, on a kernel with device-mapper"),
    pytest.mark.skipif(shutil.which("lvcreate", path="/usr/sbin:/sbin:/usr/bin") is None,
                       reason="there is no lvm2"),
]
LATE = f"{20 * PATIENCE:g}s"


def run(*words: str | Path) -> str:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False,
                          timeout=120 * PATIENCE,
                          env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"})
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@contextlib.contextmanager
def logical_volume(kind: str, fs: str) -> Iterator[Path]:
    """A logical volume of 400 MiB in a group of its own, on a loop device, mounted."""
    home = Path(tempfile.mkdtemp(prefix="sw-lvm-")).resolve()
    home.chmod(0o711)
    (home / "image").touch()
    os.truncate(home / "image", 1 << 30)
    mount, group = home / "m", f"sw{secrets.token_hex(4)}"
    mount.mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        device = run("losetup", "--find", "--show", home / "image").strip()
        stack.callback(run, "losetup", "--detach", device)
        run("vgcreate", group, device)
        stack.callback(run, "vgremove", "--yes", "--force", group)
        stack.callback(unmount, group)
        if kind == "thin":
            run("lvcreate", "--type", "thin-pool", "--size", "600M", "--name", "pool", group)
            run("lvcreate", "--thin", "--virtualsize", "400M", "--name", "data", f"{group}/pool")
        else:
            run("lvcreate", "--size", "400M", "--name", "data", group)
        run(f"mkfs.{fs}", "-q", f"/dev/{group}/data")
        run("mount", f"/dev/{group}/data", mount)
        mount.chmod(0o711)
        yield mount


def unmount(group: str) -> None:
    """Whatever of that group is mounted."""
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.startswith((f"/dev/mapper/{group}-", f"/dev/{group}/")):
            run("umount", line.split()[1])


def volumes() -> list[str]:
    said = json.loads(run("lvs", "--reportformat", "json", "-o", "lv_name"))
    return sorted(row["lv_name"] for row in said["report"][0]["lv"])


def settings(it: Instance) -> tuple[str, Path]:
    return "--config", it.directory.parent / "slackwater.toml"


@pytest.mark.parametrize(("name", "kind", "fs"), [
    ("mariadb-10.11", "classic", "xfs"), ("mariadb-10.11", "thin", "ext4"),
    ("mysql-9.7", "thin", "xfs"),
])
def test_under_load(name: str, kind: str, fs: str) -> None:
    """As on btrfs: with a lock the booted position is the recorded one, without it contains it;
    verified, listed, pruned."""
    with logical_volume(kind, fs) as mount, running(name, mount) as it:
        config(it)
        there = mount.parent
        with Writer(it) as one, Writer(it, "t.m") as two:
            one.wait_more()
            two.wait_more()
            code, said = cli.ask("snapshot", *settings(it), "--method", "lvm", "--to",
                                 there / "one", "--within", LATE)
            assert code == 0, said
            print(f"{name}, {kind}, {fs}: the snapshot took {said['snapshot_ms']} ms,"
                  f" writers waited for {said['locked_ms']} ms")
            one.wait_more()
            two.wait_more()
            assert (one.error, two.error) == (None, None)
        print(run("lvs", "--reportformat", "json", "-o",
                  "vg_name,lv_name,lv_attr,pool_lv,origin,lv_tags,data_percent"))
        code, found = cli.ask("snapshot", "verify", said["snapshot"], *settings(it))
        assert code == 0, found
        assert found["position"] == "equal"
        assert found["can_seed"]
        sql(it.socket, "DROP TABLE t.m")
        with Writer(it) as one:
            one.wait_more()
            code, free = cli.ask("snapshot", *settings(it), "--method", "lvm", "--to",
                                 there / "two")
            assert code == 0, free
            assert "locked_ms" not in free
        run("umount", there / "two")  # as after a restart of the machine
        code, found = cli.ask("snapshot", "verify", free["snapshot"], *settings(it))
        assert (code, found["position"]) == (0, "contains"), found
        assert {"slackwater-one", "slackwater-two"} <= set(volumes())
        code, pruned = cli.ask("snapshot", "prune", "--keep", "1", *settings(it))
        assert pruned["removed"] == [said["snapshot"]]
        assert "slackwater-one" not in volumes()
        assert not (there / "one").exists()


def test_one_that_overflows_and_one_that_fails() -> None:
    with logical_volume("classic", "ext4") as mount, running("mariadb-10.11", mount) as it:
        config(it)
        there = mount.parent
        code, said = cli.ask("snapshot", *settings(it), "--method", "lvm", "--to",
                             there / "full", "--within", LATE)
        assert code == 0, said
        (mount / "much").write_bytes(secrets.token_bytes(60 << 20))  # its room is 40 MiB
        run("sync", "-f", mount)
        print(run("lvs", "--reportformat", "json", "-o",
                  "vg_name,lv_name,lv_attr,pool_lv,origin,lv_tags,data_percent"))
        code, found = cli.ask("snapshot", "verify", said["snapshot"], *settings(it))
        assert code == 3, found
        assert "has overflowed" in found["faults"][0]
        _, listed = cli.ask("snapshot", "list", *settings(it))
        assert listed["snapshots"][0]["verdict"] == "not consistent"
        code, pruned = cli.ask("snapshot", "prune", said["snapshot"], *settings(it))
        assert code == 0, pruned
        assert volumes() == ["data"]
        run("lvcreate", "--size", "4M", "--name", "slackwater-there", run(
            "lvs", "--noheadings", "-o", "vg_name").strip())
        code, said = cli.ask("snapshot", *settings(it), "--method", "lvm", "--to",
                             there / "there", "--within", LATE)
        assert (code, said["outcome"]) == (2, "undone"), said
        assert "already exists" in said["reasons"][0]
        assert volumes() == ["data", "slackwater-there"]  # it is not ours
        assert writable(it)
