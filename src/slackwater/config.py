"""slackwater.toml: read it, check it, and say exactly what is wrong with it."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr

from slackwater.errors import ConfigError
from slackwater.facts import config_values
from slackwater.facts.config_values import host_port as host_port
from slackwater.outside import authority
from slackwater.outside.config_files import DEFAULT_FILES
from slackwater.outside.secrets import read_password

# What to write for a key that is missing.
EXAMPLES = {
    "servers": '[servers.a] with address = "10.0.0.5:3306", and another one',
    "accounts": '[accounts.slackwater] with password_file = "/etc/slackwater/password"',
    "slackwater": 'password_file = "/etc/slackwater/password" below it',
    "address": 'address = "10.0.0.5:3306"',
    "runtime": 'runtime = "unix:/run/haproxy/admin.sock"',
    "frontend": 'frontend = "10.0.0.9:3306", where clients come in',
    "pin": 'pin = "unix:/run/haproxy/pin.sock"',
    "holds_map": 'holds_map = "/etc/haproxy/slackwater-holds.map"',
    "config_file": 'config_file = "/etc/haproxy/slackwater.cfg"',
    "balancers": 'balancers = ["lb1"]',
}


def _file(path: Path) -> Path:
    try:
        path = path.expanduser()
    except RuntimeError:
        raise ValueError(f"there is no user {path.parts[0]} here; write an absolute path") from None
    if not path.is_absolute():
        raise ValueError("write an absolute path, such as /etc/slackwater/password, or ~/file")
    return path


def _authority(path: Path) -> Path:
    if why_not := authority.unusable(path):
        raise ValueError(why_not)
    return path


def _words(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"not a command line: {error}") from None
    if not words:
        raise ValueError('write a command, for example "systemctl restart mariadb"')
    return text


Address = Annotated[str, AfterValidator(config_values.address)]
Endpoint = Annotated[str, AfterValidator(config_values.endpoint)]
Name = Annotated[str, AfterValidator(config_values.name)]
SshDestination = Annotated[str, AfterValidator(config_values.destination)]
User = Annotated[str, AfterValidator(config_values.user)]
Variable = Annotated[str, AfterValidator(config_values.variable)]
File = Annotated[Path, AfterValidator(_file)]
Authority = Annotated[Path, AfterValidator(_file), AfterValidator(_authority)]
Words = Annotated[str, AfterValidator(_words)]
HostPattern = Annotated[str, AfterValidator(config_values.host_pattern)]
# TOML has types: true is not a number, and "5" is not 5.
Seconds = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerTable(_Table):
    """One database server. `address` is what balancers and the other server use."""

    address: Address
    socket: File | None = None  # slackwater's own way in, where it runs on the same machine
    restart: Words | None = None  # the command that restarts it, for `slackwater restart`
    # The server's machine, where `hold`, `restart` and `upgrade` of it work, and where `socket`
    # is; without it, this machine.
    ssh: SshDestination | None = None
    # Where `pair setup` keeps its one file of settings: a directory that the server reads.
    config_dir: File | None = None
    fence: Words | None = None  # the command that ends it, or its machine, for `failover`
    # Of a pair's replica: commands that take it out of its readers' balancer, when it is altered,
    # and put it in again.
    drain: Words | None = None
    undrain: Words | None = None
    binlog: File | None = None  # the index of its binary log (@@log_bin_index), for `failover`

    @pydantic.model_validator(mode="after")
    def _drained_and_back(self) -> ServerTable:
        if (self.drain is None) != (self.undrain is None):
            raise ValueError("give both drain and undrain, or neither")
        return self


class AccountTable(_Table):
    """How slackwater logs in; exactly one source of the password."""

    user: User = "slackwater"
    password_file: File | None = None
    password_env: Variable | None = None
    option_file: File | None = None
    tls: Literal["off", "preferred", "required"] = "preferred"
    ca: Authority | None = None
    hosts: tuple[HostPattern, ...] = ()  # where it may come from; `pair setup` makes it for these

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> AccountTable:
        given = [self.password_file, self.password_env, self.option_file]
        if sum(g is not None for g in given) != 1:
            raise ValueError("give exactly one of password_file, password_env, option_file")
        return self


class AdminTable(_Table):
    """Who makes accounts and changes settings, for `pair setup`. Without any password: an account
    that the server knows by its unix socket, such as root."""

    user: User = "root"
    password_file: File | None = None
    password_env: Variable | None = None
    option_file: File | None = None

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> AdminTable:
        given = [self.password_file, self.password_env, self.option_file]
        if sum(g is not None for g in given) > 1:
            raise ValueError("give one of password_file, password_env, option_file, or none")
        return self


class ReplicationTable(_Table):
    """The account by which servers replicate from each other."""

    user: User = "repl"
    password_file: File  # made, with a new password, where there is none
    hosts: tuple[HostPattern, ...] = ()  # where replicas come from [default: their addresses]
    require_tls: Annotated[bool, Field(strict=True)] = False


class Accounts(_Table):
    """The accounts by what they are for."""

    slackwater: AccountTable
    admin: AdminTable | None = None
    replication: ReplicationTable | None = None


class BalancerTable(_Table):
    """One HAProxy in front of the pair."""

    runtime: Endpoint
    frontend: Address
    pin: Endpoint
    holds_map: File
    config_file: File
    backend: Name = "pair"
    # How many clients it lets in to a server at once, the rest wait: below the server's
    # max_connections (MySQL's own default is 151), all balancers together.
    maxconn: Annotated[int, Field(ge=1, strict=True)] = 140
    main_config: File = Path("/etc/haproxy/haproxy.cfg")
    ssh: SshDestination | None = None  # where these files are; without it, on this machine


class PairTable(_Table):
    """Two servers of which one is active, and what stands around them."""

    servers: Annotated[tuple[Name, ...], Field(min_length=2, max_length=2)]
    balancers: Annotated[tuple[Name, ...], Field(min_length=1)]
    replicas: tuple[Name, ...] = ()
    # Whether a commit waits until the other server has it, and for how long at most: `pair setup`
    # sets that up. Beyond it commits wait for nobody until the other has caught up.
    semi_sync: Annotated[bool, Field(strict=True)] = False
    semi_sync_timeout: Seconds = 10.0


class SourceTable(_Table):
    """One server that takes writes, and those that replicate from it; nobody switches over."""

    server: Name
    replicas: Annotated[tuple[Name, ...], Field(min_length=1)]
    semi_sync: Annotated[bool, Field(strict=True)] = False  # as of a pair; any replica will do
    semi_sync_timeout: Seconds = 10.0


@dataclass(frozen=True)
class Group:
    """Servers that belong together: a pair (`ring`: each of `heads` is a replica of the other), or
    one source (the only head); `replicas` follow whichever head takes writes. `semi_sync_ms`: how
    long a commit waits for another server's word; 0: it does not."""

    name: str
    heads: tuple[str, ...]
    replicas: tuple[str, ...]
    balancers: tuple[str, ...] = ()
    semi_sync_ms: int = 0

    @property
    def ring(self) -> bool:
        return len(self.heads) == 2

    @property
    def servers(self) -> tuple[str, ...]:
        return (*self.heads, *self.replicas)


