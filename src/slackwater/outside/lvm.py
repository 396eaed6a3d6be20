"""Snapshots by LVM, classic and thin: one moment of a logical volume, mounted to be read."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from slackwater.errors import StepFailed
from slackwater.facts import lvm
from slackwater.facts.lvm import LogicalVolume
from slackwater.outside import command
from slackwater.outside.volumes import kernel_has

if TYPE_CHECKING:
    from slackwater.outside.copies import Source

LIMIT_S = 60.0
# Of a classic snapshot: room for what the origin changes while the snapshot is there.
ROOM = "10%ORIGIN"
_TYPES = ("ext2", "ext3", "ext4", "xfs")
_NAME = re.compile(r"[A-Za-z0-9_+.-]{1,60}")
_PATH = re.compile(r"[A-Za-z0-9_+.\-/=!:&#]{1,900}")  # what a tag may have in it
_PROGRAMS = ("lvs", "lvcreate", "lvremove", "mount", "umount", "blkid")


class Lvm:
    """A snapshot of the logical volume that the data is on, mounted read-only at the target.

    `slackwater=TARGET` is its tag, so that it is found again by the target alone.
    """

    atomic = True

    @staticmethod
    def why_not(source: Source, target: Path) -> str:
        """Why it cannot be taken there, or ""."""
        volume = source.volume
        if not kernel_has("device-mapper"):
            return "this machine's kernel has no device-mapper, which LVM needs"
        if missing := [p for p in _PROGRAMS if shutil.which(p, path=_path()) is None]:
            return f"there is no program {missing[0]} (on Debian: apt-get install lvm2)"
        if not volume.device.startswith("/dev/mapper/"):
            return f"{volume.root} is on {volume.device}, which is no logical volume"
        if volume.type not in _TYPES:
            better = ": use --method btrfs" if volume.type == "btrfs" else ""
            return f"{volume.root} is {volume.type}, not one of {', '.join(_TYPES)}{better}"
        if not _NAME.fullmatch(target.name) or not _PATH.fullmatch(str(target)):
            return f"{target}: LVM takes letters, digits and + _ . - / in names only"
        return "" if target.parent.is_dir() else f"{target.parent} is not a directory"

    @staticmethod
    async def take(source: Source, target: Path) -> None:
        """Take it. Raises StepFailed."""
        found = await _volumes(source.volume.device)
        if not found:
            raise StepFailed(f"{source.volume.device} is no logical volume")
        origin = found[0]
        # A thin one takes its room from the pool; it would not be active by itself, but for the k.
        size = ["--setactivationskip", "n"] if origin.pool else ["--extents", ROOM]
        await _run("lvcreate", "--quiet", "--snapshot", *size, "--name", _name(target),
                   "--addtag", _tag(target), origin.path)

    @staticmethod
    async def expose(target: Path) -> None:
        """Have its files at the target, to be read. Raises StepFailed."""
        if os.path.ismount(target):
            return
        volume = await _find(target)
        if volume is None:
            raise StepFailed(f"there is no logical volume with the tag {_tag(target)}")
        if volume.overflowed:
            raise StepFailed(_overflowed(volume))
        code, kind = await _ask("blkid", "-o", "value", "-s", "TYPE", volume.device)
        target.mkdir(mode=0o711, exist_ok=True)
        # Its file system has the same UUID as the origin's, which XFS does not mount twice.
        options = "ro,nouuid" if code == 0 and kind.strip() == "xfs" else "ro"
        await _run("mount", "-o", options, volume.device, str(target))

    @staticmethod
    async def why_bad(target: Path) -> str:
        """Why it is no longer what it was when it was taken, or ""."""
        volume = await _find(target)
        return _overflowed(volume) if volume is not None and volume.overflowed else ""

    @staticmethod
    async def in_use(target: Path) -> str:
        """What is there already and would be taken for ours, or ""."""
        if target.exists():
            return f"{target} is there already"
        volume = await _find(target)
        return f"{volume.path} is a snapshot for {target} already" if volume else ""

    @staticmethod
    def data_in(source: Source, target: Path) -> Path:
        """The data directory in the snapshot."""
        return target / source.datadir.relative_to(source.volume.root)

    @staticmethod
    async def remove(target: Path) -> None:
        """Remove a snapshot that `take` made; nothing happens when it is not there."""
        if os.path.ismount(target):
            await _run("umount", str(target))
        if (volume := await _find(target)) is not None:
            await _run("lvremove", "--quiet", "--yes", volume.path)
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()


def _tag(target: Path) -> str:
    return f"slackwater={target}"


def _name(target: Path) -> str:
    return f"slackwater-{target.name}"


def _overflowed(volume: LogicalVolume) -> str:
    return (f"the LVM snapshot {volume.path} has overflowed: it had no room left for what its"
            " origin changed meanwhile, and is lost")


async def _find(target: Path) -> LogicalVolume | None:
    return next((v for v in await _volumes() if _tag(target) in v.tags), None)


async def _volumes(*which: str) -> tuple[LogicalVolume, ...]:
    code, said = await _ask("lvs", "--reportformat", "json", "--options", lvm.COLUMNS, *which)
    if code:
        raise StepFailed(f"lvs failed: {said.strip()[-300:]}")
    try:
        # Warnings may come before it, and after it.
        return lvm.parse(json.JSONDecoder().raw_decode(said[max(0, said.find("{")):])[0])
    except ValueError as error:
        raise StepFailed(str(error)) from error


async def _run(*words: str) -> None:
    code, said = await _ask(*words)
    if code:
        raise StepFailed(f"{words[0]} failed: {said.strip()[-300:]}")


async def _ask(*words: str) -> tuple[int, str]:
    # Its programs complain of every descriptor that they inherit, and may speak other languages.
    return await command.run(words, limit_s=LIMIT_S, environment={
        "LVM_SUPPRESS_FD_WARNINGS": "1", "LC_ALL": "C", "PATH": _path()})


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
