"""The balancers' configuration files: which server they make active, and writing them anew."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from slackwater.errors import SlackwaterError
from slackwater.operations.pair_world import PairWorld
from slackwater.outside import haproxy_config


async def write_file(world: PairWorld, balancer: str, active: str) -> None:
    """Check with HAProxy, then replace atomically. Raises OutsideError; nothing is half written."""
    table = world.config.balancers[balancer]
    path = Path(table.config_file)
    text = haproxy_config.with_active(_read(path), active)
    await haproxy_config.install(text, path, main=[table.main_config])


async def file_active(world: PairWorld, balancer: str) -> str | None:
    """The server that the file on disk makes active; raises SlackwaterError if unreadable."""
    path = Path(world.config.balancers[balancer].config_file)
    return haproxy_config.read_active(_read(path))


def cannot_write(world: PairWorld, balancer: str) -> list[str]:
    """Why `write_file` would fail, as far as that can be seen: it comes after the commit point."""
    path = Path(world.config.balancers[balancer].config_file)
    found = []
    if path.exists() and not os.access(path.parent, os.W_OK):
        found.append(f"may not write in {path.parent}, where {path.name} has to be replaced")
    if shutil.which("haproxy") is None:
        found.append("there is no program haproxy in PATH to check its file with (in /usr/sbin?)")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SlackwaterError(
            f"cannot read the balancer's configuration file {path}: {error.strerror}",
            hint="slackwater must run where it may write this file",
        ) from error
