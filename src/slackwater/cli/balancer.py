"""`slackwater balancer show` and `install`: the HAProxy configuration that a pair needs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Annotated

import typer

from slackwater import config
from slackwater.cli.operate import opened
from slackwater.cli.options import ConfigOption, PairOption
from slackwater.config import Config
from slackwater.errors import OutsideError, Refused, SlackwaterError, UsageError
from slackwater.operations.pair_world import balancer_address
from slackwater.outside.haproxy import config as haproxy_config
from slackwater.outside.haproxy import file as haproxy_file
from slackwater.outside.host import Host

app = typer.Typer(
    help="The HAProxy configuration that a pair needs.", no_args_is_help=True,
    rich_markup_mode=None,
)
ActiveOption = Annotated[
    str | None, typer.Option("--active", help="The server that takes the writes now.")
]


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A balancer of slackwater.toml.")],
    active: ActiveOption = None,
    file: ConfigOption = None,
    pair: PairOption = None,
) -> None:
    """Print the file that slackwater will own on this balancer; its header says where it goes."""
    settings = config.load(config.find(file))
    print(asyncio.run(_show(settings, name, active, pair)), end="")


@app.command("install")
def install(
    name: Annotated[str, typer.Argument(help="A balancer of slackwater.toml.")],
    active: ActiveOption = None,
    file: ConfigOption = None,
    pair: PairOption = None,
) -> None:
    """Check the file with `haproxy -c`, then put it, the Lua file and the map in place.

    Where the files are: on this machine, or where the balancer's `ssh` says. It reloads nothing.
    Without --active, the servers tell which one is active; refused where the file that is there
    says another one. Where the servers cannot be asked, that file tells.
    """
    settings = config.load(config.find(file))
    asyncio.run(_install(settings, name, active, pair))


async def _show(settings: Config, name: str, active: str | None, pair: str | None) -> str:
    pair = _check(settings, name, active, pair)
    host = Host(settings.balancers[name].ssh)
    try:
        return _text(settings, name, active or await _active(settings, name, pair, host), pair)
    finally:
        await host.close()


async def _install(settings: Config, name: str, active: str | None, pair: str | None) -> None:
    pair = _check(settings, name, active, pair)
    at, table = balancer_address(settings, name), settings.balancers[name]
    host, path = Host(table.ssh), table.config_file
    try:
        text = _text(settings, name, active or await _active(settings, name, pair, host), pair)
        if await host.exists(path) and haproxy_config.MARK not in await host.read(path):
            raise Refused(
                "cannot install", [f"{path} on {host.where} was not written by slackwater"],
                hint="name another config_file in slackwater.toml",
            )
        lua, holds = haproxy_config.lua_path(at), table.holds_map
        await host.replace(lua, haproxy_config.render_lua(at))
        if not await host.exists(holds):
            await host.replace(holds, haproxy_config.render_map())
        await haproxy_file.install(host, text, path, main=[table.main_config])
    finally:
        await host.close()
    print(f"Installed {path}, {lua} and {holds} on {host.where}.\nNow see that HAProxy loads them "
          f"(the head of {path} says how), and reload it once.")


def _check(settings: Config, name: str, active: str | None, pair: str | None) -> str:
    """The pair that the balancer is of. Raises UsageError for a balancer or a server that is not
    there, or not in that pair."""
    if name not in settings.balancers:
        known = ", ".join(settings.balancers) or "none"
        raise UsageError(f"no balancer {name!r} in {settings.path} (there: {known})")
    of = next((p for p, table in settings.pairs.items() if name in table.balancers), None)
    asked = settings.pair(pair)[0] if pair else of
    if of is None or asked != of:
        raise UsageError(f"balancer {name} is not one of pair {asked}, but of pair {of}" if of else
                         f"balancer {name} is of no pair: name it in [pairs.NAME] balancers")
    servers = settings.pairs[of].servers
    if active is not None and active not in servers:
        raise UsageError(f"--active {active}: the pair's servers are {', '.join(servers)}")
    return of


async def _active(settings: Config, name: str, pair: str | None, host: Host) -> str:
    """The server that takes the writes: as the servers say, or else the file that is there.

    Never a guess: HAProxy would send all clients to it at its next reload. Raises Refused.
    """
    pair_name, table = settings.pair(pair)
    path = settings.balancers[name].config_file
    written = None
    with contextlib.suppress(OutsideError):
        if await host.exists(path):
            written = haproxy_config.read_active(await host.read(path))
    accepts, silent = await _say(settings, pair_name)
    active, why_not = active_of(table.servers, accepts, silent, written)
    if active is not None:
        return active
    raise Refused(
        f"cannot tell which server of pair {pair_name} is active",
        [f"{path} on {host.where} says {written or 'nobody'}", *why_not],
        hint=f"say it: --active {table.servers[0]} or --active {table.servers[1]}",
    )


async def _say(
    settings: Config, pair: str
) -> tuple[dict[str, bool | None], dict[str, str]]:
    """Whether each server of the pair accepts writes (None: not told), and why it cannot be
    asked."""
    try:
        async with opened(settings, pair) as world:
            await world.connect()
            accepts = {n: await world.writable(n) for n in world.pair}
            return accepts, {n: w for n, w in world.unreachable.items() if n in world.pair}
    except SlackwaterError as error:
        names = settings.pair(pair)[1].servers
        return dict.fromkeys(names), dict.fromkeys(names, str(error))


def active_of(
    pair: tuple[str, ...], accepts: Mapping[str, bool | None], silent: Mapping[str, str],
    written: str | None,
) -> tuple[str | None, list[str]]:
    """The active server, or why it cannot be told. `accepts`: None where it is not known;
    `silent`: servers that cannot be asked; `written`: what the balancer's file says.

    What the file says holds where no server says otherwise: a reload would do the same already.
    """
    words = {True: "accepts writes", False: "does not accept writes", None: "gives no answer"}
    says = [f"{n} cannot be asked: {silent[n]}" if n in silent else f"{n} {words[accepts[n]]}"
            for n in pair]
    writable = [n for n in pair if accepts[n]]
    read_only = [n for n in pair if accepts[n] is False and n not in silent]
    if len(writable) == 1 and written in (None, writable[0]):
        # A server that is silent, but runs, may accept them too: only the file speaks then.
        if written or all(accepts[n] is not None for n in pair):
            return writable[0], []
    elif not writable and written in pair and written not in read_only:
        return written, []
    return None, says


def _text(settings: Config, name: str, active: str, pair: str | None) -> str:
    pair_name, table = settings.pair(pair)
    servers = {n: settings.servers[n].address for n in table.servers}
    return haproxy_config.render(
        pair_name, balancer_address(settings, name), servers, active,
        maxconn=settings.balancers[name].maxconn,
    )
