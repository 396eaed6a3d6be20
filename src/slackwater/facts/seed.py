"""A verified snapshot that a replica can begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slackwater.facts.flavour import Flavour


@dataclass(frozen=True)
class Seed:
    """What is known of it: `path` is the data directory in the copy, `gtids` what the booted copy
    had, `uuid` the server's then ("" on MariaDB), `settings` those that it cannot be read
    without."""

    path: str
    snapshot: str
    server: str
    uuid: str
    taken: str
    flavour: Flavour
    gtids: str
    settings: Mapping[str, str]
