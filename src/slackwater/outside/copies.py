"""Snapshots by file systems that can make them, and throwaway copies of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from slackwater.errors import StepFailed
from slackwater.outside import command
from slackwater.outside.lvm import Lvm
from slackwater.outside.volumes import Volume, kernel_has, volume_of

LIMIT_S = 60.0


@dataclass(frozen=True)
class Source:
    """What is to be copied: the server's data, the file system that it is on, its process."""

    datadir: Path
    volume: Volume
    pid: int | None  # of the server; None when it could not be found
    places: Mapping[str, Path] = field(default_factory=dict)  # outside of the data directory


class _Directory:
    """A snapshot whose files are in a directory as soon as it was taken."""

    @staticmethod
    async def expose(target: Path) -> None:
        """Its files are there already."""

    @staticmethod
    async def why_bad(target: Path) -> str:
        """Why it is no longer what it was when it was taken, or ""."""
        return ""

    @staticmethod
    async def in_use(target: Path) -> str:
        """What is there already and would be taken for ours, or ""."""
        return f"{target} is there already" if target.exists() else ""


class Btrfs(_Directory):
    """A read-only snapshot of the subvolume that the data is in: one moment of all of it."""

    atomic = True

    @staticmethod
    def why_not(source: Source, target: Path) -> str:
        """Why it cannot be taken there, or ""."""
        if source.volume.type != "btrfs":
            return f"{source.volume.root} is {source.volume.type}, not btrfs"
        if shutil.which("btrfs") is None:
            return "there is no program btrfs (on Debian: apt-get install btrfs-progs)"
        return "" if target.parent.is_dir() else f"{target.parent} is not a directory"

    @staticmethod
    async def take(source: Source, target: Path) -> None:
        """Take it. Raises StepFailed."""
        await _run("btrfs", "subvolume", "snapshot", "-r", source.volume.root, str(target))

    @staticmethod
    def data_in(source: Source, target: Path) -> Path:
        """The data directory in the snapshot."""
        return target / source.datadir.relative_to(source.volume.root)

    @staticmethod
    async def remove(target: Path) -> None:
        """Remove a snapshot that `take` made; nothing happens when it is not there."""
        if target.exists():
            await _run("btrfs", "subvolume", "delete", str(target))


class Reflink(_Directory):
    """A copy that shares its blocks (XFS, btrfs), file by file, while the server's process stands.

    A frozen XFS cannot be written to, so not be copied within; a stopped process writes nothing,
    and cloning a file waits for what it had given to the kernel. So the copy is what a crash at
    that moment would leave. The process goes on by itself after PAUSE_CAP_S, whoever is dead.
    """

    atomic = True

    @staticmethod
    def why_not(source: Source, target: Path) -> str:
        """Why it cannot be taken there, or ""."""
        if source.volume.type not in ("xfs", "btrfs"):
            return f"{source.volume.root} is {source.volume.type}, neither xfs nor btrfs"
        if not target.parent.is_dir():
            return f"{target.parent} is not a directory"
        if target.parent.stat().st_dev != source.datadir.stat().st_dev:
            return f"{target.parent} is not on the file system of {source.datadir}"
        if source.datadir in target.parents:
            return f"{target} is inside the data itself"
        return "" if source.pid else "the server's process is not to be found (its pid_file)"

    @staticmethod
    async def take(source: Source, target: Path) -> None:
        """Take it. Raises StepFailed; the server's process runs again in any case."""
        code, said = await command.run(
            ["sh", "-c", _PAUSED_COPY, str(source.pid), str(source.datadir), str(target),
             str(PAUSE_CAP_S)], limit_s=LIMIT_S,
        )  # fmt: skip
        if code:
            why = f"it took longer than {PAUSE_CAP_S} s" if code == TIMED_OUT else said.strip()
            raise StepFailed(f"the reflink copy failed: {why[-300:]}")

    @staticmethod
    def data_in(source: Source, target: Path) -> Path:
        """The data directory in the snapshot."""
        return target

    @staticmethod
    async def remove(target: Path) -> None:
        """Remove a copy that `take` made; nothing happens when it is not there."""
        if target.exists():
            await _run("rm", "-rf", "--one-file-system", str(target))


PAUSE_CAP_S = 3
TIMED_OUT = 124  # of timeout(1)
# The dead-man's switch is begun first, in a session of its own.
_PAUSED_COPY = """
setsid sh -c 'sleep "$1"; kill -CONT "$0"' "$0" "$3" >/dev/null 2>&1 &
guard=$!
trap 'kill -CONT "$0"' EXIT
kill -STOP "$0" || exit 1
timeout "$3" cp -a --reflink=always "$1" "$2"
code=$?
kill -CONT "$0"
kill -- -"$guard" 2>/dev/null
exit $code
"""


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


METHODS: dict[str, type[Btrfs] | type[Reflink] | type[Lvm]] = {
    "btrfs": Btrfs, "reflink": Reflink, "lvm": Lvm}


def left_out(method: str, source: Source) -> dict[str, Path]:
    """What the server keeps outside of its data directory and a snapshot by this method lacks."""
    if method == "reflink":  # a copy of the data directory, not of a file system
        return dict(source.places)
    return {n: p for n, p in source.places.items() if volume_of(p).root != source.volume.root}


def not_built_in(source: Source | None, target: Path) -> str:
    """Why slackwater takes no snapshot by ZFS itself, and the command that does it."""
    zfs = source is not None and source.volume.type == "zfs"
    dataset = source.volume.device if source and zfs else "POOL/DATASET"
    here = "" if kernel_has("zfs") else "this machine's kernel has no zfs; where it has: "
    return (f"slackwater takes no zfs snapshot itself: {here}"
            f"slackwater snapshot --atomic -- zfs snapshot {dataset}@{target.name}")
