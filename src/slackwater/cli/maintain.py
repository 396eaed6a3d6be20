"""`slackwater hold`, `slackwater restart` and `slackwater upgrade`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from slackwater import clock, config
from slackwater.cli import explain
from slackwater.cli.operate import Proposal, finish, operate, refused, say
from slackwater.cli.options import ConfigOption, JsonOption, PairOption
from slackwater.cli.rolling import Part, print_parts, roll
from slackwater.config import Config
from slackwater.errors import OutsideError, Refused, SlackwaterError, UsageError
from slackwater.facts.destination import Destination
from slackwater.operations.hold import hold as holding
from slackwater.operations.hold import restart as restarting
from slackwater.operations.hold import upgrade as upgrading
from slackwater.operations.hold.sockets import kept_sockets
from slackwater.operations.hold.world import HoldWorld, Scope, scope_of
from slackwater.outside import apt
from slackwater.outside.gate import gate
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan import journal
from slackwater.rules import upgrade as rules

# What clients wait for a connection: PyMySQL and libmysqlclient 10 s, others 15 s or more.
CONNECT_TIMEOUT_S = 10.0

PlanOption = Annotated[bool, typer.Option("--plan", help="Print the steps; touch nothing.")]
PortOption = Annotated[
    list[int] | None,
    typer.Option("--port", min=1, max=65535, help="A TCP port to hold; repeat it."),
]
HostOption = Annotated[
    str | None,
    typer.Option("--host", help="Hold and run there, by SSH: [USER@]HOST[:PORT], or `local` "
                 "[default: servers.NAME.ssh of --server, else this machine]."),
]
LimitOption = Annotated[
    float,
    typer.Option("--limit", min=0.5, max=60, help="Longest time in seconds that a client waits."),
]
QuietOption = Annotated[
    float,
    typer.Option("--quiet-limit", min=0.0, max=30,
                 help="Seconds to wait for the clients that are there to finish."),
]
CloseOption = Annotated[
    bool,
    typer.Option("--close-stragglers",
                 help="Then close those who are left, between their transactions."),
]
RunOption = Annotated[
    float, typer.Option("--command-limit", min=1, help="Seconds after which the command is ended.")
]


def hold(
    command: Annotated[
        list[str] | None, typer.Argument(help="The command to run, behind `--`.")
    ] = None,
    port: PortOption = None,
    server: Annotated[
        str | None, typer.Option("--server", help="Only this server [default: all of the pair].")
    ] = None,
    host: HostOption = None,
    limit: LimitOption = holding.HOLD_S,
    quiet_limit: QuietOption = 3.0,
    close_stragglers: CloseOption = False,
    command_limit: RunOption = 300.0,
    explaining: Annotated[
        bool, typer.Option("--explain", help="Say what can be held on this machine, and how.")
    ] = False,
    plan: PlanOption = False,
    file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run any command while new connections wait instead of fail.

    New connections to the ports wait; clients that are there finish; the command runs; the
    servers are proven healthy; everybody goes on. The command's exit code decides.

    Examples:

      slackwater hold --explain         what is covered on this machine

      slackwater hold --port 80 --port 443 --pair shop -- apt-get install -y mariadb-server

      slackwater hold --port 3306 --server db1 --plan -- systemctl restart mariadb
    """
    if explaining:
        settings = config.load(config.find(file))
        scope = scope_of(settings, pair, server)
        explain.show(settings, scope, tuple(port or ()), _machine(host), as_json=as_json)
        return
    if not command:
        raise UsageError("say which command to run", hint="slackwater hold --port 80 -- COMMAND …")
    if not port:
        raise UsageError("say which ports to hold", hint="--port 80 --port 443")
    _warn(limit)

    async def propose(world: HoldWorld) -> Proposal[HoldWorld]:
        asked = _asked(world, tuple(port), tuple(command), limit, quiet_limit,
                       close_stragglers, command_limit)
        return await known("hold", world, asked)

    def make(settings: Config) -> HoldWorld:
        return HoldWorld(settings, scope_of(settings, pair, server), on=_machine(host))

    operate("hold", file, make, propose, plan_only=plan, as_json=as_json)


