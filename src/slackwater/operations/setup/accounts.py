"""The accounts by which servers replicate from each other, and slackwater comes to them."""

from __future__ import annotations

from slackwater.config import Config, host_port
from slackwater.errors import StepFailed
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside import secrets
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.outside.mysql.account import own_grants


def replication_hosts(config: Config, servers: tuple[str, ...]) -> tuple[str, ...]:
    """Where replicas come from: as configured, else the addresses of all servers."""
    account = config.accounts.replication
    if account is not None and account.hosts:
        return account.hosts
    return tuple(dict.fromkeys(host_port(config.servers[s].address)[0] for s in servers))


def own_hosts(config: Config, servers: tuple[str, ...]) -> tuple[str, ...]:
    """Where slackwater comes from: as configured; else from the servers' own machines (as where a
    socket is used), and through the balancers."""
    account = config.accounts.slackwater
    if account.hosts:
        return account.hosts
    found = ["localhost"]
    found += [host_port(config.servers[s].address)[0] for s in servers]
    found += [host_port(b.frontend)[0] for b in config.balancers.values()]
    return tuple(dict.fromkeys(found))


async def make_replication_account(world: SetupWorld, server: str) -> None:
    """Make it on that server, for all that may replicate from there; its password is set anew."""
    account, session = world.config.accounts.replication, await world.session(server)
    if account is None:
        raise StepFailed("there is no [accounts.replication] in the file")
    password = secrets.make_or_read(account.password_file)

    async def make() -> None:
        for host in replication_hosts(world.config, world.group.servers):
            await mysql_setup.make_account(
                session, account.user, host, password, mysql_setup.replication_grants(session),
                tls=account.require_tls)

    await mysql_setup.past_super_read_only(session, make)


async def make_accounts(world: SetupWorld, server: str) -> None:
    """That one, and slackwater's own; their passwords are set anew."""
    await make_replication_account(world, server)
    config, session = world.config, await world.session(server)
    own = config.accounts.slackwater
    if config.accounts.admin is None:
        return  # it is the administrator, and was let in
    password = secrets.make_or_read(own.password_file) if own.password_file else config.password()

    async def make() -> None:
        for host in own_hosts(config, world.group.servers):
            await mysql_setup.make_account(session, own.user, host, password,
                                           own_grants(session.flavour))

    await mysql_setup.past_super_read_only(session, make)
