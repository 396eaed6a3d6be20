"""Which file system a path is on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from slackwater.facts.setup import SYSTEM_SCHEMAS


@dataclass(frozen=True)
class Volume:
    """A file system: its root directory as we see it, its type (btrfs, xfs, …), its device."""

    root: str
    type: str
    device: str


def volume_of(path: Path) -> Volume:
    """The file system that a path is on. Raises OSError when the path is not there.

    A btrfs subvolume counts as one: a snapshot of another does not have it.
    """
    path = path.resolve(strict=True)
    number, root = path.stat().st_dev, path
    while root != root.parent and root.parent.stat().st_dev == number:
        root = root.parent
    kind = device = mounted = ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        mount = left.split()[4].encode().decode("unicode_escape")  # \040 is a blank
        # The last one that is mounted at the longest path is what is seen there.
        if os.path.commonpath([mount, root]) == mount and len(mount) >= len(mounted):
            mounted = mount
            kind, device = right.split()[:2]
    return Volume(str(root), kind, device)


def kernel_has(what: str) -> bool:
    """Whether the kernel can do it now: `device-mapper` (LVM), or a file system such as zfs."""
    try:
        listed = Path("/proc/devices").read_text() + Path("/proc/filesystems").read_text()
    except OSError:
        return False
    return what in listed.split()


def free_bytes(path: Path) -> int | None:
    """Free space of the file system that a path is on; None where we may not look."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


# Data files of engines without crash recovery (Aria has it for its pages, not for a table's rows).
_FILES = {".MYD": "MyISAM", ".MAD": "Aria", ".CSV": "CSV", ".ARZ": "ARCHIVE"}


def engine_files(datadir: Path) -> dict[str, int] | None:
    """How many tables there are of such engines, by their files; None when we may not look."""
    found: dict[str, int] = {}
    try:
        for schema in datadir.iterdir():
            if schema.name in SYSTEM_SCHEMAS or schema.name.startswith("#") or not schema.is_dir():
                continue
            for file in schema.iterdir():
                if engine := _FILES.get(file.suffix.upper()):
                    found[engine] = found.get(engine, 0) + 1
    except OSError:
        return None
    return found
