"""Where a server keeps files besides its data directory: what a copy of that alone lacks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

# Options that name directories without which the data cannot be recovered.
DIRECTORIES = (
    "innodb_data_home_dir", "innodb_log_group_home_dir", "innodb_undo_directory",
    "innodb_doublewrite_dir", "aria_log_dir_path", "rocksdb_datadir", "rocksdb_wal_dir",
)  # fmt: skip
LOG_BIN = "log_bin_basename"


def outside(values: Mapping[str, str]) -> dict[str, Path]:
    """Directories outside of the data directory, by the option (or the link) that leads there.

    `values` are the server's variables; relative ones are in the data directory.
    """
    home = Path(values.get("datadir", "/")).resolve()
    found = {n: (home / values[n]).resolve() for n in DIRECTORIES if values.get(n)}
    if base := values.get(LOG_BIN):
        found[LOG_BIN] = (home / base).parent.resolve()
    for part in values.get("innodb_data_file_path", "").split(";"):
        if part.startswith("/"):
            found["innodb_data_file_path"] = Path(part.partition(":")[0]).parent.resolve()
    with contextlib.suppress(OSError):
        for entry in home.iterdir():
            if entry.is_symlink() and (entry.is_dir() or entry.name.startswith(("ib", "undo"))):
                found[f"{entry.name} (a symbolic link)"] = entry.resolve()
    return {name: path for name, path in found.items() if not path.is_relative_to(home)}


def beside(
    path: Path, home: Path, places: Mapping[str, str]
) -> tuple[dict[str, Path], list[str]]:
    """Where in a copy those directories are: as far from its data directory `path` as they were
    from `home`, that of the server. And the reasons why a copy cannot be recovered without one."""
    found, missing = {}, []
    for name, text in places.items():
        if name == LOG_BIN:
            continue
        place = (path / os.path.relpath(text, home)).resolve()
        if name not in DIRECTORIES or (place == Path(text) and path != home):
            missing.append(f"{name} was {text}, which is not in the copy")
        elif not place.is_dir():
            missing.append(f"{name} was {text}: in the copy there is no {place}")
        else:
            found[name] = place
    return found, missing
