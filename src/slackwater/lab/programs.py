"""Which database servers this machine has: `outside.server_programs`, by its old name."""

from __future__ import annotations

from slackwater.outside.server_programs import (
    Program,
    at,
    cache_root,
    choose,
    installed,
    servers_root,
)

__all__ = ["Program", "at", "cache_root", "choose", "installed", "servers_root"]