def _semi_sync_ms(table: PairTable | SourceTable) -> int:
    return round(table.semi_sync_timeout * 1000) if table.semi_sync else 0


AFTER_GRACE_S = 0.5  # for fence, catching up and promotion


class LimitsTable(_Table):
    """All in seconds."""

    # The longest that a client is held; clients give up connecting after 10 s or so.
    hold: Annotated[Seconds, Field(le=8)] = 5.0
    grace: Seconds = 1.0  # how long sessions get to end their transactions, in the hold
    lag: Seconds = 1.0  # replication lag above which nothing is begun
    oldest_transaction: Seconds = 5.0  # a transaction or statement older than that refuses

    @pydantic.model_validator(mode="after")
    def _grace_fits(self) -> LimitsTable:
        if self.grace > self.hold - AFTER_GRACE_S:
            raise ValueError(f"grace ({self.grace:g}) must be shorter than hold ({self.hold:g}) by "
                             f"{AFTER_GRACE_S:g} s, since it is a part of it and more follows")
        return self


class RegistryTable(_Table):
    """The registry of servers behind load balancers, for `slackwater pool`."""

    urls: Annotated[tuple[str, ...], Field(min_length=1)]  # one for each balancer's host
    key_file: File
    key: str | None = None  # the key's name; without it, that of the file
    ca: File | None = None


class StateTable(_Table):
    """Where journals and locks are."""

    directory: File | None = None


