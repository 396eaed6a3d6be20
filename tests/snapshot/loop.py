"""File systems on loop devices, mounted for the time of a test."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted(kind: str, megabytes: int = 900) -> Iterator[Path]:
    """A file system of this kind (btrfs, xfs); the test is skipped where there can be none."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    if shutil.which(f"mkfs.{kind}") is None:
        pytest.skip(f"there is no mkfs.{kind}")
    home = Path(tempfile.mkdtemp(prefix="sw-fs-")).resolve()
    home.chmod(0o711)
    image, mount = home / "image", home / "m"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    try:
        subprocess.run([f"mkfs.{kind}", "-q", image], check=True, capture_output=True, timeout=60)
        done = subprocess.run(["mount", "-o", "loop", image, mount], capture_output=True,
                              text=True, check=False, timeout=60)
        if done.returncode:
            pytest.skip(f"cannot mount {kind} here: {done.stderr.strip()}")
        mount.chmod(0o711)
        try:
            yield mount
        finally:
            subprocess.run(["umount", mount], check=True, capture_output=True, timeout=60)
    finally:
        shutil.rmtree(home, ignore_errors=True)
