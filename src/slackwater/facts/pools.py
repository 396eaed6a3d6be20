"""What a pool is, apart from its members: as its balancers and its probes need it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from slackwater.facts.members import network, pool_name, whole

MODES = ("http", "tcp")
_PATH = re.compile(r"/[A-Za-z0-9._~/-]{0,199}")


@dataclass(frozen=True)
class Pool:
    """`check`: a path that healthy members answer with 2xx or 3xx; "": a connection is enough.
    `networks`: where members may be; none: anywhere. `timeout_s`: for a member's answer."""

    name: str
    mode: str = "http"
    check: str = ""
    networks: tuple[str, ...] = ()
    min_members: int = 1
    timeout_s: int = 60

    def __post_init__(self) -> None:
        pool_name(self.name)
        if self.mode not in MODES:
            raise ValueError(f"mode: one of {', '.join(MODES)}")
        if self.check and not _PATH.fullmatch(self.check):
            raise ValueError("check: a path such as /health")
        for each in self.networks:
            network(each)
        whole("min_members", self.min_members, 1, 10_000)
        whole("timeout", self.timeout_s, 1, 86_400)