class Config(_Table):
    """The whole of slackwater.toml. Raises pydantic.ValidationError; use `load`."""

    servers: dict[Name, ServerTable]
    accounts: Accounts
    balancers: dict[Name, BalancerTable] = {}
    pairs: dict[Name, PairTable] = {}
    sources: dict[Name, SourceTable] = {}
    limits: LimitsTable = LimitsTable()
    state: StateTable = StateTable()
    registry: RegistryTable | None = None
    lab: Annotated[bool, Field(strict=True)] = False
    _path: Path = PrivateAttr(default=Path())

    @pydantic.model_validator(mode="before")
    @classmethod
    def _registry_alone(cls, said: Any) -> Any:
        """A file that knows a registry and no database is whole: nobody logs in anywhere."""
        if isinstance(said, dict) and "registry" in said and not said.keys() & {
            "servers", "accounts", "pairs", "balancers"
        }:
            nobody = {"slackwater": {"password_env": "SLACKWATER_PASSWORD"}}
            return {**said, "servers": {}, "accounts": nobody}
        return said

    @pydantic.model_validator(mode="after")
    def _names_fit(self) -> Config:
        faults = list(_loose_names(self))
        if faults:
            raise ValueError("\n".join(faults))
        return self

    @property
    def path(self) -> Path:
        """The file this was read from."""
        return self._path

    @property
    def state_directory(self) -> Path:
        """Configured, or where the system keeps state for this user."""
        if self.state.directory:
            return self.state.directory
        if os.geteuid() == 0:
            return Path("/var/lib/slackwater")
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
        return Path(home) / "slackwater"

    def pair(self, name: str | None) -> tuple[str, PairTable]:
        """The pair of that name, or the only one. Raises ConfigError."""
        if name is None and len(self.pairs) == 1:
            return next(iter(self.pairs.items()))
        if name in self.pairs:
            return name, self.pairs[name]
        if not self.pairs:
            one_way = (" ([sources.NAME] is for `pair setup`, `pair compare`, `pair grants`,"
                       " `status` and `heartbeat`)" if self.sources else "")
            raise ConfigError(
                f"{self.path}: there is no pair in it{one_way}",
                hint='write [pairs.NAME] with servers = ["a", "b"] and balancers = ["lb1"]',
            )
        ask = "there is more than one pair; name one with --pair" if name is None else (
            f"there is no pair {name!r}{_nearest(name, list(self.pairs))}")
        raise ConfigError(f"{self.path}: {ask}", hint=f"pairs in the file: {', '.join(self.pairs)}")

    def group(self, name: str | None) -> Group:
        """The pair or source of that name, or the only one. Raises ConfigError."""
        names = [*self.pairs, *self.sources]
        if name is None and len(names) == 1:
            name = names[0]
        if name in self.sources:
            source = self.sources[name]
            return Group(name, (source.server,), source.replicas, (), _semi_sync_ms(source))
        if name not in self.pairs and self.sources:
            ask = "there is more than one; name one with --pair" if name is None else (
                f"there is no pair or source {name!r}{_nearest(name, names)}")
            raise ConfigError(f"{self.path}: {ask}", hint=f"in the file: {', '.join(names)}")
        found, pair = self.pair(name)
        return Group(found, pair.servers, pair.replicas, pair.balancers, _semi_sync_ms(pair))

    def looked_at(self, name: str | None) -> Group:
        """As `group`, for those that only look: without a name the only pair is meant, if there is
        one, whatever sources are in the file too."""
        return self.group(next(iter(self.pairs)) if name is None and len(self.pairs) == 1 else name)

    def admin_password(self) -> str:
        """The password of the account that sets servers up; "" for one known by its socket.
        Raises ConfigError."""
        admin = self.accounts.admin
        if admin is None:
            return self.password()
        if not (admin.password_file or admin.password_env or admin.option_file):
            return ""
        return read_password(
            file=admin.password_file, variable=admin.password_env, option_file=admin.option_file,
        )

    def password(self) -> str:
        """The password of slackwater's account. Raises ConfigError; never prints it."""
        account = self.accounts.slackwater
        return read_password(
            file=account.password_file, variable=account.password_env,
            option_file=account.option_file,
        )


def find(asked: Path | None) -> Path:
    """The configuration file to use. Raises ConfigError naming where it was looked for."""
    if asked is not None:
        return asked
    for path in DEFAULT_FILES:
        if path.exists():
            return path
    looked = " or ".join(str(p) for p in DEFAULT_FILES)
    raise ConfigError(
        f"no configuration: there is no {looked}",
        hint="give one with --config FILE; `slackwater lab up` makes a complete example",
    )


def load(path: Path) -> Config:
    """Read and check a configuration file. Raises ConfigError with every fault found."""
    try:
        mode = path.stat().st_mode
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read it: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    if mode & stat.S_IWOTH:
        raise ConfigError(f"{path}: everybody may write it", hint=f"chmod o-w {path}")
    try:
        config = Config.model_validate(data)
    except pydantic.ValidationError as error:
        faults = [_fault(path, e) for e in error.errors()]  # type: ignore[arg-type]
        raise ConfigError("\n".join(faults), hint="docs/reference/configuration.md lists all keys"
                          ) from error
    config._path = path
    return config


