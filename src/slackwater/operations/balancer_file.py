"""The balancers' configuration files: which server they make active, and writing them anew."""

from __future__ import annotations

from dataclasses import dataclass, field

from slackwater.facts.balancer import BalancerState
from slackwater.operations.pair_world import PairWorld
from slackwater.outside.haproxy import config as haproxy_config
from slackwater.outside.haproxy import file as haproxy_file
from slackwater.outside.haproxy.capable import reasons_in_file


async def write_file(world: PairWorld, balancer: str, active: str) -> None:
    """Check with HAProxy, then replace atomically. Raises OutsideError; nothing is half written."""
    host, table = world.hosts[balancer], world.config.balancers[balancer]
    text = haproxy_config.with_active(await host.read(table.config_file), active)
    await haproxy_file.install(host, text, table.config_file, main=[table.main_config])


async def check_file(world: PairWorld, balancer: str, active: str) -> None:
    """Have HAProxy check the file with that server as the active one, for `install_checked`.
    Raises OutsideError."""
    host, table = world.hosts[balancer], world.config.balancers[balancer]
    text = haproxy_config.with_active(await host.read(table.config_file), active)
    await haproxy_file.validate(
        host, text, main=[table.main_config], instead_of=table.config_file)
    world.notes[f"checked {balancer}"] = text


async def install_checked(world: PairWorld, balancer: str, active: str) -> None:
    """As write_file; a text that `check_file` has just found good is not checked again."""
    host, table = world.hosts[balancer], world.config.balancers[balancer]
    text = haproxy_config.with_active(await host.read(table.config_file), active)
    if world.notes.get(f"checked {balancer}") != text:
        await haproxy_file.validate(
            host, text, main=[table.main_config], instead_of=table.config_file)
    await host.replace(table.config_file, text)


async def file_active(world: PairWorld, balancer: str) -> str | None:
    """The server that the file on disk makes active; raises OutsideError if unreadable."""
    path = world.config.balancers[balancer].config_file
    return haproxy_config.read_active(await world.hosts[balancer].read(path))


@dataclass(frozen=True)
class FileSeen:
    """The server that a balancer's file makes active, where it has each one, and what would keep
    a switchover from writing it."""

    active: str | None = None
    addresses: dict[str, str] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()


async def look_at_file(world: PairWorld, balancer: str, state: BalancerState) -> FileSeen:
    """See the file, which a switchover writes after its commit point. Raises OutsideError when it
    cannot be read."""
    host, path = world.hosts[balancer], world.config.balancers[balancer].config_file
    text = await host.read(path)
    lacks = reasons_in_file(str(path), text, state, hold_s=world.limits.hold)
    if not await host.may_write(path.parent):
        lacks.append(f"may not write in {path.parent} on {host.where}, where {path.name} has to be"
                     " replaced")
    if not await host.has("haproxy"):
        lacks.append(f"there is no program haproxy on {host.where} to check its file with")
    return FileSeen(
        haproxy_config.read_active(text), haproxy_config.read_addresses(text), tuple(lacks)
    )
