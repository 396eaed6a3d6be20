"""Before anything is copied: accounts on every server, and settings in the file and at run time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from slackwater.config import Config
from slackwater.facts.setup import ServerSetup, settings_text
from slackwater.operations.setup.accounts import make_accounts, replication_hosts
from slackwater.operations.setup.file import WriteSettings
from slackwater.operations.setup.look import SetupWorld
from slackwater.operations.setup.setup import AGAIN, LockServers
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.plan.step import Plan, Seen, Step
from slackwater.rules.setup.settings import Fault, How, file_settings

OPERATION = "pair-settings"


@dataclass(frozen=True)
class Change:
    """What is done on one server. `now`: settings set at run time, with what they were; `file`:
    the whole new text of slackwater's file there, "" for none; `old_file`: None where there was
    none."""

    server: str
    accounts: bool
    now: tuple[tuple[str, str, str], ...]  # name, before, wanted
    path: str = ""
    file: str = ""
    old_file: str | None = None
    why: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What is to be done."""

    group: str
    changes: tuple[Change, ...]

    def arguments(self) -> dict[str, Any]:
        """Plain values that rebuild the plan after a crash."""
        return asdict(self)

    @classmethod
    def read(cls, arguments: Mapping[str, Any]) -> Asked:
        """From a journal."""
        changes = tuple(
            Change(**{**c, "now": tuple(tuple(n) for n in c["now"]), "why": tuple(c["why"])})
            for c in arguments["changes"])
        return cls(arguments["group"], changes)


def asked(
    config: Config, group: str, seen: Mapping[str, ServerSetup], faults: tuple[Fault, ...]
) -> Asked:
    """What each server needs; servers that need nothing are left out."""
    changes = []
    # A replica is told so by its source, and that is where the account is then.
    denied = any("Access denied" in c.io_error
                 for s in seen.values() for c in s.facts.replication)
    for name, server in seen.items():
        own = tuple(f for f in faults if f.server == name)
        change = Change(name, denied or accounts_missing(config, group, server),
                        tuple((f.name, f.value, f.wanted) for f in own if f.how is How.NOW),
                        why=tuple(map(str, own)))
        if server.own_file is not None:
            text = settings_text(file_settings(server, own))
            if text != server.own_file.text:
                change = dataclasses.replace(change, path=server.own_file.path, file=text,
                                             old_file=server.own_file.text)
        if change.accounts or change.now or change.file:
            changes.append(change)
    return Asked(group, tuple(changes))


def plan(asked: Asked) -> Plan[Any]:
    """The list of steps."""
    names = tuple(c.server for c in asked.changes)
    steps: list[Step[Any]] = [LockServers(names[0], names[1:])]
    for change in asked.changes:
        if change.accounts:
            steps.append(MakeAccounts(change.server))
        if change.file:
            steps.append(WriteSettings(change.server, change.path, change.file, change.old_file))
        if change.now:
            steps.append(SetNow(change.server, change.now))
    title = f"prepare {', '.join(names)} for replication: accounts and settings"
    return Plan(OPERATION, title, tuple(steps), asked.arguments(), AGAIN)


def plan_again(arguments: dict[str, Any]) -> Plan[Any]:
    """The plan of a journal."""
    return plan(Asked.read(arguments))


def accounts_missing(config: Config, group: str, server: ServerSetup) -> bool:
    """Whether an account is not there, or cannot do what it is for."""
    account = config.accounts.replication
    hosts = replication_hosts(config, config.group(group).servers)
    wanted = {f"{account.user}@{h}" for h in hosts} if account else set()
    return bool(wanted - server.accounts or server.login or server.lacks
                or (account is not None and not account.password_file.exists()))


@dataclass(frozen=True)
class MakeAccounts(Step[SetupWorld]):
    """Make the accounts for replication and for slackwater on {server}, with few privileges"""

    server: str
    limit_s: ClassVar[float] = 60.0
    no_undo: ClassVar[str] = "an account that can do no more than replicate does no harm"
    stays: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"MakeAccounts.{self.server}"

    async def precheck(self, world: SetupWorld) -> list[str]:
        """There is somewhere to keep their passwords."""
        config = world.config
        if config.accounts.replication is None:
            return ["there is no account for replication in the file: write [accounts.replication] "
                    'with password_file = "/etc/slackwater/replication" (made if it is not there)']
        return []

    async def do(self, world: SetupWorld) -> None:
        await make_accounts(world, self.server)

    async def verify(self, world: SetupWorld) -> Seen:
        has = await mysql_setup.accounts(await world.session(self.server))
        account = world.config.accounts.replication
        wanted = {f"{account.user}@{h}" for h in
                  replication_hosts(world.config, world.group.servers)} if account else set()
        return Seen.DONE if wanted <= has else Seen.NOT_DONE


@dataclass(frozen=True)
class SetNow(Step[SetupWorld]):
    """Set on {server} at run time: {what}"""

    server: str
    settings: tuple[tuple[str, str, str], ...]

    @property
    def name(self) -> str:
        return f"SetNow.{self.server}"

    @property
    def what(self) -> str:
        """For people."""
        return ", ".join(f"{name} = {wanted}" for name, _, wanted in self.settings)

    async def do(self, world: SetupWorld) -> None:
        session = await world.session(self.server)
        for name, _, wanted in self.settings:
            await mysql_setup.set_global(session, name, wanted)

    async def verify(self, world: SetupWorld) -> Seen:
        found = await mysql_setup.variables(await world.session(self.server))
        same = all(mysql_setup.same_value(found.get(n, ""), w) for n, _, w in self.settings)
        return Seen.DONE if same else Seen.NOT_DONE

    async def undo(self, world: SetupWorld) -> None:
        session = await world.session(self.server)
        for name, before, _ in self.settings:
            if before:
                await mysql_setup.set_global(session, name, before)

