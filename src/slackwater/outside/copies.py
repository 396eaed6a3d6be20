"""Snapshots by file systems that can make them, and throwaway copies of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from slackwater.errors import StepFailed
from slackwater.outside import command
from slackwater.outside.volumes import Volume

LIMIT_S = 60.0


class Btrfs:
    """A read-only snapshot of the subvolume that the data is in: one moment of all of it."""

    atomic = True

    @staticmethod
    def why_not(volume: Volume, target: Path) -> str:
        """Why it cannot be taken there, or ""."""
        if volume.type != "btrfs":
            return f"{volume.root} is {volume.type}, not btrfs"
        if shutil.which("btrfs") is None:
            return "there is no program btrfs (on Debian: apt-get install btrfs-progs)"
        return "" if target.parent.is_dir() else f"{target.parent} is not a directory"

    @staticmethod
    async def take(volume: Volume, target: Path) -> None:
        """Take it. Raises StepFailed."""
        await _run("btrfs", "subvolume", "snapshot", "-r", volume.root, str(target))

    @staticmethod
    async def remove(target: Path) -> None:
        """Remove a snapshot that `take` made; nothing happens when it is not there."""
        if target.exists():
            await _run("btrfs", "subvolume", "delete", str(target))


async def private_copy(source: Path, target: Path, *, limit_s: float) -> None:
    """Copy a data directory, sharing its blocks where the file system can. Raises StepFailed."""
    code, said = await command.run(
        ["cp", "-a", "--reflink=auto", str(source), str(target)], limit_s=limit_s
    )
    if code:
        raise StepFailed(f"cannot copy {source}: {said.strip()[-300:]}")


async def _run(*words: str) -> None:
    code, said = await command.run(words, limit_s=LIMIT_S)
    if code:
        raise StepFailed(f"{' '.join(words[:3])} failed: {said.strip()[-300:]}")


METHODS: dict[str, type[Btrfs]] = {"btrfs": Btrfs}
