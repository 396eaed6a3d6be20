"""What of a server has to be the same after maintenance as before; plain values for a journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from slackwater.facts.flavour import Flavour
from slackwater.facts.server import ServerFacts

# Settings whose values change by themselves.
_MOVING = ("gtid_", "read_only", "super_read_only", "version", "wait_timeout", "hostname")


@dataclass(frozen=True)
class Before:
    """One server as it was. `replicating`: its channels whose two threads ran."""

    version: str
    version_comment: str
    read_only: bool
    replicating: tuple[str, ...]
    replicas: int  # how many channels it had, running or not
    uptime_s: int
    settings: Mapping[str, str]

    @classmethod
    def of(cls, facts: ServerFacts) -> Before:
        """From one look."""
        return cls(
            version=facts.variables["version"],
            version_comment=facts.variables.get("version_comment", ""),
            read_only=facts.read_only,
            replicating=tuple(c.channel for c in facts.replication if c.running),
            replicas=len(facts.replication),
            uptime_s=facts.uptime_s,
            settings={k: v for k, v in facts.variables.items() if not k.startswith(_MOVING)},
        )

    @classmethod
    def read(cls, noted: Mapping[str, Any]) -> Before:
        """From a journal."""
        return cls(**{**noted, "replicating": tuple(noted["replicating"])})

    def noted(self) -> dict[str, Any]:
        """For a journal."""
        return asdict(self)

    @property
    def flavour(self) -> Flavour:
        return Flavour.parse(self.version, self.version_comment)
