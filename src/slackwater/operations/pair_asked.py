"""What an operation on a pair was asked for: into its journal, and back after a crash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from slackwater.errors import ConfigError
from slackwater.operations.pair_world import PairWorld
from slackwater.plan.journal import Past


@dataclass(frozen=True)
class PairAsked:
    """Names of servers and balancers; operations add limits of their own. `old` and `new`: the
    server that takes writes before, and the one that does so afterwards."""

    old: str
    new: str
    balancers: tuple[str, ...]
    replicas: tuple[str, ...]

    def arguments(self, pair: str) -> dict[str, Any]:
        """Plain values that rebuild the plan after a crash."""
        return {"pair": pair, **self.__dict__}

    @classmethod
    def read(cls, arguments: Mapping[str, Any]) -> tuple[str, Self]:
        """The pair's name and what was asked for, from a journal; JSON has lists for tuples."""
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()
        }
        return values.pop("pair"), cls(**values)


def still_configured(world: PairWorld, past: Past) -> None:
    """Raises ConfigError when the configuration lacks a server or balancer of the journal."""
    arguments = past.planned["arguments"]
    names = {arguments["old"], arguments["new"], *arguments["replicas"]}
    gone = [f"servers.{n}" for n in sorted(names - world.servers.keys())]
    gone += [f"balancers.{n}" for n in arguments["balancers"] if n not in world.balancers]
    if gone:
        raise ConfigError(
            f"{world.config.path}: operation {past.id} began with {', '.join(gone)}, which pair "
            f"{world.name} does not have (any more)",
            hint=f"put it back, also in [pairs.{world.name}], until `slackwater recover` has ended",
        )
