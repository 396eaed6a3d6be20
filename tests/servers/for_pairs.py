"""The servers that are installed, without those that only `pair setup` knows, as a source."""

from __future__ import annotations

from slackwater.facts.flavour import OLDEST, Vendor
from slackwater.lab.instance import Program, installed


def for_pairs() -> list[Program]:
    """Those that a pair can be made of."""
    return [p for p in installed() if p.version >= OLDEST[Vendor(p.vendor)]]