def restart(
    server: Annotated[str | None, typer.Argument(help="Which server.")] = None,
    port: PortOption = None,
    limit: LimitOption = holding.HOLD_S,
    quiet_limit: QuietOption = 3.0,
    close_stragglers: CloseOption = False,
    command_limit: RunOption = 300.0,
    plan: PlanOption = False,
    file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restart one server while its clients wait; with --pair alone, both in turn.

    The command is `restart` below [servers.NAME] in the file. The passive server of a pair is
    restarted as it is; with --pair and no server: the passive, a switchover, then the other.

    Examples:

      slackwater restart db1 --plan     what would be done, step by step

      slackwater restart db1            its own port is held while it restarts

      slackwater restart --pair shop    both, and clients see a switchover only
    """
    _warn(limit)

    async def propose(world: HoldWorld) -> Proposal[HoldWorld]:
        name = world.scope.servers[0]
        words = restarting.command(world.config, name)
        if not words:
            return Proposal(None, [restarting.no_command(world.config, name)])
        ports = tuple(port or ()) or await own_ports(world)
        asked = _asked(world, ports, words, limit, quiet_limit, close_stragglers, command_limit)
        asked = dataclasses.replace(asked, same_version=True, must_restart=True)
        try:
            asked = await _with_sockets(world, asked)
        except SlackwaterError as error:
            return Proposal(None, [str(error)])
        return await known("restart", world, asked)

    _one_or_both(Part("restart", propose), server, pair, file, plan_only=plan, as_json=as_json)


def _one_or_both(
    part: Part, server: str | None, pair: str | None, file: Path | None, *,
    plan_only: bool, as_json: bool,
) -> None:
    """The server that was named, or the only one; of a pair without a name, both in turn."""
    settings = config.load(config.find(file))
    if server is None and pair is not None:
        rolling(settings, pair, part, plan_only=plan_only, as_json=as_json)
        return
    if server is None and len(settings.servers) > 1:
        raise UsageError(f"say which server ({', '.join(settings.servers)})",
                         hint="or --pair NAME for both of a pair, one after the other")

    def make(found: Config) -> HoldWorld:
        return HoldWorld(found, scope_of(found, pair, server))

    operate(part.operation, file, make, part.propose, plan_only=plan_only, as_json=as_json)


def rolling(
    settings: Config, pair: str, part: Part, *, plan_only: bool, as_json: bool
) -> None:
    """The passive, a switchover, the other; exit with the worst's code."""
    begun = clock.unix()
    try:
        if plan_only:
            code = asyncio.run(print_parts(settings, pair, part, as_json=as_json))
        else:
            reports = roll(settings, pair, part, as_json=as_json)
            last = reports[-1]
            if as_json:
                whole = last.as_json() | {
                    "operation": part.operation, "parts": [r.as_json() for r in reports],
                    "started": clock.text(begun),
                }
                say(json.dumps(whole, default=str))
                code = last.exit_code
            else:
                code = finish(last, as_json=False)
    except Refused as error:
        if not as_json:
            raise
        code = finish(refused(part.operation, error, begun), as_json=True)
    raise typer.Exit(code)


async def _with_sockets(world: HoldWorld, asked: holding.Asked) -> holding.Asked:
    """Use listening sockets that stay open while the server restarts; then it can do without a
    gate where there is none. Raises OutsideError."""
    kept = await kept_sockets(world, world.scope.servers[0])
    if kept is None:
        return asked
    gated = bool((await gate.ability(world.host)).way)
    return dataclasses.replace(
        asked, kept=kept.names, keepers=kept.keepers, ports=asked.ports if gated else ())


async def known(
    operation: str, world: HoldWorld, asked: holding.Asked
) -> Proposal[HoldWorld]:
    """The plan with what the last times took and how ports are held, and the reasons that come
    from that."""
    try:
        says = await holding.says(world, asked.ports)
    except OutsideError as error:
        return Proposal(None, [f"{error} (try: {error.hint})" if error.hint else str(error)])
    asked = dataclasses.replace(asked, says=says)
    past = journal.read_all(world.config.state_directory)
    asked = dataclasses.replace(asked, needs_s=holding.took_s(asked, operation, past))
    plans = {"hold": holding.plan, "restart": restarting.plan}
    return Proposal(plans[operation](asked), holding.too_long(asked))


async def own_ports(world: HoldWorld) -> tuple[int, ...]:
    """The server's own port, but for the passive of a pair: no client is to be there."""
    if world.as_passive:
        return ()
    name = world.scope.servers[0]
    await world.connect()
    if name not in world.unreachable and world.name in world.config.pairs:
        session = await world.session(name)
        if not await mysql_server.is_writable(session):
            return ()
    return (world.port(name),)


def _asked(
    world: HoldWorld, ports: tuple[int, ...], command: tuple[str, ...], limit: float,
    quiet: float, close: bool, command_limit: float,
) -> holding.Asked:
    scope: Scope = world.scope
    return holding.Asked(
        scope.name, scope.servers, scope.others, tuple(sorted(set(ports))), command,
        hold_s=limit, quiet_s=quiet, older_than_s=world.limits.oldest_transaction,
        close_stragglers=close, command_limit_s=command_limit, on=world.on,
    )


def _machine(host: str | None) -> str | None:
    """What --host says; None: where the server is."""
    if host is None or host == "local":
        return None if host is None else ""
    try:
        Destination.parse(host)
    except ValueError as error:
        raise UsageError(f"--host {host}: {error}") from None
    return host


def _warn(limit: float) -> None:
    if limit >= CONNECT_TIMEOUT_S:
        print(f"slackwater: many clients give up connecting after {CONNECT_TIMEOUT_S:g} s, and "
              f"may be held for {limit:g} s", file=sys.stderr)



def upgrade(
    server: Annotated[str | None, typer.Argument(help="Which server.")] = None,
    packages: Annotated[
        list[str] | None,
        typer.Argument(help="Which packages [default: the database server's that are installed]."),
    ] = None,
    reinstall: Annotated[
        bool, typer.Option("--reinstall", help="Install the same version again.")
    ] = False,
    port: PortOption = None,
    limit: LimitOption = holding.HOLD_S,
    quiet_limit: QuietOption = 3.0,
    close_stragglers: CloseOption = False,
    command_limit: RunOption = 600.0,
    inside_hold: Annotated[
        bool, typer.Option("--inside-hold",
                           help="Install while clients wait, too: the server is away meanwhile.")
    ] = False,
    plan: PlanOption = False,
    file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Upgrade the packages of one server while its clients wait; with --pair alone, of both.

    On the server's own machine (Debian, Ubuntu), as root. Packages are downloaded before anybody
    waits. MariaDB's are also installed before, below the running server; clients wait for its
    restart only. Of others, and with --inside-hold, the server is stopped by their scripts and
    clients wait for all of it. For a pair on two machines: upgrade the passive there,
    `slackwater switchover`, upgrade the other there.

    Examples:

      slackwater upgrade db1 --plan     what would be done, step by step

      slackwater upgrade db1            the installed server packages

      slackwater upgrade db1 mariadb-server-core --reinstall
    """
    _warn(limit)

    async def propose(world: HoldWorld) -> Proposal[HoldWorld]:
        ports = tuple(port or ()) or await own_ports(world)
        common = _asked(world, ports, (), limit, quiet_limit, close_stragglers, command_limit)
        return await _upgrade(
            world, common, tuple(packages or ()), reinstall=reinstall, inside=inside_hold)

    _one_or_both(Part("upgrade", propose), server, pair, file, plan_only=plan, as_json=as_json)


async def _upgrade(
    world: HoldWorld, common: holding.Asked, packages: tuple[str, ...], *,
    reinstall: bool, inside: bool,
) -> Proposal[HoldWorld]:
    """Look, and make the plan of an upgrade."""
    name = world.scope.servers[0]
    restart = restarting.command(world.config, name)
    try:
        if why := await apt.missing(world.host):
            return Proposal(None, [why])
        await world.connect()
        says = await holding.says(world, common.ports)
        packages = packages or await apt.installed_servers(world.host)
        wish = await upgrading.look(
            world, packages, held=bool(common.ports), reinstall=reinstall)
        below = rules.below(wish) and not inside
        held = await apt.held(world.host) & set(packages)
        files = apt.files(wish.changes)
        early = frozenset[str]() if below else await apt.simple(
            world.host, wish.changes, reinstall=reinstall)
        first = apt.files([c for c in wish.changes if c.name in early])
        reasons = rules.refusals(wish)
        if below:
            reasons += await upgrading.not_below(world, restart)
    except SlackwaterError as error:
        return Proposal(None, [str(error)])
    if not packages:
        reasons = [f"no package of a database server is installed here; is {name} on another "
                   "machine? Run it there, or name the packages"]
    install = apt.install_whole(files) if below else apt.install(
        [file for file in files if file not in first])
    as_root = tuple(world.host.as_root(list(install)))
    new = rules.new_flavour(wish)
    past = journal.read_all(world.config.state_directory)
    restarts = dataclasses.replace(common, command=restart)
    restart_s = holding.took_s(restarts, "restart", past)
    asked = upgrading.Asked(
        **{**common.arguments(), "says": says, "command": restart if below else as_root,
           "must_restart": below},
        packages=packages, files=files, first=first, held=tuple(sorted(held)),
        reinstall=reinstall, slow=rules.is_major(wish), restart=restart, restart_s=restart_s,
        below=below, install=as_root if below else (),
        tables=mysql_server.upgrade_programs(new) if new else (),
        log_in=_log_in(world.config, name),
    )
    needs_s = holding.took_s(asked, "upgrade", past)
    asked = dataclasses.replace(asked, needs_s=max(needs_s, restart_s) if below else needs_s)
    return Proposal(upgrading.plan(asked), reasons + holding.too_long(asked))


def _log_in(settings: Config, name: str) -> tuple[str, str, str]:
    """How mariadb-upgrade logs in: socket, user, option file."""
    admin = settings.accounts.admin
    file = admin.option_file if admin else None
    return (str(settings.servers[name].socket or ""), admin.user if admin else "root",
            str(file or ""))
