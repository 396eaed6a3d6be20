"""The account by which servers replicate from each other."""

from __future__ import annotations

from slackwater.config import Config, host_port
from slackwater.errors import StepFailed
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside import secrets
from slackwater.outside.mysql import setup as mysql_setup


def replication_hosts(config: Config, servers: tuple[str, ...]) -> tuple[str, ...]:
    """Where replicas come from: as configured, else the addresses of all servers."""
    account = config.accounts.replication
    if account is not None and account.hosts:
        return account.hosts
    return tuple(dict.fromkeys(host_port(config.servers[s].address)[0] for s in servers))


async def make_replication_account(world: SetupWorld, server: str) -> None:
    """Make it on that server, for all that may replicate from there; its password is set anew."""
    account, session = world.config.accounts.replication, await world.session(server)
    if account is None:
        raise StepFailed("there is no [accounts.replication] in the file")
    password = secrets.make_or_read(account.password_file)
    for host in replication_hosts(world.config, world.group.servers):
        await mysql_setup.make_account(
            session, account.user, host, password, mysql_setup.replication_grants(session),
            tls=account.require_tls)
