"""Restart one server while its clients wait."""

from __future__ import annotations

import shlex
from typing import Any

from slackwater.config import Config
from slackwater.operations.hold.hold import Asked, steps
from slackwater.operations.hold.world import HoldWorld
from slackwater.plan.step import Plan


def plan(asked: Asked) -> Plan[HoldWorld]:
    """The list of steps."""
    title = f"restart {', '.join(asked.servers)}"
    return Plan("restart", title, steps(asked), asked.arguments())


def plan_again(arguments: dict[str, Any]) -> Plan[HoldWorld]:
    """The plan of a journal, from its `arguments`."""
    return plan(Asked.read(arguments))


def command(config: Config, server: str) -> tuple[str, ...]:
    """How this server is restarted, by the configuration; () when it does not say."""
    return tuple(shlex.split(config.servers[server].restart or ""))


def no_command(config: Config, server: str) -> str:
    """The reason to refuse where the configuration does not say how."""
    return (f"{config.path} does not say how {server} is restarted: write "
            f'restart = "systemctl restart mariadb" below [servers.{server}]')
