"""A network namespace of our own: a firewall rule of the bench never touches the machine's own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import NoReturn

_INSIDE = "SLACKWATER_BENCH_NAMESPACE"
_CHECK = "ip link set lo up && nft add table inet probe && nft delete table inet probe"


def enter(module: str) -> str:
    """Start this program again inside a namespace; returns why not, or "" when inside.

    Root and ordinary users alike, where the kernel lets them. Does not return on success.
    """
    if os.environ.get(_INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return ""
    # An ordinary user keeps their own id, so that servers start as they would outside.
    user = [] if os.geteuid() == 0 else ["--map-current-user", "--keep-caps"]
    command = ["unshare", *user, "--net"]
    try:
        tried = subprocess.run(
            [*command, "sh", "-c", _CHECK], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        return f"no network namespace: {problem}"
    if tried.returncode != 0:
        return f"no network namespace with nftables: {tried.stderr.strip()[-200:]}"
    sys.stdout.flush()
    words = [*command, sys.executable, "-m", module, *sys.argv[1:]]
    return _become(words)


def _become(words: list[str]) -> NoReturn:
    os.execvpe(words[0], words, {**os.environ, _INSIDE: "1"})
