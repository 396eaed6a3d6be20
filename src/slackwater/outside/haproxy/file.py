"""The owned file where HAProxy reads it: checked by HAProxy itself, then replaced in one rename."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from slackwater.errors import OutsideError
from slackwater.outside.host import Host


async def validate(
    host: Host, text: str, *, main: Sequence[Path], instead_of: Path, limit_s: float = 10.0
) -> None:
    """Run `haproxy -c` on the main files and `text`. Raises OutsideError with what it says.

    `instead_of`: where the text will be installed; the candidate is put beside it.
    """
    candidate = instead_of.with_name(f".{instead_of.name}.{secrets.token_hex(4)}.check")
    files = [str(p) for p in main if p != instead_of] + [str(candidate)]
    command = ["haproxy", "-c", *(word for file in files for word in ("-f", file))]
    await host.replace(candidate, text)
    try:
        code, said = await host.run(command, limit_s=limit_s)
    finally:
        await host.remove(candidate)
    if code:
        lines = said.splitlines()
        alerts = [x for x in lines if "[ALERT]" in x] or lines
        where = f"haproxy -c -f {' -f '.join(files)} on {host.where}"
        raise OutsideError(where, "; ".join(alerts)[:2000], sent=False)


async def install(
    host: Host, text: str, path: Path, *, main: Sequence[Path], limit_s: float = 10.0
) -> None:
    """Check `text`, then put it at `path` in one rename; owner and mode stay as they were.

    Raises OutsideError; sent=False means the old file is still in place.
    """
    await validate(host, text, main=main, instead_of=path, limit_s=limit_s)
    await host.replace(path, text)
