"""The balancers' configuration files: which server they make active, and writing them anew."""

from __future__ import annotations

from pathlib import Path

from slackwater.config import host_port
from slackwater.errors import SlackwaterError
from slackwater.operations.pair_world import PairWorld
from slackwater.outside import haproxy_config


def rendered(world: PairWorld, balancer: str, active: str) -> str:
    """The text of a balancer's owned file with that server active."""
    return haproxy_config.render(
        world.balancers[balancer].at,
        {name: host_port(world.config.servers[name].address) for name in world.pair},
        active=active,
    )


async def write_file(world: PairWorld, balancer: str, active: str) -> None:
    """Check with HAProxy, then replace atomically. Raises OutsideError; nothing is half written."""
    table = world.config.balancers[balancer]
    await haproxy_config.install(
        world.balancers[balancer].at, rendered(world, balancer, active),
        main_config=Path(table.main_config),
    )


async def file_active(world: PairWorld, balancer: str) -> str | None:
    """The server that the file on disk makes active; raises SlackwaterError if unreadable."""
    path = Path(world.config.balancers[balancer].config_file)
    try:
        return haproxy_config.read_active(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SlackwaterError(
            f"cannot read the balancer's configuration file {path}: {error.strerror}",
            hint="slackwater must run where it may write this file",
        ) from error