def _loose_names(config: Config) -> Iterator[str]:
    """What pairs name and nobody has, and what is named where it cannot be."""
    taken: dict[tuple[str, str], str] = {}
    tables = {"servers": list(config.servers), "balancers": list(config.balancers)}
    named: list[tuple[str, str, tuple[str, ...]]] = []
    for pair_name, pair in config.pairs.items():
        at = f"pairs.{pair_name}"
        named += [(f"{at}.servers", "servers", pair.servers),
                  (f"{at}.replicas", "servers", pair.replicas),
                  (f"{at}.balancers", "balancers", pair.balancers)]
    for name, source in config.sources.items():
        named += [(f"sources.{name}.server", "servers", (source.server,)),
                  (f"sources.{name}.replicas", "servers", source.replicas)]
        if name in config.pairs:
            yield f"there is a [pairs.{name}] and a [sources.{name}]: give one another name"
    for where, table, names in named:
        for name in names:
            if name not in tables[table]:
                yield (f"{where} names {name!r}, but there is no [{table}.{name}]"
                       f"{_nearest(name, tables[table])}")
            elif (table, name) in taken:
                yield f"{where} names {name!r}, which {taken[table, name]} names already"
            else:
                taken[table, name] = where
    addresses: dict[str, str] = {}
    for name, server in config.servers.items():
        other = addresses.setdefault(server.address, name)
        if other != name:
            yield f"servers.{name}.address = {server.address!r} is the address of {other} too"


# In place of pydantic's words, which are a programmer's.
_PLAINER = {
    "tuple_type": 'write a list, such as ["one", "two"]',
    "too_short": "write at least {min_length} of them",
    "too_long": "write at most {max_length} of them",
    "string_type": "write a text, in quotes",
    "string_too_short": "write at least one letter",
    "path_type": "write a path, in quotes",
    "bool_type": "write true or false, without quotes",
    "float_type": "write a number, without quotes or a unit, such as 5 or 0.5",
    "int_type": "write a whole number, without quotes",
    "finite_number": "write a number, such as 5 or 0.5",
    "greater_than": "write a number above {gt:g}",
    "greater_than_equal": "write {ge:g} or more",
    "less_than_equal": "write {le:g} or less",
    "literal_error": "write one of {expected}",
}


def _fault(path: Path, error: dict[str, Any]) -> str:
    where = [str(p) for p in error["loc"] if p != "[key]"]
    key, kind, value = ".".join(where), error["type"], error.get("input")
    message = str(error["msg"]).removeprefix("Value error, ")
    if not where:
        return "\n".join(f"{path}: {line}" for line in message.splitlines())
    if kind == "extra_forbidden" and where[0] == "accounts" and re.fullmatch(
            "pass(word|wd|phrase)?|pwd?|secret", where[-1].lower()):
        return (f"{path}: {key}: unknown key; did you mean 'password_file'? It names a file with "
                "the password (mode 0600); this file itself never has it")
    if kind == "extra_forbidden":
        return f"{path}: {key}: unknown key{_nearest(where[-1], _keys_beside(where))}"
    if kind == "missing":
        example = EXAMPLES.get(where[-1])
        return f"{path}: {key}: this key is missing" + (f"; write {example}" if example else "")
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        message = f"this is a table: write [{key}] and its keys below it"
    message = _PLAINER.get(kind, message).format(**error.get("ctx", {}))
    shown = "" if isinstance(value, dict) or _secret(where) else f" = {value!r}"
    return f"{path}: {key}{shown}: {message}"


def _secret(where: list[str]) -> bool:
    """May a person have written a password there?"""
    return where[0] == "accounts" and where[-1] not in ("user", "tls", "ca")


def _keys_beside(where: list[str]) -> list[str]:
    tables: dict[str, type[BaseModel]] = {
        "servers": ServerTable, "balancers": BalancerTable,
        "pairs": PairTable, "sources": SourceTable, "limits": LimitsTable, "state": StateTable,
        "registry": RegistryTable,
    }
    accounts: dict[str, type[BaseModel]] = {
        "slackwater": AccountTable, "admin": AdminTable, "replication": ReplicationTable,
    }
    if where[0] == "accounts":
        tables["accounts"] = accounts.get(where[1], Accounts) if len(where) > 2 else Accounts
    table = Config if len(where) == 1 else tables.get(where[0], Config)
    return list(table.model_fields)


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""
